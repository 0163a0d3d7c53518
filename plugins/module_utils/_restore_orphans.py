# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a restored cluster has that belongs to nothing any more. It is named for people, and left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import ApiServer

_NODES = "/api/v1/nodes"
_PODS = "/api/v1/pods"
_REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_VOLUMES = "/api/v1/persistentvolumes"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_PAGE = 500
_NAMED = 20  # of each kind


def pages(server: ApiServer, path: str) -> Iterator[dict[str, Any]]:
    """All objects of a kind, asked for in pages: a big cluster has many pods."""
    more = ""
    while True:
        answer = server.get(f"{path}?limit={_PAGE}{more}")
        yield from answer.get("items") or []
        token = (answer.get("metadata") or {}).get("continue")
        if not token:
            return
        more = f"&continue={quote(token)}"


def where(item: dict[str, Any]) -> str:
    metadata = item["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])


def stranded(pod: dict[str, Any], nodes: set[str]) -> bool:
    """Whether a pod is bound to a Node that is not there, so that nothing runs it."""
    node = (pod.get("spec") or {}).get("nodeName")
    return bool(node) and node not in nodes


def pending(request: dict[str, Any]) -> bool:
    """Whether nobody has decided on a CertificateSigningRequest."""
    return not (request.get("status") or {}).get("conditions")


def phase_of(item: dict[str, Any]) -> str:
    return str((item.get("status") or {}).get("phase") or "")


def listed(words: list[str], kind: str) -> list[str]:
    """The first ones by name, and how many more there are."""
    more = len(words) - _NAMED
    return sorted(words)[:_NAMED] + ([f"{more} more of {kind}"] if more > 0 else [])


def orphans(server: ApiServer) -> list[str]:
    """In words: pods of Nodes that are gone, requests that wait, volumes and claims that have lost each other.

    The restore is done by now, so what cannot be read is said, and nothing fails.
    """
    try:
        nodes = {node["metadata"]["name"] for node in pages(server, _NODES)}
        pods = [
            f"Pod {where(pod)} on Node {pod['spec']['nodeName']}, which is not there"
            for pod in pages(server, _PODS)
            if stranded(pod, nodes)
        ]
        requests = [
            f"CertificateSigningRequest {where(request)} is pending"
            for request in pages(server, _REQUESTS)
            if pending(request)
        ]
        volumes = [
            f"PersistentVolume {where(volume)} is {phase_of(volume)}"
            for volume in pages(server, _VOLUMES)
            if phase_of(volume) in ("Released", "Failed")
        ]
        claims = [
            f"PersistentVolumeClaim {where(claim)} is Lost"
            for claim in pages(server, _CLAIMS)
            if phase_of(claim) == "Lost"
        ]
    except CareError as error:
        return [f"could not be looked for: {error.message}"]
    finally:
        server.close()
    return [
        *listed(pods, "such pods"),
        *listed(requests, "such requests"),
        *listed(volumes, "such volumes"),
        *listed(claims, "such claims"),
    ]
