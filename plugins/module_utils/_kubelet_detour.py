# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Lets a master's kubelet speak to another master's API server while kubeadm makes its own anew.

A kubelet replaces a static pod only after it has deleted and made the mirror pod through the API. Its own API server
answers such calls not before 34 s have gone by while its etcd is being replaced (the upper bound of
``requestTimeoutUpperBound`` in k8s.io/apiserver), and twice at that. So etcd stays away for a minute for nothing, and
the node's heartbeat with it.

The detour lives in /run: a drop-in and a copy of the kubelet's kubeconfig. A reboot ends it whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubelet, _offline, _process
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._conditions import condition, is_ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import Access, ApiServer, ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._record import write_private
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import private_directory

_FOLDER = "/run/clustercare"
_DROP_IN = "/run/systemd/system/kubelet.service.d/90-clustercare.conf"
_VARIABLE = "KUBELET_KUBECONFIG_ARGS"  # kubeadm's own drop-in gives the kubelet its kubeconfig by it
_ENDPOINT = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"
_SERVER = re.compile(r"^(\s+server:\s*)\S+[ \t]*$", re.MULTILINE)
_RELATIVE = re.compile(r"^\s+(?:client-certificate|client-key|certificate-authority):\s*[^/\s]", re.MULTILINE)
_TAINT = "node-role.kubernetes.io/control-plane"
_PATIENCE = 45.0


class Paths(NamedTuple):
    """Where the detour is kept; tests have their own."""

    folder: str = _FOLDER
    drop_in: str = _DROP_IN

    @property
    def kubeconfig(self) -> str:
        return os.path.join(self.folder, "kubelet.conf")


PATHS = Paths()

# --- decisions


def peers(servers: list[dict[str, Any]], masters: list[dict[str, Any]], node: str) -> list[str]:
    """Where the API servers of other masters listen (``address:port``), by the word of their static pods.

    :param masters: the Nodes with the label of masters. A worker's kubelet may show a mirror pod that says anything,
        and may have a certificate of the cluster's CA, but it cannot give its own Node that label.
    """
    others = {master["metadata"]["name"] for master in masters} - {node}
    return sorted(
        pod["metadata"]["annotations"][_ENDPOINT]
        for pod in servers
        if pod["spec"].get("nodeName") in others and _ENDPOINT in (pod["metadata"].get("annotations") or {})
    )


def carries_work(node: dict[str, Any]) -> bool:
    """Whether pods of everybody may run there: a kubelet's restart makes probed ones unready for a moment."""
    taints = (node.get("spec") or {}).get("taints") or []
    return not any(taint.get("key") == _TAINT and taint.get("effect") == "NoSchedule" for taint in taints)


def redirected(kubeconfig: str, server: str) -> Optional[str]:
    """The kubelet's kubeconfig with another server; None when it is not as kubeadm writes it."""
    if len(_SERVER.findall(kubeconfig)) != 1 or _RELATIVE.search(kubeconfig) or "tls-server-name" in kubeconfig:
        return None
    return _SERVER.sub(lambda found: f"{found[1]}https://{server}", kubeconfig)


def drop_in(shown: str, old: str, new: str) -> Optional[str]:
    """What makes the unit start with another kubeconfig; None when the unit does not get its own by the variable.

    :param shown: what ``systemctl show --property Environment`` prints.
    """
    for word in shlex.split(shown.partition("=")[2]):
        name, _equals, value = word.partition("=")
        if name == _VARIABLE and f"--kubeconfig={old}" in value.split():
            flags = " ".join(f"--kubeconfig={new}" if flag == f"--kubeconfig={old}" else flag for flag in value.split())
            return f'# While kubeadm is at work on this master.\n[Service]\nEnvironment="{_VARIABLE}={flags}"\n'
    return None


# --- what is done


class Detour:
    """The kubelet of this host, and the server that it speaks to."""

    def __init__(self, runner: Runner, timeout: float, paths: Paths = PATHS) -> None:
        self.runner = runner
        self.paths = paths
        self.patience = min(_PATIENCE, timeout)

    def begin(self, server: str, kubeconfig: str, node: Callable[[], dict[str, Any]]) -> bool:
        """Restart the kubelet so that it speaks to ``server``; False when this kubelet cannot be led so.

        :param kubeconfig: where the kubelet's own one is.
        :param node: asks the API for the host's Node.
        :raises CareError: the kubelet does not come up that way; it has its own server again.
        """
        try:
            with open(kubeconfig, encoding="utf-8") as file:
                text = redirected(file.read(), server)
        except OSError:
            return False
        shown = self.runner(["systemctl", "show", "kubelet.service", "--property", "Environment"]).out.strip()
        unit = drop_in(shown, kubeconfig, self.paths.kubeconfig)
        if text is None or unit is None:
            return False
        private_directory(self.paths.folder)
        write_private(self.paths.kubeconfig, text.encode())
        os.makedirs(os.path.dirname(self.paths.drop_in), exist_ok=True)
        write_private(self.paths.drop_in, unit.encode())
        try:
            self.restart(lambda began: self.on_its_way() or _not_ready(node(), began))
        except CareError as error:
            self.end()
            raise type(error)(f"The kubelet cannot speak to {server} for a while: {error.message}") from error
        return True

    def end(self) -> bool:
        """Give the kubelet its own server again; False when it had it all along."""
        if not os.path.exists(self.paths.drop_in) and not os.path.exists(self.paths.kubeconfig):
            return False
        _remove(self.paths.drop_in)
        self.restart(lambda _began: None)
        _remove(self.paths.kubeconfig)  # last: while it is there, this has yet to be done
        return True

    def on_its_way(self) -> Optional[str]:
        process = _kubelet.running_kubelet(list(_process.processes()), _kubelet.look_at_unit(self.runner))
        if process is None or f"--kubeconfig={self.paths.kubeconfig}" not in process.argv:
            return "the kubelet was not started with it"
        return None

    def restart(self, more: Callable[[float], Optional[str]]) -> None:
        began = time.time()
        _kubelet.restart(self.runner, timeout=60)
        config = _offline.read_objects([_kubelet.CONFIG_FILE])[0]
        wait_until(
            lambda: _kubelet.healthz(_kubelet.healthz_of(config)) or more(began),
            Deadline(self.patience, "timeout"),
            "The kubelet runs again",
            passes=2,
            interval=0.5,
        )


def ready_server(access: Access, addresses: list[str]) -> Optional[str]:
    """The first of these API servers that says that it is ready."""
    for address in addresses:
        host, _colon, port = address.rpartition(":")
        if ready(ApiServer(access, host.strip("[]"), int(port))) is None:
            return address
    return None


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _not_ready(node: dict[str, Any], since: float) -> Optional[str]:
    """kubeadm begins on no master whose Node is not Ready, and a kubelet may say so just after its start."""
    told = condition(node, "Ready")
    if not told:
        return "its Node says nothing of being Ready"
    fresh = is_ready(node) and str(told.get("lastHeartbeatTime")) >= iso(since)
    return None if fresh else f"its Node is not Ready: {told.get('message')}"
