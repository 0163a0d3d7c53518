# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The steps by which a run gives a master its old data back, when a restore failed or somebody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import (
    ROLLED_BACK,
    ROLLING_BACK,
    touched,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import (
    SERVERS,
    give_back,
    old_data_gone,
    set_going,
)

if TYPE_CHECKING:
    from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Restore


def rollback(step: Restore) -> dict[str, Any]:
    """Stop all, put the old data in its place, and start etcd on it."""
    earlier = touched(step.state, step.host.directory)
    if earlier and earlier["run"] == step.run:
        step.state = earlier
    state = step.known()
    if state["phase"] == ROLLED_BACK:
        return step.shown()
    if state["phase"] in ("staged", "armed"):
        step.disarm()
        step.save(ROLLED_BACK, by="a run")
        return step.shown()
    if old_data_gone(state):
        raise CareError(
            f"The data of {step.node} from before the restore is not in {state['room']} any more: somebody has removed "
            "it. Nothing was stopped."
        )
    step.save(state["phase"])
    step.state = give_back(step.known(), step.host, max(1.0, step.deadline.left))
    _start(step, ["etcd"], "process")
    return step.shown()


def rollback_api(step: Restore) -> dict[str, Any]:
    """Start what is left, and wait until the old cluster answers again."""
    state = step.known()
    if state["phase"] not in (ROLLED_BACK, ROLLING_BACK):
        raise CareError(f"{step.node} does not have its old data yet ({state['phase']}), so nothing was started.")
    # A host that the dead man served is only proven here, and its leftovers are removed.
    if state.get("outage"):
        _start(step, ["etcd"])
        _start(step, SERVERS)
    step.disarm()
    if state["phase"] != ROLLED_BACK:
        step.save(ROLLED_BACK, by="a run")
    return step.shown(kept=step.kept())


def _start(step: Restore, names: list[str], prove: str = "health") -> None:
    """Start these on the old data, with proof; where nothing worked before the restore either, nobody waits for it."""
    state = step.known()
    if not state.get("lost"):
        step.operate(names, "started", prove)
        return
    step.changed |= not all(step.host.look(name).running for name in names)
    set_going(step.host, names, state.get("units"))
