# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Asking a component itself whether it is well. Each probe returns None, or what is wrong in words."""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
from typing import Optional
from urllib.parse import urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_discovery
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import (
    KUBELET_CONF,
    local_server,
    option_of,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubelet import healthz, healthz_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import WILDCARDS, access_of, ask, ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import Access as ApiAccess
from ansible_collections.clustercare.kubeadm.plugins.module_utils._offline import read_kubeconfig
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import link, read_text
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import RUNTIME, Host, Service
from ansible_collections.clustercare.kubeadm.plugins.module_utils._trust import trusting
from ansible_collections.clustercare.kubeadm.plugins.module_utils._unit_command import read_command

_SECURE_PORTS = {"kube-controller-manager": 10257, "kube-scheduler": 10259}
_TIMEOUT = 3.0
_LISTEN = "0A"
_H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # and an empty SETTINGS frame
_H2_SETTINGS = 0x04


# --- who listens


def listening(table: str, port: int) -> set[str]:
    """Inodes of the sockets that listen on ``port``, from the text of /proc/PID/net/tcp or tcp6."""
    found = set()
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 9 and columns[3] == _LISTEN and int(columns[1].rsplit(":", 1)[1], 16) == port:
            found.add(columns[9])
    return found


def listens_itself(pid: int, port: int, proc: str = "/proc") -> Optional[str]:
    """Whether that very process is the one that listens: proof where a self-made certificate proves nothing."""
    wanted: set[str] = set()
    for name in ("tcp", "tcp6"):
        wanted |= listening(read_text(f"{proc}/{pid}/net/{name}") or "", port)
    if not wanted:
        return f"nothing listens on its port {port}"
    try:
        names = os.listdir(f"{proc}/{pid}/fd")
    except OSError:
        return f"process {pid} is gone"
    for name in names:
        found = re.fullmatch(r"socket:\[(\d+)\]", link(f"{proc}/{pid}/fd/{name}"))
        if found and found.group(1) in wanted:
            return None
    return f"another process than {pid} listens on its port {port}"


def _untrusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def with_own_certificate(service: Service, proc: str = "/proc") -> Optional[str]:
    """Controller manager and scheduler: kubeadm lets them make a certificate in memory that nobody can check.

    So the kernel is asked who listens, no credentials are sent, and the answer is only a health word.
    """
    port = int(option_of(service.argv, "--secure-port") or _SECURE_PORTS[service.name])
    bound = option_of(service.argv, "--bind-address") or ""
    problem = listens_itself(service.processes[-1].pid, port, proc)
    return problem or ask(WILDCARDS.get(bound, bound), port, "/healthz", _untrusting())


# --- etcd


def etcd_settings(service: Service, runner: Runner = run) -> dict[str, str]:
    """The settings of this host's etcd, from its process, else from its manifest or its unit.

    :raises CareError: they are in a file that cannot be read.
    """
    pids = {process.pid for process in service.processes}
    environment = next((env for pid, _argv, env in _etcd_discovery.processes() if pid in pids), {})
    argv = service.argv
    if not argv and service.unit is not None:
        command = read_command(service.unit.name, runner)
        argv, environment = (command.argv, command.environment) if command else ([], {})
    return _etcd_discovery.whole_settings(argv or ["etcd"], environment, runner)


def etcd_access(service: Service, wanted: Access) -> Access:
    """How to ask this host's etcd."""
    if all(wanted):
        return wanted
    return _etcd_discovery.choose_access(etcd_settings(service), wanted, _etcd_discovery.server_argv())


def ask_etcd(access: Access, path: str, port: int) -> Optional[str]:
    """GET ``path`` of an etcd; ``port`` is the one of a URL without any."""
    parts = urlsplit(access.endpoint)
    try:
        tls = trusting(access.ca, cert=access.cert, key=access.key) if parts.scheme == "https" else None
    except (OSError, ssl.SSLError) as error:
        return f"its certificates ({access.ca}, {access.cert}, {access.key}) cannot be read ({error})"
    return ask(parts.hostname or "", parts.port or port, path, tls)


def etcd_works(access: Access) -> Optional[str]:
    """Whether the member answers and a read that needs the majority works through it.

    Its /health needs no gateway. An alarm does not make it fail: full is not the same as down.
    """
    return ask_etcd(access, "/health?exclude=NOSPACE&exclude=CORRUPT", 2379)


# --- the container runtime


def speaks_grpc(endpoint: str) -> Optional[str]:
    """Whether a gRPC server answers on a socket: the first frame of HTTP/2. To connect alone would prove nothing."""
    path = endpoint[len("unix://") :] if endpoint.startswith("unix://") else endpoint
    if not path.startswith("/"):
        return f"its endpoint '{endpoint}' is no socket of this host"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(path)
            connection.sendall(_H2_PREFACE)
            frame = connection.recv(9, socket.MSG_WAITALL)
        except OSError as error:
            return f"its socket {path} does not answer ({error})"
    if len(frame) < 9 or struct.unpack(">3sBB4s", frame)[1] != _H2_SETTINGS:
        return f"its socket {path} does not answer as gRPC does"
    return None


# --- any of them


class Prober:
    """Asks the components of one host.

    :param kubeconfig: by which the API server is asked.
    :param etcd: the task's own words on how to reach etcd.
    """

    def __init__(self, host: Host, kubeconfig: str, etcd: Access) -> None:
        self.host = host
        self.kubeconfig = kubeconfig
        self.etcd = etcd
        self._api_access: Optional[ApiAccess] = None

    def api_access(self) -> ApiAccess:
        """Who we are to the API server: the administrator, else this host's kubelet.

        :raises CareError: neither kubeconfig can be used.
        """
        if self._api_access is None:
            missing = not os.path.exists(self.kubeconfig) and os.path.exists(KUBELET_CONF)
            path = KUBELET_CONF if missing else self.kubeconfig
            self._api_access = access_of(read_kubeconfig(path, self.host.runner), path)
        return self._api_access

    def administrator(self) -> ApiAccess:
        """Who the administrator is to the API server: a kubelet may not write what has to be written.

        :raises CareError: that kubeconfig is missing or cannot be used.
        """
        if not os.path.exists(self.kubeconfig):
            raise CareError(f"There is no kubeconfig {self.kubeconfig}.")
        return self.api_access()

    def problem(self, service: Service) -> Optional[str]:
        """Whether a running component is well, by its own word."""
        try:
            if service.name == "kube-apiserver":
                return ready(local_server(self.api_access(), service.argv))
            if service.name == "etcd":
                return etcd_works(etcd_access(service, self.etcd))
            if service.name == "kubelet":
                return healthz(healthz_of(self.host.kubelet_config()))
            if service.name == RUNTIME:
                return speaks_grpc(self.host.runtime_endpoint() or "/run/containerd/containerd.sock")
            return with_own_certificate(service, self.host.proc)
        except CareError as error:
            return error.message.rstrip(".")
