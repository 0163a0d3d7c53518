# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The plan of a restore in each of its modes.

``all_members``: every member out of the same snapshot. ``seed_and_join``: one member out of it, the others join that
one, empty. ``salvage``: the snapshot is made of the best data that the masters have left, then as ``all_members``.
"""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_plan
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked, Looks, seed_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_earlier import nothing, open_run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_others import others_at_work
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_refusals import (
    cluster_name,
    confirmation_refusal,
    has_quorum,
    host_refusals,
    membership_refusals,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_salvage import (
    Candidate,
    choose,
    majority_with_silent,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import OF_MODE, new_run


def plan(
    looks: Looks, snapshot: dict[str, Any], asked: Asked, controller: dict[str, Any], now: float
) -> dict[str, Any]:
    """What is to be done: as ``_restore_plan.plan``, and ``salvage`` before there is a snapshot in that mode."""
    if asked.mode == "salvage" and not snapshot and not asked.rollback and not open_run(looks):
        return salvaged_before(looks, asked) or salvage(looks, asked, controller, now)
    made = _restore_plan.plan(looks, snapshot, asked, controller, now)
    if made["action"] == "restore":
        made["refusals"] += others_at_work(looks, asked, controller)
        if asked.mode == "seed_and_join":
            seed_and_join(made, looks, asked)
        made["warnings"] += without_words(looks, asked)
    elif made["action"] == "resume":
        states = {host: seen["state"] or {} for host, seen in looks.items()}
        of_run = {host: state for host, state in states.items() if state.get("run") == made["run"]}
        made["joiners"] = sorted(host for host, state in of_run.items() if state.get("joins"))
        known = next(iter(of_run.values()), {})
        made.update({name: known.get(name) for name in OF_MODE})
        # One that died before it could join is not waited for, when the user says so.
        members = [pair for pair in (made["members"] or "").split(",") if pair.partition("=")[0] not in asked.without]
        made["members"] = ",".join(members)
        made["warnings"] += without_words(looks, asked)
    return {"joiners": [], "without": list(asked.without), **dict.fromkeys(OF_MODE), **made}


def without_words(looks: Looks, asked: Asked) -> list[str]:
    """What becomes of members that are left out, and what must never happen to them."""
    if not asked.without:
        return []
    names = ", ".join(asked.without)
    by_units = any(seen["kind"] == "systemd" for seen in looks.values())
    empty = "kubeadm reset -f, or remove /var/lib/etcd and the manifests of its control plane"
    anew = "delete its Node, and join it anew with kubeadm join --control-plane"
    if by_units:
        empty = "disable its units of etcd and of the control plane, and remove etcd's data directory"
        anew = "let it join anew, empty, as a learner (etcd_member)"
    found = [
        f"{names} will be no member of the restored cluster. Its old data must never serve again: before that machine "
        f"meets the network, empty it ({empty}). Afterwards {anew}."
    ]
    if len(asked.without) > len(looks):
        found.append(
            f"{names} are the majority of the old members: started together they would be the old cluster beside this "
            "one. Make sure that none of them comes back by itself."
        )
    return found


# --- seed_and_join


def seed_and_join(made: dict[str, Any], looks: Looks, asked: Asked) -> None:
    """Change the plan of a restore to one of the seed alone, which the others join."""
    seed = str(seed_of(looks, asked))
    if seed not in looks:
        made["refusals"].append(f"etcd_restore_seed={seed} is none of the masters of this run: {', '.join(looks)}.")
        return
    made["members"] = made["initial_cluster"]
    made["initial_cluster"] = f"{looks[seed]['member']}={looks[seed]['peer_url']}"
    made["seed"] = seed
    made["seed_url"] = looks[seed].get("client_url")
    made["joiners"] = sorted(host for host in looks if host != seed)
    if made["joiners"] and not made["seed_url"]:
        made["refusals"].append(
            f"The etcd of {seed} does not say where clients reach it (--advertise-client-urls), so no other could join."
        )
    if made["joiners"]:
        made["warnings"].append(
            f"As soon as {seed} serves the restored data alone, nothing is rolled back by itself any more: "
            f"{', '.join(made['joiners'])} then join it one after the other, and the same command goes on with that."
        )


# --- salvage


def salvage(looks: Looks, asked: Asked, controller: dict[str, Any], now: float) -> dict[str, Any]:
    """Whose data becomes the snapshot, and what speaks against it."""
    refusals = [refusal for host, seen in looks.items() for refusal in host_refusals(host, seen)]
    refusals += others_at_work(looks, asked, controller)
    best, why, against = choose(looks, asked.source)
    refusals += against
    confirm = needless(looks, best, asked) if best else None
    refusals += [confirm] if confirm else []
    if best and not refusals:
        refusals += membership_refusals(with_members(looks, best), asked.without)
    run = new_run(now)
    return {
        "action": "salvage",
        "why": why,
        "mode": "salvage",
        "refusals": refusals,
        "warnings": without_words(looks, asked),
        "run": run,
        "source": best.host if best else None,
        "snapshot_name": f"salvaged-{run}.db",
        "member": looks[best.host]["member"] if best else None,
        "data_dir": looks[best.host]["data_dir"] if best else None,
    }


def with_members(looks: Looks, best: Candidate) -> Looks:
    """The looks with the members that are in the chosen data: of a cluster that is down nobody else tells them."""
    seen = looks[best.host]
    return {**looks, best.host: {**seen, "etcd": {**seen["etcd"], "members": best.members}}}


def needless(looks: Looks, best: Candidate, asked: Asked) -> Optional[str]:
    """Why there may be nothing to salvage; None when there is, or when somebody typed the cluster's name."""
    name = cluster_name(looks)
    if asked.confirm == name:
        return None
    working = {host: seen["etcd"]["cluster_id"] for host, seen in looks.items() if seen["etcd"]["quorum"]}
    where = ", ".join(working)
    if best.cluster_id in working.values():
        return (
            f"There is nothing to salvage: etcd has its majority on {where}. Mend its members one by one "
            f"(etcd_member), or restore a snapshot with all_members. {confirmation_refusal(looks, asked)}"
        )
    if working:
        return (
            f"The etcd of {where} works as a cluster of its own, without the data of {best.host}. What was written "
            f"there would be lost. If that is meant, type the cluster's name: -e etcd_restore_confirm={name}"
        )
    silent = majority_with_silent(looks, best)
    if not silent:
        return None
    return (
        f"The etcd of {', '.join(silent)} does not answer, but its data is there: with it the majority may be back, "
        "and nothing has to be restored. Start it (control_plane_service with name=etcd and state=started), look with "
        f"etcd_info. When it cannot work, say so by typing the cluster's name: -e etcd_restore_confirm={name}"
    )


def salvaged_before(looks: Looks, asked: Asked) -> Optional[dict[str, Any]]:
    """Nothing is to be done when the same command has done it, and the majority is still there."""
    states = [seen["state"] or {} for seen in looks.values()]
    runs = {state.get("run") for state in states if state.get("phase") == "done" and state.get("mode") == "salvage"}
    done = len(runs) == 1 and all(state.get("run") in runs for state in states)
    if asked.again or not done or not has_quorum(looks):
        return None
    run = str(runs.pop())
    why = f"the cluster was salvaged already by run {run}, and etcd has its majority"
    return {**nothing(why, run), "mode": "salvage"}
