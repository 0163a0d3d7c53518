# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a restore would do: decided from what was seen on all masters, before anything changes."""

from __future__ import annotations

import uuid
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked, Looks, words_of_age
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_earlier import (
    against_another,
    go_on,
    nothing,
    open_run,
    runs_seen,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_refusals import (
    confirmation_refusal,
    has_quorum,
    host_refusals,
    membership_refusals,
    snapshot_age,
    snapshot_refusals,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import new_run

BUMP = 1_000_000_000


def plan(
    looks: Looks, snapshot: dict[str, Any], asked: Asked, controller: dict[str, Any], now: float
) -> dict[str, Any]:
    """What is to be done: ``restore``, ``resume``, ``rollback`` or ``nothing``, with everything that speaks against it.

    :param looks: what the phase ``look`` saw, by host.
    :param snapshot: what the proof on the controller found; empty when only a rollback is asked for.
    """
    begun = open_run(looks)
    if begun or asked.rollback:
        return go_on(looks, snapshot, begun, asked, controller, now)
    states = [seen["state"] for seen in looks.values()]
    done = [state for state in states if state and state["phase"] == "done"]
    same = [state for state in done if state["snapshot"]["sha256"] == snapshot["sha256"]]
    if len(same) == len(looks) and not asked.again and has_quorum(looks):
        return nothing(
            f"this snapshot was restored already by run {same[0]['run']} (at {same[0]['updated']}); to throw "
            "away what was written since and restore it once more, say etcd_restore_again=true",
            same[0]["run"],
        )
    made = begin(looks, snapshot, asked, now)
    # It has touched nothing yet, but a run that lives is about to.
    staged = [state for state in states if state and state["phase"] == "staged"]
    made["refusals"] += against_another(staged, asked, controller, now)
    return made


def joined_after(looks: Looks, snapshot: dict[str, Any]) -> Optional[list[str]]:
    """Nodes that the snapshot does not know and that would be lost; None when the present ones are not known."""
    known = [set(seen["nodes"]) for seen in looks.values() if seen["nodes"] is not None]
    return sorted(set().union(*known) - set(snapshot.get("nodes") or [])) if known else None


def unready_now(looks: Looks) -> Optional[list[str]]:
    """Nodes that are not well before anything is done; None when nobody can tell."""
    known = [seen["unready"] for seen in looks.values() if seen.get("unready") is not None]
    return sorted(set().union(*known)) if known else None


def bump_for(looks: Looks, snapshot: dict[str, Any]) -> int:
    """By how much revisions are raised, so that no watcher ever sees one twice.

    Seen may have been what etcd has now, what lies on the disks of those that are silent, and what an earlier restore
    has raised it to, also when that was rolled back; and what was written since.
    """
    known = [snapshot["revision"]]
    for seen in looks.values():
        known += [found.get("revision") or 0 for found in (seen["etcd"], seen.get("data") or {}, seen["state"] or {})]
    return BUMP + max(map(int, known)) - int(snapshot["revision"])


def safety_host(looks: Looks) -> Optional[str]:
    """Whose present data is kept: the member that answers and has the newest, or None when none answers."""
    fit = [host for host, seen in looks.items() if seen["etcd"]["answers"] and not seen["etcd"]["snapshot_refusal"]]
    return max(fit, key=lambda host: looks[host]["etcd"]["raft_applied_index"], default=None)


def begin(looks: Looks, snapshot: dict[str, Any], asked: Asked, now: float) -> dict[str, Any]:
    """A restore from the beginning."""
    refusals = [refusal for host, seen in looks.items() for refusal in host_refusals(host, seen)]
    if not refusals:
        stored = () if asked.foreign else snapshot.get("members") or ()
        refusals += membership_refusals(looks, asked.without, stored)
    # What was salvaged is the present data.
    safety = None if asked.mode == "salvage" else safety_host(looks)
    refusals += snapshot_refusals(looks, snapshot, asked, now, safety)
    confirm = confirmation_refusal(looks, asked)
    refusals += [confirm] if confirm else []
    warnings = []
    age = snapshot_age(snapshot, now)
    warnings.append(
        f"The snapshot is {words_of_age(age)} old (taken {snapshot['taken']})."
        if age is not None
        else "Nobody wrote down when the snapshot was taken."
    )
    alarms = sorted({alarm["alarm"] for alarm in snapshot.get("alarms") or []})
    if alarms:
        warnings.append(
            f"The snapshot was taken under etcd's alarm {' and '.join(alarms)}, which comes back with it; it is taken "
            "back as soon as the members run."
        )
    lost = joined_after(looks, snapshot)
    if lost:
        warnings.append(
            f"These Nodes joined after the snapshot and will be lost from the cluster: {', '.join(lost)}. Their "
            "kubelets have to be restarted or joined anew afterwards."
        )
    elif lost is None:
        warnings.append("No API server answers, so it is not known whether Nodes joined after the snapshot.")
    unready = unready_now(looks)
    if unready:
        warnings.append(f"These Nodes are not Ready now, and the restore does not wait for them: {', '.join(unready)}.")
    if len(looks) % 2 == 0:
        warnings.append(f"{len(looks)} members tolerate no more failures than {len(looks) - 1} do.")
    if safety is None and asked.mode != "salvage":
        said = [
            f"{host}: {seen['etcd']['snapshot_refusal']}" for host, seen in looks.items() if seen["etcd"]["answers"]
        ]
        why = f"No member may be taken a snapshot of ({' '.join(said)})" if said else "No etcd member answers"
        warnings.append(f"{why}: the present data is kept as it lies, without a safety snapshot.")
    members = sorted((str(seen["member"]), str(seen["peer_url"])) for seen in looks.values())
    return {
        "action": "restore",
        "why": "",
        "mode": asked.mode,
        "refusals": refusals,
        "warnings": warnings,
        "run": new_run(now),
        "snapshot": {name: snapshot.get(name) for name in ("name", "sha256", "size", "revision", "taken", "nodes")},
        "age": None if age is None else int(age),
        "lost_nodes": lost,
        "unready_nodes": unready,
        "initial_cluster": ",".join(f"{name}={url}" for name, url in members),
        "token": f"restore-{uuid.uuid4()}",
        "bump_revision": bump_for(looks, snapshot),
        "safety_host": safety,
        "seen": runs_seen(looks),
    }
