# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a restore has to know of one master before it may begin; reads only, and works while nothing else does."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record, _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._certificate import (
    CLIENT_AUTH,
    SERVER_AUTH,
    der_of_pem,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_about import ENCRYPTION_FLAG, host_path
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import database
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import choose_access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe, unseen
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_inside import Records
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import CA_CERT, ca_sha256
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import (
    COMPONENTS,
    container_of,
    image_version,
    local_server,
    option_of,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubelet import said_version
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import ApiServer
from ansible_collections.clustercare.kubeadm.plugins.module_utils._offline import read_kubeconfig
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import read_text
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_api import lock_now, nodes_now
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_disk import data_on_disk
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import room_for
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_tls import own_obstacles, peer_obstacles
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import old_data_gone
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host, Service
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober, etcd_settings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._unit_command import read_command
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import free_bytes

_TIMEOUT = 3.0
_FOR_KUBELET = 20.0  # systemd starts one that has ended after 10 s


def argv_of(service: Service, runner: Runner) -> list[str]:
    """The command line of a component: of its process, its manifest, or its unit."""
    if service.argv or service.unit is None:
        return service.argv
    command = read_command(service.unit.name, runner)
    return command.argv if command else []


def version_of(service: Service, runner: Runner) -> Optional[str]:
    """The version in the image of a static pod's manifest, else what the program says of itself."""
    if service.kind == "static_pod":
        return image_version(str(container_of(service.pod, service.name).get("image")))
    argv = argv_of(service, runner)
    program = f"/proc/{service.processes[-1].pid}/exe" if service.processes else "".join(argv[:1])
    return said_version([program, "--version"], runner) if service.unit and program else None


def component(service: Service, runner: Runner) -> dict[str, Any]:
    """What runs a component, and whether systemd would start it."""
    command = read_command(service.unit.name, runner) if service.unit else None
    unit = service.unit.name if service.unit else None
    return {"kind": service.kind, "unit": unit, "masked": bool(command and command.masked)}


def cluster_ca(manager: list[str], server: list[str]) -> Optional[str]:
    """The cluster's identity: the certificate that its pods are given, whatever file it is in.

    :param manager: the command line of the controller manager, which publishes it.
    :param server: that of the API server.
    """
    named = (option_of(manager, "--root-ca-file"), option_of(server, "--client-ca-file"), CA_CERT)
    return next((found for path in named if path for found in [ca_sha256(path)] if found), None)


def encryption_config(server: Service, runner: Runner) -> Optional[str]:
    """The SHA-256 of the file by which this host's API server encrypts what it stores, also while it does not run."""
    path = option_of(argv_of(server, runner), f"--{ENCRYPTION_FLAG}")
    if not path:
        return None
    if server.kind == "static_pod":
        path = host_path(server.pod, container_of(server.pod, server.name), path)
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def gateway_obstacle(flags: dict[str, str]) -> Optional[str]:
    """Why members could not be asked for their revision and hash, which is the proof of a restore."""
    why = "by which members are compared"
    if flags.get("enable-grpc-gateway") == "false":
        return f"etcd's JSON gateway, {why}, is switched off: take --enable-grpc-gateway=false away."
    path = flags.get("cert-file", "")
    der = der_of_pem(read_text(path) or "")
    asks = flags.get("client-cert-auth") == "true" or bool(flags.get("trusted-ca-file"))
    if asks and not flags.get("client-cert-file") and der and SERVER_AUTH in der and CLIENT_AUTH not in der:
        return (
            f"etcd's server certificate {path} lacks the usage clientAuth, without which etcd's JSON gateway, {why}, "
            "does not work: issue it again with both usages, as kubeadm's is."
        )
    return None


def by_api(server: ApiServer) -> dict[str, Any]:
    """The names of all Nodes, and of those that are not well, and who holds the lock of the cluster.

    None when this API server does not tell.
    """
    nodes = unready = None
    try:
        nodes, unready = nodes_now(server)
        lock = lock_now(server)
    except (CareError, ValueError, KeyError):
        lock = None
    finally:
        server.close()
    return {"nodes": nodes, "unready": unready, "lock": lock}


def open_upgrade(directory: str) -> Optional[dict[str, Any]]:
    """An upgrade that was begun on this host and not ended.

    :raises CareError: nobody can tell.
    """
    record = _record.load(directory)
    return {name: (record or {}).get(name) for name in ("target", "run", "phase")} if _record.is_open(record) else None


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


def etcd_now(service: Service, access: Access) -> dict[str, Any]:
    """The cluster as this host's member sees it now."""
    if not service.running:
        return unseen("it does not run")
    return judge(observe(access, _TIMEOUT), access.endpoint)


def etcd_summary(found: dict[str, Any]) -> dict[str, Any]:
    """What the plan needs of that."""
    return {
        "answers": bool(found["member_id"]),
        "quorum": found["majority"],
        "members": [{name: member[name] for name in ("id_hex", "name", "peer_urls")} for member in found["members"]],
        "revision": found["revision"],
        "raft_applied_index": found["raft_applied_index"],
        "raft_term": next((member["raft_term"] for member in found["members"] if member["local"]), 0),
        "cluster_id": found["cluster_id"],
        "snapshot_refusal": found["snapshot_refusal"],
        "problems": found["problems"],
    }


class Found(NamedTuple):
    """This host's etcd as a restore needs it."""

    flags: dict[str, str]
    access: Access
    user: str
    group: str
    etcdutl: Optional[str]  # beside the program of a unit that does not run, wherever that is


def find_etcd(etcd: Service, server: Service, wanted: Access, runner: Runner) -> Found:
    """Settings, access and user of this host's etcd, whether it runs or not.

    :raises CareError: it does not say where it listens, or its settings cannot be read.
    """
    flags = etcd_settings(etcd, runner)
    access = choose_access(flags, wanted, argv_of(server, runner))
    command = read_command(etcd.unit.name, runner) if etcd.unit else None
    if command is None:
        return Found(flags, access, "", "", None)
    beside = os.path.join(os.path.dirname(command.program), "etcdutl")
    tool = beside if not etcd.running and os.path.isabs(beside) and os.access(beside, os.X_OK) else None
    return Found(flags, access, command.user, command.group, tool)


def kubelet_runs(host: Host, patience: float) -> bool:
    """Whether the kubelet runs, or does within ``patience`` seconds: a host that has just started has none yet."""
    deadline = Deadline(patience, "none")
    while not host.processes("kubelet"):
        if deadline.passed:
            return False
        deadline.sleep(0.5)
    return True


def look(host: Host, wanted: Access, kubeconfig: str) -> dict[str, Any]:
    """All of it, for ``_restore_modes.plan``."""
    services = {name: host.look(name) for name in COMPONENTS}
    etcd, server = services["etcd"], services["kube-apiserver"]
    prober = Prober(host, kubeconfig, wanted)
    flags: dict[str, str] = {}
    summary = unseen("it does not run")
    obstacles = []
    if etcd.kind in ("static_pod", "systemd", "process"):
        try:
            found = find_etcd(etcd, server, wanted, host.runner)
            flags, summary = found.flags, etcd_now(etcd, found.access)
            obstacles += [gateway_obstacle(flags), *own_obstacles(flags, found.access.endpoint, time.time())]
        except CareError as error:
            obstacles += [error.message]
    now = etcd_summary(summary)
    data_dir = flags.get("data-dir", "")
    there = data_dir.startswith("/")
    run_dir = os.path.join(host.directory, _restore_state.FOLDER, "run")
    room = room_for(data_dir, run_dir) if there else run_dir
    told: dict[str, Any] = {"nodes": None, "unready": None, "lock": None}
    try:
        api_access = prober.administrator()
        if server.running:
            told = by_api(local_server(api_access, server.argv, _TIMEOUT))
    except CareError as error:
        obstacles += [f"{error.message.rstrip('.')}: name another one with etcd_restore_kubeconfig."]
    state = _restore_state.load(host.directory)
    touched = _restore_state.touched(state, host.directory)
    # Its whole database is read for that; one with an open restore is looked at in the middle of an outage.
    if told["nodes"] is None and there and not etcd.running and not _restore_state.is_open(state):
        told["nodes"] = nodes_by_data(data_dir)
    upgrade = None
    try:
        upgrade = open_upgrade(host.directory)
    except CareError as error:
        obstacles += [error.message]
    size = os.path.getsize(database(data_dir)) if there and os.path.exists(database(data_dir)) else 0
    return {
        "node": os.uname().nodename,
        "kind": etcd.kind,
        "components": {name: component(service, host.runner) for name, service in services.items()},
        "obstacles": [obstacle for obstacle in obstacles if obstacle],
        "peer_obstacles": peer_obstacles(flags, time.time()),
        "running": etcd.running,
        "kubelet": kubelet_runs(host, _FOR_KUBELET if etcd.kind == "static_pod" else 0),
        "member": flags.get("name"),
        "peer_url": flags.get("initial-advertise-peer-urls", "").split(",")[0] or None,
        "client_url": flags.get("advertise-client-urls", "").split(",")[0] or None,
        "data_dir": data_dir or None,
        "wal_dir": flags.get("wal-dir") or None,
        "quota": int(flags.get("quota-backend-bytes") or 0),
        "etcd_version": version_of(etcd, host.runner),
        "kubernetes_version": version_of(server, host.runner),
        "encryption_config_sha256": encryption_config(server, host.runner),
        "etcd": now,
        "data": data_on_disk(data_dir) if there and not now["answers"] else None,
        "ca_sha256": cluster_ca(
            argv_of(services["kube-controller-manager"], host.runner), argv_of(server, host.runner)
        ),
        "cluster_name": cluster_name(kubeconfig, host),
        **told,
        "upgrade": upgrade,
        "db_size": size,
        "free": free_bytes(room) if there else None,
        # Of what the snapshot comes to, where that is another file system.
        "free_for_snapshot": free_bytes(run_dir) if room != run_dir else None,
        "state": state,
        "touched": touched,
        "old_data_gone": old_data_gone(touched),
        "time": time.time(),
    }
