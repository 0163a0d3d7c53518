# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a restore would do: decided from what was seen on all masters, before anything changes."""

from __future__ import annotations

import time
import uuid
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked, Looks, words_of_age
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_earlier import go_on, open_run, runs_seen
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_refusals import (
    confirmation_refusal,
    host_refusals,
    membership_refusals,
    snapshot_age,
    snapshot_refusals,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import settled

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
    states = [settled(seen["state"]) for seen in looks.values()]
    done = [state for state in states if state and state["phase"] == "done"]
    same = [state for state in done if state["snapshot"]["sha256"] == snapshot["sha256"]]
    if len(same) == len(looks) and not asked.again:
        return {
            "action": "nothing",
            "why": f"this snapshot was restored already by run {same[0]['run']} (at {same[0]['updated']}); to throw "
            "away what was written since and restore it once more, say etcd_restore_again=true",
            "refusals": [],
            "warnings": [],
            "run": same[0]["run"],
        }
    return begin(looks, snapshot, asked, now)


def joined_after(looks: Looks, snapshot: dict[str, Any]) -> Optional[list[str]]:
    """Nodes that the snapshot does not know and that would be lost; None when the present ones are not known."""
    known = [set(seen["nodes"]) for seen in looks.values() if seen["nodes"] is not None]
    return sorted(set().union(*known) - set(snapshot.get("nodes") or [])) if known else None


def bump_for(looks: Looks, snapshot: dict[str, Any]) -> int:
    """By how much revisions are raised, so that no watcher ever sees one twice."""
    live = max([seen["etcd"]["revision"] for seen in looks.values()], default=0)
    return max(BUMP, 2 * (live - snapshot["revision"]))


def safety_host(looks: Looks) -> Optional[str]:
    """Whose present data is kept: the member that answers and has the newest, or None when none answers."""
    fit = [host for host, seen in looks.items() if seen["etcd"]["answers"] and not seen["etcd"]["snapshot_refusal"]]
    return max(fit, key=lambda host: looks[host]["etcd"]["raft_applied_index"], default=None)


def begin(looks: Looks, snapshot: dict[str, Any], asked: Asked, now: float) -> dict[str, Any]:
    """A restore from the beginning."""
    refusals = [refusal for host, seen in looks.items() for refusal in host_refusals(host, seen)]
    if not refusals:
        refusals += membership_refusals(looks, asked.without)
    refusals += snapshot_refusals(looks, snapshot, asked, now)
    confirm = confirmation_refusal(looks, asked)
    refusals += [confirm] if confirm else []
    warnings = []
    age = snapshot_age(snapshot, now)
    warnings.append(
        f"The snapshot is {words_of_age(age)} old (taken {snapshot['taken']})."
        if age is not None
        else "Nobody wrote down when the snapshot was taken."
    )
    lost = joined_after(looks, snapshot)
    if lost:
        warnings.append(
            f"These Nodes joined after the snapshot and will be lost from the cluster: {', '.join(lost)}. Their "
            "kubelets have to be restarted or joined anew afterwards."
        )
    elif lost is None:
        warnings.append("No API server answers, so it is not known whether Nodes joined after the snapshot.")
    if len(looks) % 2 == 0:
        warnings.append(f"{len(looks)} members tolerate no more failures than {len(looks) - 1} do.")
    # What was salvaged is the present data.
    safety = None if asked.mode == "salvage" else safety_host(looks)
    if safety is None and asked.mode != "salvage":
        warnings.append("No etcd member answers: the present data is kept as it lies, without a safety snapshot.")
    members = sorted((str(seen["member"]), str(seen["peer_url"])) for seen in looks.values())
    return {
        "action": "restore",
        "why": "",
        "mode": asked.mode,
        "refusals": refusals,
        "warnings": warnings,
        "run": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)) + "-" + uuid.uuid4().hex[:6],
        "snapshot": {name: snapshot.get(name) for name in ("name", "sha256", "size", "revision", "taken", "nodes")},
        "age": None if age is None else int(age),
        "lost_nodes": lost,
        "initial_cluster": ",".join(f"{name}={url}" for name, url in members),
        "token": f"restore-{uuid.uuid4()}",
        "bump_revision": bump_for(looks, snapshot),
        "safety_host": safety,
        "seen": runs_seen(looks),
    }
