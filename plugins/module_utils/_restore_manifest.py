# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The manifest of an etcd that is told whom to join, and what it was before."""

from __future__ import annotations

import os

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import settings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import argv_of_pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host, Service

_CLUSTER, _STATE = "--initial-cluster=", "--initial-cluster-state="


def told(manifest: str, flags: dict[str, str], cluster: str) -> str:
    """A manifest of etcd's whose member joins ``cluster``; all else in it stays as it is, comments included.

    :param flags: what it says now. These very words are replaced, so nothing has to be known of YAML.
    :raises CareError: they are not in it just once.
    """
    old = _CLUSTER + flags.get("initial-cluster", "")
    if manifest.count(old) != 1:
        raise CareError(f"The manifest of etcd does not have {old} just once, so it cannot be told whom to join.")
    state = _STATE + flags.get("initial-cluster-state", "")
    if "initial-cluster-state" in flags:
        return manifest.replace(old, _CLUSTER + cluster).replace(state, _STATE + "existing")
    # kubeadm writes no such flag for the first master; a line of its own, written like the one before it.
    line = next(one for one in manifest.splitlines() if old in one)
    lines = [line.replace(old, new) for new in (_CLUSTER + cluster, _STATE + "existing")]
    return manifest.replace(line, "\n".join(lines))


def manifest_of(etcd: Service) -> str:
    """Where the manifest lies now."""
    paths = [*etcd.manifests, *etcd.parked]
    if not paths:
        raise CareError(f"{os.uname().nodename} has no manifest of etcd.")
    return paths[0]


def text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def argv_of(etcd: Service) -> list[str]:
    """The command line of the manifest, also while another process runs."""
    return etcd._replace(processes=[]).argv


def keep(etcd: Service, home: str) -> str:
    """Keep the manifest as it is before it is told whom to join; where."""
    path = os.path.join(home, "etcd.yaml")
    _record.write_private(path, text_of(manifest_of(etcd)).encode())
    return path


def put_back(host: Host, kept: str) -> None:
    """Let the manifest be again what it was before it was told; one that others have changed since stays as it is."""
    etcd = host.look("etcd")
    if not os.path.exists(kept) or not (etcd.manifests or etcd.parked):
        return
    path = manifest_of(etcd)
    flags = settings(argv_of_pod(host.pods([kept])[kept], "etcd"))
    cluster = settings(argv_of(etcd)).get("initial-cluster", "")
    if text_of(path) == told(text_of(kept), flags, cluster):
        _record.write_private(path, text_of(kept).encode(), mode=os.stat(path).st_mode & 0o777)
