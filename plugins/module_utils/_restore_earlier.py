# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What becomes of a restore that an earlier run has begun: it is finished, or undone, or left to whoever is at work."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked, Looks, epoch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import (
    DEAD_MAN,
    ROLLED_BACK,
    ROLLING_BACK,
    is_open,
    of_run,
    reached,
    settled,
)

_QUIET = 120.0  # seconds after which a run on another machine counts as gone


def at_work(state: dict[str, Any], controller: dict[str, Any], now: float) -> Optional[str]:
    """Who else is at work on this restore, in words; None when that run is gone, or is this one."""
    holder = state.get("controller") or {}
    who = f"run {state['run']} on {holder.get('hostname') or 'an unknown machine'} (process {holder.get('pid')})"
    if holder.get("machine_id") and holder["machine_id"] == controller.get("machine_id"):
        if holder.get("boot_id") != controller.get("boot_id"):
            return None
        same = (holder.get("pid"), holder.get("start"))
        if same == (controller.get("pid"), controller.get("start")):
            return None
        running = controller.get("running")
        if running is not None:
            alive = any((one["pid"], one["start"]) == same for one in running)
            return f"{who}, which still runs" if alive else None
    quiet = now - epoch(state["updated"])
    return f"{who}, which was at work {int(quiet)} s ago" if quiet < _QUIET else None


def open_run(looks: Looks) -> Optional[dict[str, Any]]:
    """The state of a restore that was begun and not ended, from the host that knows most of it."""
    states = [seen["state"] for seen in looks.values() if is_open(seen["state"])]
    return max(states, key=lambda state: state["updated"], default=None)


def runs_seen(looks: Looks) -> dict[str, Optional[str]]:
    """The newest run that each host knew when it was looked at: a host that knows another one later is refused."""
    return {seen["node"]: seen["state"]["run"] if seen["state"] else None for seen in looks.values()}


def direction(states: dict[str, Optional[dict[str, Any]]], run: str) -> tuple[str, str]:
    """Whether a begun restore is finished (``resume``) or undone (``rollback``), and why.

    Forward when all hosts are of that run and none has put its old data back. A ``stuck`` one needs a person.
    """
    here = {host: state for host, state in states.items() if state is not None and state["run"] == run}
    back = sorted(host for host, state in here.items() if state["phase"] in (ROLLED_BACK, ROLLING_BACK))
    serving = sorted(host for host, state in here.items() if reached(state, "serving") and state.get("by") != DEAD_MAN)
    missing = sorted(set(states) - set(here))
    if serving and back:
        return "stuck", (
            f"{', '.join(back)} went back to the old data while {', '.join(serving)} already serves the restored "
            "one. Say etcd_restore_rollback=true to give the old data back to all; what was written since is lost then."
        )
    if back:
        return "rollback", f"{', '.join(back)} has its old data again, so all others get theirs back, too"
    if missing and not serving:
        return "rollback", f"{', '.join(missing)} knows nothing of it, so all others get their old data back"
    return "resume", "it was begun and not ended"


def without_old_data(states: dict[str, Optional[dict[str, Any]]], run: str) -> list[str]:
    """Why a restore on which all had agreed cannot be undone: masters that were no part of it cannot go back."""
    here = {host: state for host, state in states.items() if state is not None and state["run"] == run}
    strangers = ", ".join(sorted(set(states) - set(here)))
    if not strangers or not any(reached(state, "agreed") for state in here.values()):
        return []
    return [
        f"{strangers} was no part of the restore {run} and has no old data, so the others would go back without it. If "
        "that is meant, empty it first (kubeadm reset -f), leave it out with --limit, and join it anew afterwards."
    ]


def go_on(
    looks: Looks,
    snapshot: dict[str, Any],
    begun: Optional[dict[str, Any]],
    asked: Asked,
    controller: dict[str, Any],
    now: float,
) -> dict[str, Any]:
    """What becomes of a restore that an earlier run has begun."""
    if begun is None:
        known = [settled(seen["state"]) for seen in looks.values()]
        found = [state for state in known if state and state["phase"] == "done"]
        begun = max(found, key=lambda state: str(state["updated"]), default=None)
    if begun is None:
        return {
            "action": "nothing",
            "why": "there is no restore that could be rolled back",
            "refusals": [],
            "warnings": [],
            "run": "",
        }
    states = {host: of_run(seen["state"], begun["run"]) for host, seen in looks.items()}
    action, why = direction(states, begun["run"])
    refusals = []
    if asked.rollback:
        action, why = "rollback", "you asked for it"
        refusals += without_old_data(states, begun["run"])
    elif snapshot and snapshot["sha256"] != begun["snapshot"]["sha256"]:
        refusals.append(
            f"A restore of another snapshot ({begun['snapshot']['name']}, run {begun['run']}) was begun and not ended. "
            "Finish it by naming that one, or give it up with etcd_restore_rollback=true; then restore this one."
        )
    elif action == "stuck":
        refusals.append(f"The restore {begun['run']} can neither be finished nor undone by itself: {why}")
    worker = at_work(begun, controller, now)
    if worker and not asked.take_over:
        refusals.append(
            f"Somebody is at work on it: {worker}. Wait for it; when you know that it is gone, say "
            "etcd_restore_take_over=true."
        )
    mode = begun.get("mode", "all_members")
    if mode != asked.mode and not asked.rollback:
        refusals.append(f"The restore {begun['run']} was begun with etcd_restore_mode={mode}: finish it with that.")
    shared = ("run", "snapshot", "initial_cluster", "token", "bump_revision")
    return {
        "action": action,
        "why": why,
        "refusals": refusals,
        "warnings": [],
        "safety_host": None,
        "seen": runs_seen(looks),
        "mode": mode,
        **{name: begun[name] for name in shared},
    }
