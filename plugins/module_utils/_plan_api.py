# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a plan reads from the API: GET and LIST only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional, Protocol

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Cluster, Identity
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_SYSTEM = "/api/v1/namespaces/kube-system"


class Reads(Protocol):
    """The part of the API client that is used here."""

    def get(self, path: str, deadline: Deadline) -> dict[str, Any]: ...

    def find(self, path: str, deadline: Deadline) -> Optional[dict[str, Any]]: ...

    def list(self, path: str, deadline: Deadline) -> list[dict[str, Any]]: ...


def read_uid(api: Reads, identity: Identity, deadline: Deadline) -> Cluster:
    """Only who it is: enough to name a cluster that is the wrong one."""
    try:
        return Cluster(identity, uid=_uid(api, deadline))
    except CareError as error:
        return Cluster(identity, error=error.message)


def read_cluster(api: Reads, identity: Identity, deadline: Deadline) -> Cluster:
    """Everything that a plan looks at; an API that does not answer is told in ``error``."""
    cluster = Cluster(identity)
    try:
        cluster = replace(cluster, uid=_uid(api, deadline))
        return replace(
            cluster,
            version=api.get("/version", deadline).get("gitVersion"),
            nodes=api.list("/api/v1/nodes", deadline),
            pods=api.list("/api/v1/pods", deadline),
            budgets=api.list("/apis/policy/v1/poddisruptionbudgets", deadline),
            kubeadm_config=_config(api, "kubeadm-config", "ClusterConfiguration", deadline),
            kubelet_config=_config(api, "kubelet-config", "kubelet", deadline),
            daemonsets=api.list("/apis/apps/v1/daemonsets", deadline),
        )
    except CareError as error:
        return replace(cluster, error=error.message)


def _uid(api: Reads, deadline: Deadline) -> str:
    return str(api.get(_SYSTEM, deadline)["metadata"]["uid"])


def _config(api: Reads, name: str, key: str, deadline: Deadline) -> Optional[dict[str, Any]]:
    """A YAML document inside a ConfigMap; None when there is none."""
    import yaml  # pylint: disable=import-outside-toplevel

    found = api.find(f"{_SYSTEM}/configmaps/{name}", deadline)
    written = ((found or {}).get("data") or {}).get(key)
    if not written:
        return None
    try:
        read = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise CareError(f"{key} in the ConfigMap kube-system/{name} is not YAML: {error}") from error
    return read if isinstance(read, dict) else None
