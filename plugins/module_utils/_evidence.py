# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Why it failed: the last words of static pods and the kubelet, and what happened to the manifests."""

from __future__ import annotations

import difflib
import glob
import os
import re
import tarfile
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
MANIFESTS = "/etc/kubernetes/manifests"
_TAIL = 32768
_CRI_PREFIX = re.compile(r"^(\S+) (?:stdout|stderr) [FP] ")
_KUBELET_ERROR = re.compile(r"\]: (?:[EF]\d{4} |.*(?:unknown flag|command failed))")
# kubeadm leaves copies of etcd's data there
_NOT_KEPT = "/etc/kubernetes/tmp"
_KUBELET = ("/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet")
_KEPT = ("/etc/kubernetes", *_KUBELET)
_ARCHIVE = "-kubernetes.tar.gz"
_ARCHIVES = 5  # each holds all private keys of the cluster


def tail(path: str, lines: int) -> list[str]:
    """The last lines of a container's log, without the runtime's columns."""
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL))
        text = file.read().decode(errors="replace")
    return [_CRI_PREFIX.sub(r"\1 ", line)[:400] for line in text.splitlines()[-lines:]]


def pod_logs(root: str = "/", lines: int = 15) -> dict[str, list[str]]:
    """The newest container's last lines of each static pod, straight from the kubelet's log directory."""
    found = {}
    for name in COMPONENTS:
        pattern = os.path.join(root, f"var/log/pods/kube-system_{name}-*_*/{name}/*.log")
        logs = sorted(glob.glob(pattern), key=os.path.getmtime)
        if logs:
            found[name] = tail(logs[-1], lines)
    return found


def telling(journal: list[str], last: int = 10) -> list[str]:
    """The last errors of the kubelet and the last lines whatever they are, in order; it says much that is harmless."""
    wrong = [number for number, line in enumerate(journal) if _KUBELET_ERROR.search(line)][-20:]
    kept = sorted({*wrong, *range(max(0, len(journal) - last), len(journal))})
    return [journal[number][:400] for number in kept]


def last_error(lines: list[str]) -> str:
    """The newest error of the kubelet, without the journal's columns, for a sentence."""
    errors = [line for line in lines if _KUBELET_ERROR.search(line)] or lines or ["nothing"]
    return errors[-1].split("]: ", 1)[-1].split("] ", 1)[-1].rstrip(".")


def kubelet_journal(runner: Runner = run, since: Optional[float] = None) -> list[str]:
    """The kubelet's last words."""
    argv = ["journalctl", "--unit=kubelet", "--no-pager", "--lines=300", "--output=short-iso"]
    argv += [f"--since=@{int(since)}"] if since else []
    try:
        return telling(runner(argv, timeout=20).out.splitlines())
    except CareError as error:
        return [error.message]


def manifests(directory: str = MANIFESTS) -> dict[str, str]:
    """The text of each static pod manifest."""
    texts = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.yaml"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            texts[os.path.basename(path)] = file.read()
    return texts


def manifests_diff(before: dict[str, str], after: dict[str, str]) -> str:
    """What became of the manifests; empty when kubeadm left them or put them back."""
    lines: list[str] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, "").splitlines(True), after.get(name, "").splitlines(True)
        lines += difflib.unified_diff(old, new, f"before/{name}", f"now/{name}", n=1)
    return "".join(lines)


def component_in(text: str) -> Optional[str]:
    """The component that kubeadm's error is about."""
    found = re.search("|".join(sorted(COMPONENTS, key=len, reverse=True)), text)
    return found.group(0) if found else None


def rolled_back(before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether kubeadm put the manifests back. A new etcd it leaves when what comes after etcd fails."""
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    return changed <= {"etcd.yaml"}


def gather(before: dict[str, str], runner: Runner = run) -> dict[str, Any]:
    """All of it for the result of a failed task."""
    after = manifests()
    return {
        "static_pods": pod_logs(),
        "kubelet": kubelet_journal(runner),
        "manifests_diff": manifests_diff(before, after),
        "rolled_back": rolled_back(before, after),
        "new_etcd": before.get("etcd.yaml") != after.get("etcd.yaml"),
    }


def not_running(pods: dict[str, Any]) -> list[str]:
    """Static pods whose process is not there, or is not the one that its manifest asks for, in words."""
    dead = [f"{name} does not run" for name, pod in pods.items() if not pod["running"]]
    other = [name for name, pod in pods.items() if pod["running"] and not pod["current"]]
    return dead + [f"{name} does not run as its manifest says" for name in other]


def rollback_words(evidence: dict[str, Any]) -> str:
    """Whether kubeadm's own rollback worked: the manifests, and what runs from them."""
    said = "The static pod manifests are " + ("as before" if evidence["rolled_back"] else "not as before")
    said += " (but etcd's, which kubeadm leaves new)" if evidence["rolled_back"] and evidence["new_etcd"] else ""
    wrong = evidence.get("not_running")
    return f"{said}, but {' and '.join(wrong)}." if wrong else f"{said}, and the static pods run."


def archive_of(run_id: str, directory: str = _record.DIRECTORY) -> Optional[str]:
    """The archive that a run made, if it made one."""
    path = os.path.join(directory, "backups", run_id + _ARCHIVE)
    return path if os.path.exists(path) else None


def archive(run_id: str, directory: str = _record.DIRECTORY, kept: tuple[str, ...] = _KEPT) -> str:
    """Keep /etc/kubernetes and the kubelet's configuration, for root alone; the first archive of a run is kept.

    Of those of earlier runs the newest stay.
    """
    path = os.path.join(_record.private_directory("backups", directory=directory), run_id + _ARCHIVE)
    if os.path.exists(path):
        return path

    def without_etcd_copies(member: tarfile.TarInfo) -> Optional[tarfile.TarInfo]:
        return None if f"/{member.name}".startswith(_NOT_KEPT) else member

    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name in kept:
                if os.path.exists(name):
                    tar.add(name, filter=without_etcd_copies)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)
    _record.sync_directory(os.path.dirname(path))
    earlier = sorted(set(glob.glob(f"{os.path.dirname(path)}/*{_ARCHIVE}")) - {path}, key=os.path.getmtime)
    for old in earlier[: 1 - _ARCHIVES]:
        os.unlink(old)
    return path
