# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What becomes of a restore that an earlier run has begun: it is finished, or undone, or left to whoever is at work."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked, Looks
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_refusals import cluster_name, has_quorum
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import (
    DEAD_MAN,
    ROLLED_BACK,
    ROLLING_BACK,
    is_open,
    reached,
    standing,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch

# Seconds after which a run on another machine counts as gone: at least, and beyond what one step of it may take.
_QUIET, _ON_TOP = 120.0, 30.0


def at_work(state: dict[str, Any], controller: dict[str, Any], now: float) -> Optional[str]:
    """Who else is at work on this restore, in words; None when that run is gone, or is this one."""
    # Not by ``_lock.why_gone``: a state does not have the PID namespace that this wants, and here quiet counts, too.
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
    limit = max(_QUIET, (state.get("timeout") or 0) + _ON_TOP)
    return f"{who}, which was at work {int(quiet)} s ago" if quiet < limit else None


def against_another(states: list[dict[str, Any]], asked: Asked, controller: dict[str, Any], now: float) -> list[str]:
    """Why this run has to wait for another one, which is at work on one of these restores."""
    workers = sorted({worker for state in states for worker in [at_work(state, controller, now)] if worker})
    if not workers or asked.take_over:
        return []
    return [
        f"Somebody is at work on a restore: {'; '.join(workers)}. Wait for it; when you know that it is gone, say "
        "etcd_restore_take_over=true."
    ]


def open_run(looks: Looks) -> Optional[dict[str, Any]]:
    """The state of a restore that was begun and not ended, from the host that knows most of it."""
    states = [seen["state"] for seen in looks.values() if is_open(seen["state"])]
    return max(states, key=lambda state: state["updated"], default=None)


def runs_seen(looks: Looks) -> dict[str, Optional[str]]:
    """Where each host stood when it was looked at: one that stands elsewhere later is another run's."""
    return {seen["node"]: standing(seen["state"]) for seen in looks.values()}


def names_in(cluster: str) -> set[str]:
    """The names in what etcd calls an initial cluster."""
    return {pair.partition("=")[0] for pair in cluster.split(",") if pair}


def of_run(looks: Looks, run: str) -> dict[str, dict[str, Any]]:
    """Where those hosts stand whose newest restore it is."""
    return {host: seen["state"] for host, seen in looks.items() if seen["state"] and seen["state"]["run"] == run}


def in_use(here: dict[str, dict[str, Any]], begun: dict[str, Any]) -> list[str]:
    """The hosts that serve the restored data, when anybody can have written to it since; else none.

    A member that its timer has started is no cluster; a majority of them is one, whoever has started them.
    """
    serving = sorted(host for host, state in here.items() if reached(state, "serving"))
    by_run = any(here[host].get("by") != DEAD_MAN for host in serving)
    return serving if by_run or len(serving) * 2 > len(names_in(begun["initial_cluster"])) else []


def direction(looks: Looks, begun: dict[str, Any]) -> tuple[str, str]:
    """Whether a begun restore is finished (``resume``) or undone (``rollback``), and why.

    Forward when all hosts are of that run and none has put its old data back. A ``stuck`` one needs a person.
    """
    here = of_run(looks, begun["run"])
    back = ", ".join(sorted(host for host, state in here.items() if state["phase"] in (ROLLED_BACK, ROLLING_BACK)))
    missing = ", ".join(sorted(set(looks) - set(here)))
    serving = ", ".join(in_use(here, begun))
    if serving and back:
        return "stuck", (
            f"{back} went back to the old data while {serving} already serves the restored one. Say "
            "etcd_restore_rollback=true to give the old data back to all; what was written since is lost then. Or keep "
            f"the restored data: leave {back} out (--limit, etcd_restore_without), run the same command, remove its "
            "member (etcd_member), empty it (kubeadm reset -f), and let it join anew."
        )
    if back:
        return "rollback", f"{back} has its old data again, so all others get theirs back, too"
    if missing and serving:
        return "stuck", (
            f"{missing} knows nothing of it while {serving} already serves the restored data. Leave {missing} out "
            "(--limit, etcd_restore_without), run the same command, remove its member (etcd_member), empty it "
            "(kubeadm reset -f), and let it join anew."
        )
    if missing:
        return "rollback", f"{missing} knows nothing of it, so all others get their old data back"
    return "resume", "it was begun and not ended"


def against_part(looks: Looks, begun: dict[str, Any], asked: Asked) -> list[str]:
    """Why not all of that restore's masters are here: one that is left alone would keep other data than the rest."""
    wanted = names_in(begun.get("members") or begun["initial_cluster"])
    absent = ", ".join(sorted(wanted - {seen["member"] for seen in looks.values()} - set(asked.without)))
    if not absent:
        return []
    return [
        f"The restore {begun['run']} is of {absent}, too, and all its masters must have the same data: take them into "
        "this run (leave --limit away). Those that are gone for good, and never come back, are named in "
        "etcd_restore_without."
    ]


def against_rollback(looks: Looks, begun: dict[str, Any], asked: Asked) -> list[str]:
    """Why the old data must not be given back, or not so."""
    here = of_run(looks, begun["run"])
    gone = sorted(host for host in here if looks[host].get("old_data_gone"))
    found = []
    if gone:
        kept = [f"{state['safety']} on {host}" for host, state in sorted(here.items()) if state.get("safety")]
        instead = f" To have its content again, restore the snapshot of it: {', '.join(kept)}." if kept else ""
        found.append(
            f"{', '.join(gone)} has its data from before the restore {begun['run']} no more: somebody has removed it. "
            f"So nothing is given back anywhere, lest masters hold different data.{instead}"
        )
    serving = ", ".join(in_use(here, begun))
    if not asked.rollback or not serving:
        return found
    strangers = ", ".join(sorted(set(looks) - set(here)))
    if strangers:
        found.append(
            f"{strangers} knows nothing of the restore {begun['run']}, so it has no data from before and would keep "
            "the restored one. Empty it (kubeadm reset -f), leave it out (--limit, etcd_restore_without), and let it "
            "join anew afterwards."
        )
    name = cluster_name(looks)
    if has_quorum(looks) and asked.confirm != name:
        found.append(
            f"etcd of this cluster has its majority on the restored data. All that was written since the restore "
            f"{begun['run']} would be lost. If that is meant, type the cluster's name: -e etcd_restore_confirm={name}"
        )
    return found


def after_rollback(here: dict[str, dict[str, Any]]) -> list[str]:
    """What has to be done by hand when clients of the API have seen revisions that the old data does not have."""
    if not any(reached(state, "serving") for state in here.values()):
        return []
    kept = [f"{state['safety']} on {host}" for host, state in sorted(here.items()) if state.get("safety")]
    instead = f" Restoring the snapshot of that data instead needs none of this: {', '.join(kept)}." if kept else ""
    return [
        "API servers have served the restored data, whose revisions are higher than those of the old data. Whoever "
        "watches the API since may take no notice of changes until it is started again: afterwards restart the "
        "kubelets of all nodes, and the pods of kube-proxy, of the pod network, of CoreDNS and of operators." + instead
    ]


def nothing(why: str, run: str) -> dict[str, Any]:
    """The plan when nothing is to be done."""
    return {"action": "nothing", "why": why, "refusals": [], "warnings": [], "run": run}


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
        looks = {host: {**seen, "state": seen.get("touched") or seen["state"]} for host, seen in looks.items()}
        found = [seen["state"] for seen in looks.values() if seen["state"] and seen["state"]["phase"] == "done"]
        begun = max(found, key=lambda state: str(state["updated"]), default=None)
    if begun is None:
        return nothing("there is no restore that could be rolled back", "")
    action, why = direction(looks, begun)
    refusals = against_part(looks, begun, asked)
    if asked.rollback:
        action, why = "rollback", "you asked for it"
    elif snapshot and snapshot["sha256"] != begun["snapshot"]["sha256"]:
        refusals.append(
            f"A restore of another snapshot ({begun['snapshot']['name']}, run {begun['run']}) was begun and not ended. "
            "Finish it by naming that one, or give it up with etcd_restore_rollback=true; then restore this one."
        )
    elif action == "stuck":
        refusals.append(f"The restore {begun['run']} can neither be finished nor undone by itself: {why}")
    if action == "rollback":
        refusals += against_rollback(looks, begun, asked)
    refusals += against_another([begun], asked, controller, now)
    mode = begun.get("mode", "all_members")
    if mode != asked.mode and not asked.rollback:
        refusals.append(f"The restore {begun['run']} was begun with etcd_restore_mode={mode}: finish it with that.")
    here = of_run(looks, begun["run"])
    shared = ("run", "snapshot", "initial_cluster", "token", "bump_revision")
    return {
        "action": action,
        "why": why,
        "refusals": refusals,
        "warnings": after_rollback(here) if action == "rollback" else [],
        "safety_host": None,
        "seen": runs_seen(looks),
        "mode": mode,
        "seed": begun.get("seed"),
        "in_use": in_use(here, begun),
        "joiners": sorted(host for host, state in here.items() if state.get("joins")),
        **{name: begun[name] for name in shared},
    }
