# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""How each component of this host is: read only, and without crictl."""

from __future__ import annotations

import contextlib
import glob
import math
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _certificate,
    _etcd_discovery,
    _evidence,
    _kubelet,
    _offline,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Gateway
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import (
    container_of,
    image_version,
    local_server,
    option_of,
    static_pod,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import access_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import read_text
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host, Service, manifest_files
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import (
    Prober,
    etcd_access,
    etcd_settings,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_timer import DeadMan
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch, iso

_CERTIFICATES = {
    "etcd": ("cert-file", "peer-cert-file"),
    "kube-apiserver": ("tls-cert-file", "etcd-certfile", "kubelet-client-certificate", "proxy-client-cert-file"),
    "kube-controller-manager": ("tls-cert-file",),
    "kube-scheduler": ("tls-cert-file",),
    "kubelet": ("tls-cert-file",),
}
_KUBELETS_OWN = ("/var/lib/kubelet/pki/kubelet-client-current.pem", "/var/lib/kubelet/pki/kubelet.crt")
_API_LAG = 30.0
_LEADERS = ("kube-controller-manager", "kube-scheduler")


def certificate_row(path: str, pem: str, now: float) -> Optional[dict[str, Any]]:
    """When a certificate ends; None when there is none in the text."""
    der = _certificate.der_of_pem(pem)
    end = _certificate.not_after(der) if der else None
    if end is None:
        return None
    return {"file": path, "not_after": iso(end), "days_left": math.floor((end - now) / 86400)}


def leads(lease: dict[str, Any], hostname: str, started: float, now: float) -> bool:
    """Whether a Lease is held by this host's process: the name alone may be that of the process before it."""
    spec = lease.get("spec") or {}
    if not str(spec.get("holderIdentity") or "").startswith(f"{hostname}_") or not spec.get("renewTime"):
        return False
    renewed = epoch(spec["renewTime"])
    return renewed + float(spec.get("leaseDurationSeconds") or 15) > now and renewed >= started - 1


def restarts_in(names: Iterable[str]) -> Optional[int]:
    """How often a container was started again, from its log files' names; the kubelet counts from 0."""
    numbers = [int(name.split(".")[0]) for name in names if name.split(".")[0].isdigit() and name.endswith(".log")]
    return max(numbers) if numbers else None


def last_exit_of_pod(pod: dict[str, Any], name: str) -> Optional[dict[str, Any]]:
    """How the container before this one ended, as the API knows it."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        ended = (status.get("lastState") or {}).get("terminated")
        if status.get("name") == name and ended:
            return {"reason": ended.get("reason"), "code": ended.get("exitCode"), "at": ended.get("finishedAt")}
    return None


class Describer:
    """Describes the components of one host."""

    def __init__(self, prober: Prober) -> None:
        self.prober = prober
        self.host: Host = prober.host
        self.now = time.time()
        self.hostname = os.uname().nodename

    def describe(self, names: list[str]) -> dict[str, dict[str, Any]]:
        self.host.pods(manifest_files(self.host.manifests_dir()))  # read once, not by each thread
        with ThreadPoolExecutor(max_workers=6) as pool:
            return dict(zip(names, pool.map(self.component, names)))

    def component(self, name: str) -> dict[str, Any]:
        """One component; what cannot be known is null."""
        service = self.host.look(name)
        newest = service.processes[-1] if service.processes else None
        logs = self.log_directory(service)
        problem = self.prober.problem(service) if newest else None
        if service.state == "failed":
            problem = "it should run and does not"
        container = container_of(service.pod, name)
        return {
            "state": service.state,
            "kind": service.kind,
            "manifests": [*service.manifests, *service.parked],
            "unit": service.unit.name if service.unit else None,
            "version": self.version(service),
            "image": container.get("image"),
            "current": static_pod(service.pod, name, service.processes)["current"] if service.pod and newest else None,
            "pid": newest.pid if newest else None,
            "started": iso(newest.started) if newest else None,
            "uptime": max(0, round(self.now - newest.started)) if newest else None,
            "restarts": self.restarts(service, logs),
            "last_exit": self.last_exit(service, logs),
            "healthy": problem is None if service.state in ("started", "failed") else None,
            "problem": problem,
            "leader": self.leader(service),
            "certificates": self.certificates(service),
            "restore_at": DeadMan(name, self.host.runner, self.host.directory).due(),
        }

    # --- pieces

    def version(self, service: Service) -> Optional[str]:
        """The image's tag, else what the running program says of itself."""
        tagged = image_version(str(container_of(service.pod, service.name).get("image")))
        if tagged or not service.processes:
            return tagged.split("-")[0] if tagged and service.name == "etcd" else tagged
        return _kubelet.said_version([f"/proc/{service.processes[-1].pid}/exe", "--version"], self.host.runner)

    def log_directory(self, service: Service) -> Optional[str]:
        """Where the kubelet keeps the logs of a static pod's containers."""
        if service.kind != "static_pod":
            return None
        uid = self.host.home(service.processes[-1]).pod if service.processes else None
        found = glob.glob(f"{self.host.logs}/kube-system_{service.name}-*_{uid or '*'}")
        return max(found, key=os.path.getmtime) if found else None

    def restarts(self, service: Service, logs: Optional[str]) -> Optional[int]:
        if service.unit is not None:
            return service.unit.restarts
        if logs is None:
            return None
        return restarts_in(os.path.basename(path) for path in glob.glob(f"{logs}/{service.name}/*"))

    def last_exit(self, service: Service, logs: Optional[str]) -> Optional[dict[str, Any]]:
        """How the run before this one ended: by the API, else the last words of its log."""
        if service.unit is not None:
            if service.unit.exit_code in ("", "0"):
                return None
            return {"reason": service.unit.result, "code": service.unit.exit_status, "at": None, "last_words": None}
        if logs is None:
            return None
        number = self.restarts(service, logs)
        previous = f"{logs}/{service.name}/{(number or 0) - int(service.running)}.log"
        words = _evidence.tail(previous, 1) if os.path.exists(previous) else []
        told: Optional[dict[str, Any]] = None
        pod = os.path.basename(logs).split("_")[1]
        answer = self.ask_api(f"/api/v1/namespaces/kube-system/pods/{pod}")
        if answer:
            told = last_exit_of_pod(answer, service.name)
        if told and words and epoch(told["at"]) + _API_LAG < os.path.getmtime(previous):
            told = None  # of a run before that: the API has not heard of the newest end yet
        if told is None and not words:
            return None
        return {**(told or {"reason": None, "code": None, "at": None}), "last_words": words[-1] if words else None}

    def ask_api(self, path: str) -> Optional[dict[str, Any]]:
        """What this host's own API server says; None when it does not answer."""
        servers = self.host.processes("kube-apiserver")
        if not servers:
            return None
        try:
            server = local_server(self.prober.api_access(), servers[-1].argv)
            try:
                return server.get(path)
            finally:
                server.close()
        except (CareError, ValueError):
            return None

    def leader(self, service: Service) -> Optional[bool]:
        """Whether this host's one is the one at work; null where there is no such thing, or nobody tells."""
        if service.name not in ("etcd", *_LEADERS):
            return None
        if not service.running:
            return False if service.kind != "absent" else None
        if service.name == "etcd":
            try:
                status = Gateway(etcd_access(service, self.prober.etcd), 3.0).status()
            except CareError:
                return None
            return bool(status.get("leader")) and status.get("leader") == status["header"].get("member_id")
        lease = self.ask_api(f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{service.name}")
        return leads(lease, self.hostname, service.processes[-1].started, self.now) if lease else None

    def certificates(self, service: Service) -> list[dict[str, Any]]:
        """Every certificate that the component shows to others, with its end."""
        settings = _etcd_discovery.settings(["", *service.argv])
        if service.name == "etcd":
            with contextlib.suppress(CareError):
                settings = etcd_settings(service, self.host.runner)
        paths = [settings[flag] for flag in _CERTIFICATES.get(service.name, ()) if settings.get(flag)]
        if service.name == "kubelet":
            paths += [path for path in _KUBELETS_OWN if os.path.exists(path)]
        rows = [certificate_row(path, self.inside(service, path), self.now) for path in paths]
        if service.name in _LEADERS and service.kind != "absent":
            rows.append(self.kubeconfig_row(service))
        return [row for row in rows if row]

    def inside(self, service: Service, path: str) -> str:
        """A file as the component sees it: of the host, else of its container."""
        root = f"{self.host.proc}/{service.processes[-1].pid}/root" if service.processes else ""
        return read_text(path) or read_text(root + path) or ""

    def kubeconfig_row(self, service: Service) -> Optional[dict[str, Any]]:
        path = option_of(service.argv, "--kubeconfig")
        if not path or not os.path.exists(path):
            return None
        try:
            access = access_of(_offline.read_kubeconfig(path, self.host.runner), path)
        except CareError:
            return None
        return certificate_row(path, access.certificate, self.now)
