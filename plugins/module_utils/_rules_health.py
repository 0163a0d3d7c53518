# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Is the cluster well enough, and is there room? What an unfinished run of ours left is excused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm import CONTROL_PLANE
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_needs import Needs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Finding, View

_MIB = 1024 * 1024


def not_kubeadm(view: View) -> Iterator[Finding]:
    if view.cluster.kubeadm_config is None and not view.cluster.error:
        yield Finding("", "not_kubeadm", "there is no ConfigMap kubeadm-config in kube-system: not a kubeadm cluster.")
    for name in view.masters:
        if name not in view.known or view.host(name).get("role") != "master":
            continue
        missing = [c for c in CONTROL_PLANE if not (view.host(name).get("static_pods") or {}).get(c)]
        if missing:
            sentence = (
                f"there is no manifest of {' and '.join(missing)} in /etc/kubernetes/manifests: put it back first."
            )
            yield Finding(name, "control_plane", sentence)


def not_ready(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name in view.known:
        node = view.node(name)
        why = view.not_ready(node) if node else None
        if why:
            yield _unless_ours(view, needs, name, "not_ready", f"the node is not Ready: {why.rstrip('.')}.")


def control_plane_down(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name in view.masters:
        host = view.host(name)
        pods = host.get("static_pods") or {}
        dead = [component for component in sorted(pods) if (pods[component] or {}).get("running") is False]
        if dead:
            sentence = f"{' and '.join(dead)} should run there (the manifest is in place) but does not."
            yield _unless_ours(view, needs, name, "control_plane", sentence)
        silent = _silent(view, name)
        if silent and "kube-apiserver" not in dead:
            yield _unless_ours(view, needs, name, "control_plane", silent)


def _silent(view: View, name: str) -> Optional[str]:
    answer = view.host(name).get("api") or {}
    if answer.get("reachable") is not False:
        return None
    said = f": {str(answer['error']).rstrip('.')}" if answer.get("error") else ""
    return f"the API server there ({view.api_address(name)}) does not answer{said}."


def unreached(view: View) -> Iterator[Finding]:
    """The gate after each master asks its own API server, past any load balancer: it would wait in vain."""
    for name, why in view.cluster.unreached.items():
        sentence = (
            f"its API server answers on the host, but not when asked from where the API is spoken to "
            f"({view.api_address(name)}: {why.rstrip('.')}), and each upgraded master is proven so: open the way, or "
            "set kubeadm_api_host to a host that can reach every master."
        )
        yield Finding(name, "unreached", sentence)


def silent_masters(view: View) -> Iterator[Finding]:
    """Why there may be no API to ask; said when nothing else can be."""
    for name in view.masters:
        sentence = _silent(view, name)
        if sentence:
            yield Finding(name, "control_plane", sentence)


def sick_etcd(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    said: dict[str, str] = {}
    for name in view.masters:
        for problem in (view.request.etcd.get(name) or {}).get("problems") or []:
            said.setdefault(str(problem), name)  # every member tells of the same sick one
    for problem, name in said.items():
        yield _unless_ours(view, needs, name, "etcd", f"etcd is not well: {problem.rstrip('.')}.", anywhere=True)


def _unless_ours(
    view: View, needs: dict[str, Needs], name: str, rule: str, sentence: str, anywhere: bool = False
) -> Finding:
    """A refusal, but only a warning where our own unfinished run to this target left the host as it is."""
    suspects = view.masters if anywhere else [name]
    ours = [one for one in suspects if one in needs and needs[one].unfinished]
    if rule != "not_ready":
        # A control plane that kubeadm has finished must run; only the kubelet is still to come there.
        ours = [one for one in ours if not view.step_recorded(one, "kubeadm")]
    if not ours:
        return Finding(name, rule, sentence)
    return Finding(name, rule, f"{sentence} An unfinished run of ours left {ours[0]} so: it is worked on first.", False)


def disk(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    """kubeadm copies etcd's data below /etc/kubernetes; images and packages need room too."""
    for name, need in needs.items():
        free = view.host(name).get("disk") or {}
        asked: dict[str, tuple[int, str]] = {}
        if need.kubeadm != "none" and view.host(name).get("etcd"):  # an external one is not copied
            database = int((view.host(name).get("etcd") or {}).get("db_size") or 0)
            asked["/etc/kubernetes"] = (database + 600 * _MIB, "kubeadm's copy of etcd's data")
        if need.images:
            asked["/var/lib/containerd"] = ((1024 if view.is_master(name) else 400) * _MIB, "the new images")
        for path, (wanted, purpose) in asked.items():
            room = free.get(path)
            if room is not None and int(room) < wanted:
                sentence = (
                    f"{path} has {int(room) // _MIB} MiB free, but {purpose} may take {wanted // _MIB} MiB: make room "
                    "there."
                )
                yield Finding(name, "disk", sentence)
