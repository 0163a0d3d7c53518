# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Kubernetes cluster on a lab's machines: init, joins side by side, and the wait until all nodes are Ready."""

from __future__ import annotations

import hashlib
import json
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from . import kinds, kubeadm, machines, paths, remote, state
from .errors import LabError
from .processes import wait_for
from .progress import Progress
from .shell import CommandFailed, Result, run, tail
from .state import Lab, Machine


def form(lab: Lab, progress: Progress, fail_cgroup_v1: bool = False, etcd_endpoints: Sequence[str] = ()) -> None:
    """Make one cluster of all masters and workers, which are starting.

    :param etcd_endpoints: of an etcd that runs already.
    """
    keys = kubeadm.Secrets()
    masters, workers = lab.of_role("master"), lab.of_role("worker")
    first = masters[0]
    machines.await_ssh(lab, first.name, progress)
    config = kubeadm.init_config(lab.addresses, first.octet, lab.kubernetes, keys, fail_cgroup_v1, etcd_endpoints)
    run_kubeadm(lab, first, "init", config, "--upload-certs")
    progress(f"{first.name}: kubeadm init done")
    state.write_private(lab.kubeconfig, (lab.root(first.name) / "etc/kubernetes/admin.conf").read_text())
    fingerprint = ca_hash((lab.root(first.name) / "etc/kubernetes/pki/ca.crt").read_text())

    def join(machine: Machine) -> None:
        machines.await_ssh(lab, machine.name)
        master = machine.role == "master"
        config = kubeadm.join_config(lab.addresses, machine.octet, fingerprint, keys, master)
        run_kubeadm(lab, machine, "join", config)
        progress(f"{machine.name} joined")

    def join_masters() -> None:
        # One after the other: etcd takes one new member at a time.
        for machine in masters[1:]:
            join(machine)

    with ThreadPoolExecutor(len(workers) + 1) as pool:
        for task in [pool.submit(join_masters), *(pool.submit(join, worker) for worker in workers)]:
            task.result()


# Before containerd has its socket, and after that until it serves.
RUNTIME_NOT_YET = ("[ERROR CRI]", "server is not initialized yet")
RUNTIME_LIMIT = 60.0


def run_kubeadm(lab: Lab, machine: Machine, verb: str, config: str, *options: str) -> None:
    """The token goes in a file for root only, and the file goes afterwards."""
    path = lab.root(machine.name) / "root" / "kubeadm.json"
    state.write_private(path, config)
    command = ["sudo", "kubeadm", *verb.split(), "--config", "/root/kubeadm.json", *options]
    try:
        deadline = time.monotonic() + RUNTIME_LIMIT
        while True:
            done = remote.run(lab, machine.name, command, check=False, timeout=600)
            # On a busy machine sshd answers before containerd does; preflight has changed nothing then.
            not_yet = any(words in done.stderr for words in RUNTIME_NOT_YET)
            if not done.rc or not not_yet or time.monotonic() > deadline:
                break
            time.sleep(1)
    finally:
        path.unlink(missing_ok=True)
    log = lab.log(f"{machine.name}-kubeadm")
    log.write_text(done.stdout + done.stderr)
    if done.rc:
        raise LabError(f"kubeadm {verb} failed on {machine.name}; its whole output is in {log}{tail(done)}")


def ca_hash(pem: str) -> str:
    """What kubeadm calls the discovery token's CA certificate hash: of the public key, as in the certificate."""
    return hashlib.sha256(public_key_info(ssl.PEM_cert_to_DER_cert(pem))).hexdigest()


def public_key_info(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate in DER: version, serial, algorithm, issuer, validity, subject, key."""
    to_be_signed = _content(_content(certificate)[0])[0]
    rest = to_be_signed
    if rest[0] == 0xA0:
        rest = _content(rest)[1]
    for _ in range(5):
        rest = _content(rest)[1]
    return rest[: len(rest) - len(_content(rest)[1])]


def _content(element: bytes) -> tuple[bytes, bytes]:
    """The content of the first DER element, and what follows that element."""
    length, start = element[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(element[2:start], "big")
    return element[start : start + length], element[start + length :]


def kubectl_argv(lab: Lab, *words: str) -> list[str]:
    """The cache's kubectl; a node's own (it is static) when the cache has been emptied meanwhile."""
    cached = paths.binaries("kubernetes", lab.kubernetes) / "kubectl"
    first = lab.of_role("master")[0].name
    found = cached if cached.exists() else lab.root(first) / "usr/bin/kubectl"
    return [str(found), f"--kubeconfig={lab.kubeconfig}", *words]


def ask(lab: Lab, *words: str, stdin: str | None = None, check: bool = True) -> Result:
    return run(kubectl_argv(lab, *words), stdin=stdin, check=check, timeout=120)


def ready_nodes(lab: Lab, since: float = 0) -> dict[str, bool]:
    """Every node of the cluster and whether it is Ready; empty when the API does not answer."""
    try:
        done = ask(lab, "get", "nodes", "--output=json", "--request-timeout=5s", check=False)
    except CommandFailed:
        return {}
    return parse_ready(done.stdout, since) if done.rc == 0 else {}


def parse_ready(nodes: str, since: float = 0) -> dict[str, bool]:
    return {node["metadata"]["name"]: is_ready(node, since) for node in json.loads(nodes)["items"]}


def is_ready(thing: dict[str, Any], since: float = 0) -> bool:
    """Whether a node or a pod is Ready.

    :param since: what a kubelet said of its node before this time does not count.
    """
    return any(
        condition["type"] == "Ready"
        and condition["status"] == "True"
        and (not since or datetime.fromisoformat(condition["lastHeartbeatTime"]).timestamp() >= since)
        for condition in thing["status"].get("conditions", [])
    )


def await_ready(lab: Lab, seconds: float = 180, since: float = 0) -> None:
    """Until every machine that shall be a node is Ready.

    :param since: after a restart of everything, so that what the API remembers from before does not count.
    """
    wanted = {machine.name for machine in kinds.nodes(lab)}
    seen: dict[str, bool] = {}

    def all_ready() -> bool:
        seen.clear()
        seen.update(ready_nodes(lab, since))
        return all(seen.get(name) for name in wanted)

    if not wait_for(all_ready, seconds, 0.5):
        missing = ", ".join(sorted(name for name in wanted if not seen.get(name)))
        what = f"these nodes are not Ready: {missing}" if seen else f"the API at {lab.addresses.api} does not answer"
        raise LabError(f"After {seconds:g} s {what}.", f"lab/lab kubectl --name {lab.name} describe nodes")
