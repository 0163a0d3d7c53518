# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""kubeadm: its command lines, and whether its step of an upgrade counts as done on a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._traps import removed_flags_left
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse_or_none

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_ADVICE = ("To see the stack", "[preflight] If")


def upgrade_argv(
    step: str,
    target: Version,
    ignore_preflight_errors: Sequence[str] = (),
    patches: Optional[str] = None,
    certificate_renewal: bool = True,
) -> list[str]:
    """The command line of ``control_plane`` (apply) or ``node``."""
    argv = ["kubeadm", "upgrade"]
    argv += ["apply", f"v{target}", "--yes"] if step == "control_plane" else ["node"]
    if ignore_preflight_errors:
        argv.append("--ignore-preflight-errors=" + ",".join(ignore_preflight_errors))
    if patches:
        argv.append(f"--patches={patches}")
    if not certificate_renewal:
        argv.append("--certificate-renewal=false")
    return argv


def recorded(record: Optional[dict[str, Any]], target: Version) -> bool:
    """Whether kubeadm's exit 0 for this target stands in the host's record."""
    step = ((record or {}).get("steps") or {}).get("kubeadm") or {}
    return bool(step.get("finished")) and parse_or_none(step.get("target")) == target


def open_run(host: dict[str, Any]) -> Optional[dict[str, Any]]:
    """The run of ours that began on a host and did not end there, None without one.

    :returns: its ``target``, ``run``, ``begun`` and ``phase``, and whether the host is at the target all the same
        (``reached``): the run died between the kubelet's start and the note of it.
    """
    record = host.get("record")
    if not record or not _record.is_open(record):
        return None
    target = parse_or_none(record.get("target"))
    running = [(host.get("kubelet") or {}).get("running")]
    running += [pod.get("version") for name, pod in (host.get("static_pods") or {}).items() if name in CONTROL_PLANE]
    reached = all(parse_or_none(version) == target for version in running)
    return {**{key: record.get(key) for key in ("target", "run", "begun", "phase")}, "reached": reached}


def why_not_done(host: dict[str, Any], target: Version) -> list[str]:
    """Reasons for which kubeadm has to run on a host; never from image tags alone.

    :param host: what kubeadm_host_info tells. What only the API knows (kubeadm-config) is not looked at here.
    """
    reasons = []
    kubelet = host.get("kubelet") or {}
    if not recorded(host.get("record"), target) and parse_or_none(kubelet.get("running")) != target:
        reasons.append(
            f"no finished kubeadm run to {target} is recorded and the kubelet runs {kubelet.get('running') or 'not'}"
        )
    pods = host.get("static_pods") or {}
    for name in CONTROL_PLANE:
        if name not in pods:
            continue
        version = pods[name].get("version")
        if parse_or_none(version) != target:
            reasons.append(f"the manifest of {name} says {version or 'no version'}")
        elif not pods[name].get("running"):
            reasons.append(f"{name} does not run")
    reasons += [f"{row['source']} still has {row['flag']}" for row in removed_flags_left(host, target)]
    return reasons


def error_of(output: str) -> str:
    """The part of kubeadm's output that says why it failed: its error lines, else its last line."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        # klog and kubeadm both write their final error at the start of a line; what follows belongs to it
        if line.startswith(("error: ", "error execution phase", "[preflight] Some fatal errors")):
            said = " ".join(found.strip() for found in lines[index : index + 6] if not found.startswith(_ADVICE))
            return said[len("error: ") :] if said.startswith("error: ") else said
    return lines[-1] if lines else "it said nothing"
