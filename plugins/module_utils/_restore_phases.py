# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The steps of a restore on one master, each of which can be called again after it was cut off."""

from __future__ import annotations

import errno
import os
import time
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_api, _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import parse_cluster
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import local_server
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_agree import (
    Agreement,
    before,
    peer_access,
    serves_peers,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_back import rollback, rollback_api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_dead_man import Undo
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_join import agree, join
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_source import salvage
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_stage import stage
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import (
    ROLLED_BACK,
    ROLLING_BACK,
    reached,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import (
    is_swapped,
    swap,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_tidy import tidy
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import (
    SERVERS,
    operate,
    places_of,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober, etcd_settings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_MARGIN = 30.0  # seconds that the dead man's timer must be away before another step is begun
_FOR_ANOTHER = 15.0  # seconds that a member waits for the one before it


class Options(NamedTuple):
    """What the task asks for."""

    plan: dict[str, Any]
    controller: dict[str, Any]
    safety: bool
    safety_dir: str
    dead_man_after: int
    allow_version_change: bool
    timeout: int
    kubeconfig: str
    etcd: Access
    etcdutl: Optional[str] = None


def tree_size(path: str) -> int:
    """Bytes below ``path``."""
    total = 0
    for folder, _folders, files in os.walk(path):
        for name in files:
            total += os.lstat(os.path.join(folder, name)).st_size
    return total


def no_room(error: OSError) -> str:
    """In words, that a file system takes no more."""
    where = f" ({error.filename})" if error.filename else ""
    return f"{os.uname().nodename} cannot write: {error.strerror}{where}. Make room there."


class Restore:
    """One step of a restore on this host."""

    def __init__(self, host: Host, options: Options) -> None:
        self.host = host
        self.options = options
        self.plan = options.plan
        self.run = str(options.plan["run"])
        self.undo = Undo(self.run, host.runner, host.directory)
        self.deadline = Deadline(options.timeout, "timeout")
        self.node = os.uname().nodename
        self.state = _restore_state.load(host.directory)
        self.changed = False

    def take(self, phase: str) -> dict[str, Any]:
        """Take one step. Its failure tells, too, whether it has changed something."""
        done = self.done_before(phase)
        if done:
            return done
        try:
            return PHASES[phase](self)
        except CareError as error:
            error.results["changed"] = self.changed or bool(error.results.get("changed"))
            raise
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise CareError(no_room(error), changed=self.changed) from error

    # --- the state

    def save(self, phase: str, **more: Any) -> None:
        self.changed = True
        old = self.state or {}
        self.state = _restore_state.save(
            {**old, "controller": _holder(self.options.controller), "timeout": self.options.timeout, **more},
            phase,
            self.host.directory,
        )

    def known(self) -> dict[str, Any]:
        """This host's state of this run.

        :raises CareError: there is none.
        """
        state = self.state
        if state is None or state["run"] != self.run:
            raise CareError(
                f"{self.node} knows nothing of the restore {self.run}; its newest is {state and state['run']}."
            )
        return state

    def here(self) -> dict[str, Any]:
        """The same, where the run goes on.

        :raises CareError: there is none, or the host has its old data again.
        """
        state = self.known()
        if state["phase"] in (ROLLED_BACK, ROLLING_BACK):
            who = state.get("by") or "an earlier run"
            raise CareError(f"{self.node} has its old data again: {who} put it back at {state['updated']}.")
        return state

    def shown(self, **more: Any) -> dict[str, Any]:
        return {"changed": self.changed, "state": self.state, **more}

    def done_before(self, phase: str) -> Optional[dict[str, Any]]:
        """The answer of a step that has nothing left to do, or None.

        It needs no lock. A dead run's module may hold it, waiting for the others, whom this run has yet to start.
        """
        state = self.state
        if state is None or state["run"] != self.run or state["phase"] in (ROLLED_BACK, ROLLING_BACK):
            return None
        if phase == "stage":
            return {"state": state}
        if phase == "arm":
            due = self.undo.due()
            far = due is not None and epoch(due) - time.time() > self.options.dead_man_after / 2
            armed = reached(state, "agreed") or (far and reached(state, "armed"))
            return {"state": state, "due": due} if armed else None
        return {"state": state} if phase in ENDS and reached(state, ENDS[phase]) else None

    def time_left(self) -> None:
        """:raises CareError: the dead man's timer would come in the middle of a step."""
        due = self.undo.due()
        if due is None:
            raise CareError(f"The dead man's timer of {self.node} is not armed, so nothing is stopped.")
        if epoch(due) - time.time() < _MARGIN:
            raise CareError(
                f"The dead man's timer of {self.node} comes at {due}, too soon for another step. Give a restore more "
                "time with etcd_restore_dead_man_after."
            )

    def operate(self, names: list[str], state: str, prove: str = "health") -> dict[str, Any]:
        here = self.state or {}
        access = Access(*here["access"])
        left = max(1.0, self.deadline.left)
        try:
            done = operate(self.host, access, self.options.kubeconfig, names, state, left, prove)
        except CareError as error:
            self.changed |= bool(error.results.get("changed"))
            raise
        self.changed |= bool(done["changed"])
        return done

    def disarm(self) -> None:
        self.changed |= self.undo.disarm()

    # --- P1: all is ready, and each host can help itself

    def arm(self) -> dict[str, Any]:
        """Let this host help itself, should nobody else do."""
        state = self.here()
        due = self.undo.arm(time.time() + self.options.dead_man_after)
        self.save(state["phase"] if reached(state, "armed") else "armed")
        return self.shown(due=due)

    # --- P2 to P4: the outage

    def stop_api(self) -> dict[str, Any]:
        """API servers go first: one whose etcd is gone needs half a minute to end."""
        state = self.here()
        self.time_left()
        self.save("stopping", outage=state.get("outage") or time.time())
        done = self.operate(SERVERS, "stopped")
        return self.shown(services=done["services"])

    def stop_etcd(self) -> dict[str, Any]:
        state = self.here()
        self.time_left()
        done = self.operate(["etcd"], "stopped")
        if state.get("lost") and "etcd" not in (state.get("units") or {}):
            # It waits up to five minutes before it starts again what has died over and over; a new one does not.
            self.operate(["kubelet"], "restarted", "process")
        self.save("stopped")
        return self.shown(services=done["services"])

    def swap(self) -> dict[str, Any]:
        state = self.here()
        self.time_left()
        self.save("swapping")
        swap(places_of(state))
        self.save("swapped")
        return self.shown()

    def start_etcd(self) -> dict[str, Any]:
        """Start this host's member after the one before it, and see all of them agree."""
        state = self.here()
        # One that joins is started when the restored cluster serves.
        if state.get("joins"):
            return {"state": state}
        self.time_left()
        if not is_swapped(places_of(state)):
            raise CareError(f"The restored data is not in {state['data_dir']} of {self.node}; nothing was started.")
        self.save("starting")
        access = Access(*state["access"])
        self.wait_for_turn(state, access)
        self.operate(["etcd"], "started", "process")
        agreement = Agreement(access, state["initial_cluster"], state["revision"], state["old_cluster_id"])
        awaited = "Waiting until all members agree on the restored data"
        wait_until(agreement.missing, self.deadline, awaited, interval=0.3)
        self.save("started", proof=agreement.proof())
        return self.shown(proof=agreement.proof())

    def wait_for_turn(self, state: dict[str, Any], access: Access) -> None:
        url = before(state["initial_cluster"], state["member"])
        if not url:
            return
        place = sorted(parse_cluster(state["initial_cluster"])).index(state["member"])
        patience = Deadline(min(_FOR_ANOTHER * place, self.deadline.left), "timeout")
        peer = peer_access(access, etcd_settings(self.host.look("etcd"), self.host.runner), url)
        while not patience.passed and serves_peers(peer) is not None:
            patience.sleep(0.2)

    def mark(self) -> dict[str, Any]:
        """Every member has seen all others agree: from here on the restored data stays, whatever happens."""
        state = self.here()
        if not reached(state, "swapped" if state.get("joins") else "started"):
            raise CareError(f"The member of {self.node} has not seen all others agree, so no mark is set.")
        self.time_left()
        self.save("agreed")
        return self.shown()

    # --- P5, P6: the cluster serves

    def start_api(self) -> dict[str, Any]:
        state = self.here()
        if state.get("joins") and not reached(state, "joined"):
            return {"state": state}
        if not reached(state, "agreed"):
            raise CareError(f"The mark that all members agree has not come to {self.node}; its API server stays away.")
        if not reached(state, "serving") or state.get("by"):
            self.save("serving", by=None)
        done = self.operate(["kube-apiserver"], "started")
        server = self.host.look("kube-apiserver")
        prober = Prober(self.host, self.options.kubeconfig, self.options.etcd)
        local = local_server(prober.api_access(), server.argv)
        name = f"clustercare-restore-{self.node}"

        def missing() -> Optional[str]:
            return _restore_api.write_works(prober.api_access(), local.address, local.port, name, self.run)

        awaited = f"Waiting until a write works through the API server of {self.node}"
        wait_until(missing, self.deadline, awaited, interval=0.3)
        self.save("serving", written=time.time())
        return self.shown(services=done["services"])

    def finish(self) -> dict[str, Any]:
        state = self.here()
        if state.get("joins") and not reached(state, "joined"):
            return {"state": state}
        done = self.operate(SERVERS[1:], "started")
        self.disarm()
        self.save("finished")
        return self.shown(services=done["services"])

    def done(self) -> dict[str, Any]:
        state = self.here()
        if not reached(state, "done"):
            self.save("done")
            return self.shown(kept=self.kept())
        return {"state": state, "kept": self.kept()}

    def kept(self) -> list[dict[str, Any]]:
        """What is left on this host for the case that somebody wants it back, and how it is removed."""
        state = self.state or {}
        paths = [path for path in dict.fromkeys((state["room"], state["home"])) if os.path.isdir(path)]
        kept = [{"path": path, "bytes": tree_size(path), "remove": f"rm -rf {path}"} for path in paths]
        if state.get("safety"):
            safety = state["safety"]
            kept.append({"path": safety, "bytes": os.path.getsize(safety), "remove": f"rm {safety} {safety}.json"})
        return kept


# What a host has come to when a step has nothing left to do.
ENDS = {
    "stop_api": "stopped",
    "stop_etcd": "stopped",
    "swap": "swapped",
    "start_etcd": "started",
    "mark": "agreed",
    "join": "joined",
    "start_api": "finished",
    "finish": "finished",
}


def _holder(controller: dict[str, Any]) -> dict[str, Any]:
    return {name: controller.get(name) for name in ("hostname", "machine_id", "boot_id", "pid", "start")}


PHASES: dict[str, Callable[[Restore], dict[str, Any]]] = {
    "salvage": salvage,
    "stage": stage,
    "arm": Restore.arm,
    "stop_api": Restore.stop_api,
    "stop_etcd": Restore.stop_etcd,
    "swap": Restore.swap,
    "start_etcd": Restore.start_etcd,
    "mark": Restore.mark,
    "start_api": Restore.start_api,
    "join": join,
    "agree": agree,
    "finish": Restore.finish,
    "tidy": tidy,
    "done": Restore.done,
    "rollback": rollback,
    "rollback_api": rollback_api,
}
