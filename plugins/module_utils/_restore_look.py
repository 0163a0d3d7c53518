# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a restore has to know of one master before it may begin; reads only, and works while nothing else does."""

from __future__ import annotations

import os
import time
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import database
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import settings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe, unseen
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_inside import Records
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import ca_sha256
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import container_of, image_version
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import ApiServer
from ansible_collections.clustercare.kubeadm.plugins.module_utils._offline import read_kubeconfig
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_disk import data_on_disk
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import room_for
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host, Service
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import (
    Prober,
    etcd_access,
    local_server,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import free_bytes

_TIMEOUT = 3.0


def version_of(service: Service) -> Optional[str]:
    """The version in the image of a static pod's manifest."""
    return image_version(str(container_of(service.pod, service.name).get("image")))


def flags_of(service: Service) -> dict[str, str]:
    return settings(service.argv or ["etcd"])


def nodes_by_api(server: ApiServer) -> Optional[list[str]]:
    """The names of all Nodes, or None when this API server does not tell."""
    try:
        return sorted(item["metadata"]["name"] for item in server.get("/api/v1/nodes").get("items") or [])
    except (CareError, ValueError, KeyError):
        return None
    finally:
        server.close()


def nodes_by_data(data_dir: str) -> Optional[list[str]]:
    """The names of all Nodes in the data of an etcd that does not run, or None when it cannot be read."""
    try:
        records = Records()
        with BoltFile(database(data_dir)) as file:
            bucket = file.bucket(b"key")
            for revision, value in bucket.items() if bucket else ():
                records.take(revision, value)
        return list(records.found()["nodes"])
    except (OSError, BrokenFile, CareError, ValueError):
        return None


def cluster_name(kubeconfig: str, host: Host) -> Optional[str]:
    """What the administrator's kubeconfig calls the cluster."""
    try:
        clusters = read_kubeconfig(kubeconfig, host.runner).get("clusters") or []
        return str(clusters[0]["name"]) if clusters else None
    except (CareError, KeyError, ValueError):
        return None


def etcd_now(service: Service, wanted: Access) -> dict[str, Any]:
    """The cluster as this host's member sees it now."""
    if not service.running:
        return unseen("it does not run")
    try:
        access = etcd_access(service, wanted)
        return judge(observe(access, _TIMEOUT), access.endpoint)
    except CareError as error:
        return unseen(error.message)


def etcd_summary(found: dict[str, Any]) -> dict[str, Any]:
    """What the plan needs of that."""
    quorum = found["quorum"]
    return {
        "answers": bool(found["member_id"]),
        "quorum": bool(found["member_id"]) and quorum["healthy"] >= quorum["needed"],
        "members": [{name: member[name] for name in ("id_hex", "name", "peer_urls")} for member in found["members"]],
        "revision": found["revision"],
        "raft_applied_index": found["raft_applied_index"],
        "raft_term": next((member["raft_term"] for member in found["members"] if member["local"]), 0),
        "cluster_id": found["cluster_id"],
        "snapshot_refusal": found["snapshot_refusal"],
        "problems": found["problems"],
    }


def look(host: Host, wanted: Access, kubeconfig: str) -> dict[str, Any]:
    """All of it, for ``_restore_plan.plan``."""
    etcd, server = host.look("etcd"), host.look("kube-apiserver")
    now = etcd_summary(etcd_now(etcd, wanted))
    flags = flags_of(etcd) if etcd.kind in ("static_pod", "process") else {}
    data_dir = flags.get("data-dir", "")
    run_dir = os.path.join(host.directory, _restore_state.FOLDER, "run")
    nodes = None
    if server.running:
        prober = Prober(host, kubeconfig, wanted)
        try:
            nodes = nodes_by_api(local_server(prober.api_access(), server.argv, _TIMEOUT))
        except CareError:
            nodes = None
    if nodes is None and data_dir and not etcd.running:
        nodes = nodes_by_data(data_dir)
    size = os.path.getsize(database(data_dir)) if data_dir and os.path.exists(database(data_dir)) else 0
    return {
        "node": os.uname().nodename,
        "kind": etcd.kind,
        "running": etcd.running,
        "kubelet": bool(host.processes("kubelet")),
        "member": flags.get("name"),
        "peer_url": flags.get("initial-advertise-peer-urls", "").split(",")[0] or None,
        "client_url": flags.get("advertise-client-urls", "").split(",")[0] or None,
        "data_dir": data_dir or None,
        "wal_dir": flags.get("wal-dir") or None,
        "quota": int(flags.get("quota-backend-bytes") or 0),
        "etcd_version": version_of(etcd),
        "kubernetes_version": version_of(server),
        "etcd": now,
        "data": data_on_disk(data_dir) if data_dir and not now["answers"] else None,
        "ca_sha256": ca_sha256(),
        "cluster_name": cluster_name(kubeconfig, host),
        "nodes": nodes,
        "db_size": size,
        "free": free_bytes(room_for(data_dir, run_dir)) if data_dir else None,
        "state": _restore_state.load(host.directory),
        "time": time.time(),
    }
