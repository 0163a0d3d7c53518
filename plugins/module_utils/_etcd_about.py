# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What stands around this host's etcd and must be there again when its data is restored; unknown things are None."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubelet
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import processes, settings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import (
    MANIFESTS,
    container_of,
    image_version,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._offline import read_objects

_SERVER = "kube-apiserver"
ENCRYPTION_FLAG = "encryption-provider-config"


def host_path(pod: dict[str, Any], container: dict[str, Any], path: str) -> str:
    """Where a path in a static pod's container is on the host; the same when no host path is mounted there."""
    volumes = pod.get("spec", {}).get("volumes") or []
    sources = {row.get("name"): (row.get("hostPath") or {}).get("path") or "" for row in volumes}
    mounts = container.get("volumeMounts") or []
    places = [(row["mountPath"].rstrip("/"), sources.get(row.get("name"), "")) for row in mounts]
    for mounted, source in sorted(places, reverse=True):
        if source and (path == mounted or path.startswith(mounted + "/")):
            return source.rstrip("/") + path[len(mounted) :]
    return path


def images(directory: str = MANIFESTS, runner: Runner = run) -> dict[str, str]:
    """The images that the manifests of etcd and the API server name; those that nothing can read are left out."""
    paths = {name: os.path.join(directory, f"{name}.yaml") for name in ("etcd", _SERVER)}
    there = [name for name in paths if os.path.isfile(paths[name])]
    if not there:
        return {}
    try:
        pods = read_objects([paths[name] for name in there], runner)
    except (CareError, ValueError):
        return {}
    return {name: str(container_of(pod, name).get("image") or "") for name, pod in zip(there, pods)}


def encryption_config_sha256(proc: str = "/proc") -> Optional[str]:
    """The SHA-256 of the file by which this host's API server encrypts what it stores.

    Without that very file, what it encrypted cannot be read again. None without such a file, or without an API server.
    """
    for pid, argv, _environment in processes(proc, _SERVER):
        path = settings(argv).get(ENCRYPTION_FLAG)
        if path:
            try:
                # As the process sees it: a container has it at another place than the host, maybe.
                with open(f"{proc}/{pid}/root{path}", "rb") as file:
                    return hashlib.sha256(file.read()).hexdigest()
            except OSError:
                return None
    return None


def kubernetes_version(image: str, proc: str = "/proc", runner: Runner = run) -> Optional[str]:
    """The version of this host's API server, by its image's tag, else by its own word."""
    tagged = image_version(image)
    if tagged:
        return tagged
    servers = processes(proc, _SERVER)
    return _kubelet.said_version([f"{proc}/{servers[0][0]}/exe", "--version"], runner) if servers else None


def about_cluster(proc: str = "/proc", directory: str = MANIFESTS, runner: Runner = run) -> dict[str, Optional[str]]:
    """What a snapshot's sidecar tells beside etcd's own words. Never fails: a snapshot is worth more than this."""
    named = images(directory, runner)
    return {
        "kubernetes_version": kubernetes_version(named.get(_SERVER, ""), proc, runner),
        "etcd_image": named.get("etcd") or None,
        "encryption_config_sha256": encryption_config_sha256(proc),
    }
