# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Volumes and the node that is emptied: data that only it has, and what is still attached to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ansible_collections.clustercare.kubeadm.plugins.module_utils._allowed import list_if_allowed
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"


def local_claims(
    claims: Iterable[Mapping[str, Any]], volumes: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, str], str]:
    """The claims whose volume is a directory or disk of one node: (namespace, claim) -> volume."""
    local = {
        volume["metadata"]["name"]
        for volume in volumes
        if (volume.get("spec") or {}).get("local") or (volume.get("spec") or {}).get("hostPath")
    }
    bound = {
        (claim["metadata"]["namespace"], claim["metadata"]["name"]): str((claim.get("spec") or {}).get("volumeName"))
        for claim in claims
    }
    return {key: volume for key, volume in bound.items() if volume in local}


def local_risk(pod: Pod, local: Mapping[tuple[str, str], str]) -> str:
    """What keeps a pod from starting elsewhere with its data; empty when nothing does."""
    held = [local[(pod.namespace, claim)] for claim in pod.claims if (pod.namespace, claim) in local]
    return f"its local PersistentVolume {', '.join(held)} stays on this node" if held else ""


def list_local_claims(api: Api, pods: Sequence[Pod], deadline: Deadline) -> dict[tuple[str, str], str]:
    """The same, asked from the API; nothing where it may not be read."""
    namespaces = {pod.namespace for pod in pods if pod.claims}
    if not namespaces:
        return {}
    claims = _list_claims(api, namespaces, deadline)
    volumes = list_if_allowed(api, "/api/v1/persistentvolumes", deadline)
    return local_claims(claims, volumes or [])


def still_attached(api: Api, node: str, staying: Callable[[Deadline], Sequence[Pod]], deadline: Deadline) -> list[str]:
    """Volumes attached to the node that none of the pods that stay there uses."""
    found = [item for item in api.list(_ATTACHMENTS, deadline) if (item.get("spec") or {}).get("nodeName") == node]
    if not found:
        return []
    in_use = {(pod.namespace, claim) for pod in staying(deadline) for claim in pod.claims}
    claims = _list_claims(api, {namespace for namespace, _claim in in_use}, deadline)
    used = {
        (claim.get("spec") or {}).get("volumeName")
        for claim in claims
        if (claim["metadata"]["namespace"], claim["metadata"]["name"]) in in_use
    }
    volumes = [(item["spec"].get("source") or {}).get("persistentVolumeName") for item in found]
    names = (volume or item["metadata"]["name"] for volume, item in zip(volumes, found))
    return sorted(str(name) for name in names if name not in used)


def _list_claims(api: Api, namespaces: Iterable[str], deadline: Deadline) -> list[dict[str, Any]]:
    return [
        claim
        for namespace in sorted(namespaces)
        for claim in list_if_allowed(api, f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", deadline) or []
    ]
