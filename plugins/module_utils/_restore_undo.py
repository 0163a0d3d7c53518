# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Giving a master its old data back; what a run does when a restore fails, and the host by itself when no run does."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _record,
    _restore_hold,
    _restore_manifest,
    _restore_state,
    _service_manifest,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import (
    DEAD_MAN,
    ROLLED_BACK,
    ROLLING_BACK,
    rank,
    reached,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import Places, is_gone, unswap
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host, manifest_files
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_options import Options
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_run import Care
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

SERVERS = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
# An API server that is told to go while its etcd still answers is gone in a moment; what it would wait for beyond
# that are clients, and their data is about to be replaced.
API_GRACE = 3
_ETCD_GRACE = 10
_LOCK_WAIT = 300.0


class QuickHost(Host):
    """Reads each manifest once, wherever it lies: kubectl takes a second on a busy host, and this is an outage."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._known: dict[bytes, dict[str, Any]] = {}

    def pods(self, paths: list[str]) -> dict[str, dict[str, Any]]:
        texts = {}
        for path in paths:
            with contextlib.suppress(OSError), open(path, "rb") as file:
                texts[path] = file.read()
        unknown = [path for path, text in texts.items() if text not in self._known]
        for path, pod in super().pods(unknown).items():
            self._known[texts[path]] = pod
        return {path: self._known[texts[path]] for path in paths if path in texts}


class _Held(Care):
    """A run of control_plane_service by somebody who holds the host's lock already."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def units_of(host: Host, names: list[str]) -> dict[str, str]:
    """Those of these components that systemd runs, with their units."""
    return {service.name: service.unit.name for service in map(host.look, names) if service.unit}


def operate(
    host: Host,
    access: Access,
    kubeconfig: str,
    names: list[str],
    state: str,
    timeout: float,
    prove: str = "health",
) -> dict[str, Any]:
    """Stop or start components with proof. Timers that would put one of them back meanwhile are taken away.

    Units that were stopped stay so until they are started here.
    """
    units = units_of(host, names).values()
    (_restore_hold.hold if state == "stopped" else _restore_hold.release)(units, host.runner)
    options = Options(
        names=names,
        state=state,
        restore_after=0 if state == "stopped" else None,
        allow_outage=True,
        timeout=int(timeout),
        grace_period=(_ETCD_GRACE if "etcd" in names else API_GRACE) if state == "stopped" else None,
        prove=prove,
        kubeconfig=kubeconfig,
        etcd=access,
        check_mode=False,
    )
    return _Held(host, options).run()


def places_of(state: dict[str, Any]) -> Places:
    return Places(state["data_dir"], state["room"], bool(state["had_data"]))


def old_data_gone(state: Optional[dict[str, Any]]) -> bool:
    """Whether somebody has removed what would be given back, as the report of a restore tells how."""
    if state is None:
        return False
    phase = state.get("from", "") if state["phase"] == ROLLING_BACK else state["phase"]
    return rank(phase) >= rank("swapping") and is_gone(places_of(state))


def give_back(state: dict[str, Any], host: Host, timeout: float) -> dict[str, Any]:
    """Stop all and put the old data in its place; nothing is started. Returns the state as it is then."""
    if state["phase"] != ROLLING_BACK:
        state = _restore_state.save({**state, "from": state["phase"]}, ROLLING_BACK, host.directory)
    access = Access(*state["access"])
    operate(host, access, state["kubeconfig"], SERVERS, "stopped", timeout)
    operate(host, access, state["kubeconfig"], ["etcd"], "stopped", timeout)
    if state.get("manifest_before"):
        _restore_manifest.put_back(host, state["manifest_before"])
    unswap(places_of(state))
    return state


def set_going(host: Host, names: list[str], units: Optional[dict[str, str]] = None) -> None:
    """Give the kubelet the manifests of these components back, let systemd start their units, and wait for nothing."""
    units = units_of(host, names) if units is None else units
    _restore_hold.release(units.values(), host.runner)
    for name in names:
        if name in units:
            host.runner(["systemctl", "reset-failed", units[name]])
            host.runner(["systemctl", "start", "--no-block", units[name]])
        else:
            _service_manifest.put_back(manifest_files(host.parking(name)), host.manifests_dir())


def undo(directory: str, run_id: str, runner: Runner = run) -> str:
    """What the dead man's timer does. Returns in words what was done.

    Before all members agreed the old data comes back; afterwards the new data stays, and what serves it is started.
    """
    with _record.locked(Deadline(_LOCK_WAIT, "none"), directory=directory):
        state = _restore_state.load(directory)
        if state is None or state["run"] != run_id:
            return f"nothing was done: the restore {run_id} is not this host's newest one"
        phase = state["phase"]
        if phase in ("staged", "armed", "done", "finished", ROLLED_BACK):
            if phase == "armed":
                _restore_state.save({**state, "by": DEAD_MAN}, ROLLED_BACK, directory)
            return f"nothing had to be done: the restore {run_id} is {phase}"
        host = QuickHost(state.get("manifests_dir"), runner, directory=directory)
        if state.get("joins") and reached(state, "agreed") and not reached(state, "joined"):
            return "nothing was done: the restored cluster serves elsewhere, and a run must let this master join"
        if reached(state, "agreed"):
            set_going(host, ["etcd", *SERVERS], state.get("units"))
            if phase == "agreed":
                _restore_state.save({**state, "by": DEAD_MAN}, "serving", directory)
            return "the control plane was started on the restored data: all members had agreed"
        state = give_back(state, host, 120)
        set_going(host, ["etcd", *SERVERS], state.get("units"))
        _restore_state.save({**state, "by": DEAD_MAN}, ROLLED_BACK, directory)
        return "the data from before the restore was put back, and the control plane started on it"


def main(directory: str, run_id: str, words: list[str]) -> int:
    """The program behind the unit. With ``--check`` it only proves that it could run."""
    try:
        if words == ["--check"]:
            state: Optional[dict[str, Any]] = _restore_state.load(directory)
            if state is None or state["run"] != run_id:
                raise CareError(f"{_restore_state.path_of(directory)} does not know the restore {run_id}.")
            Host(state.get("manifests_dir"), directory=directory).look("etcd")
            return 0
        sys.stdout.write(f"{os.uname().nodename}: {undo(directory, run_id)}\n")
        return 0
    except CareError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
