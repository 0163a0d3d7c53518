# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a restore would do, and why it must not: decided from what was seen on all masters, before anything changes."""

from __future__ import annotations

import calendar
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import (
    DEAD_MAN,
    ROLLED_BACK,
    ROLLING_BACK,
    is_open,
    reached,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse_or_none

BUMP = 1_000_000_000
_DEFAULT_QUOTA = 2 << 30
_QUOTA_SHARE = 0.9
_SPARE = 200 << 20
_LOG = 128 << 20  # etcd's log begins with two files of 64 MB
_QUIET = 120.0  # seconds after which a run on another machine counts as gone
_ISO = "%Y-%m-%dT%H:%M:%SZ"


class Asked(NamedTuple):
    """What the user says beside the snapshot."""

    confirm: str = ""
    max_age: Optional[int] = None
    foreign: bool = False
    allow_version_change: bool = False
    again: bool = False
    rollback: bool = False
    take_over: bool = False
    mode: str = "all_members"
    seed: str = ""
    source: str = ""
    without: tuple[str, ...] = ()


Looks = dict[str, dict[str, Any]]


def epoch(written: str) -> float:
    return calendar.timegm(time.strptime(written, _ISO))


def words_of_age(seconds: float) -> str:
    """``3 h 20 min``: how old something is, for people."""
    minutes = int(max(0.0, seconds)) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


# --- what is there


def host_refusals(host: str, seen: dict[str, Any]) -> list[str]:
    """Why this host's etcd cannot be restored, whatever the snapshot."""
    found = [refusal for name, row in seen["components"].items() for refusal in component_refusals(host, name, row)]
    if found:
        return found
    if not seen["member"] or not seen["peer_url"] or not seen["data_dir"]:
        found.append(
            f"{host}'s etcd does not say its name, its peer URL and its data directory: give it --name, "
            "--initial-advertise-peer-urls and --data-dir (in its manifest, its unit, or the files of that)."
        )
    elif not seen["data_dir"].startswith("/"):
        found.append(f"{host}'s etcd has the data directory '{seen['data_dir']}': give it an absolute path.")
    if seen["wal_dir"]:
        found.append(
            f"{host}'s etcd keeps its log apart (--wal-dir={seen['wal_dir']}), and what is swapped is one directory: "
            f"stop etcd, move the files of {seen['wal_dir']} to {seen['data_dir']}/member/wal, and start it without "
            "--wal-dir first."
        )
    if not seen["kubelet"] and any(row["kind"] == "static_pod" for row in seen["components"].values()):
        found.append(f"No kubelet runs on {host}, so nothing would stop or start its static pods: start it first.")
    return found + [f"{host}: {obstacle}" for obstacle in seen["obstacles"]]


def component_refusals(host: str, name: str, row: dict[str, Any]) -> list[str]:
    """Why a component could not be stopped and started."""
    if row["kind"] == "absent":
        return [
            f"{host} has no {name}, neither as a static pod nor as a systemd unit: only masters with etcd and the "
            "whole control plane on them can be restored."
        ]
    if row["kind"] == "process":
        return [f"{name} of {host} is of no static pod and no systemd unit: whoever started it has to make it one."]
    if row["masked"]:
        unit = row["unit"]
        return [f"{unit} of {host} is masked, so nothing could start it again: systemctl unmask {unit} first."]
    return []


def membership_refusals(looks: Looks, without: Sequence[str] = ()) -> list[str]:
    """Why these hosts are not the cluster: each member must be among them, and no two may be the same.

    :param without: members that are gone for good, as the user says.
    """
    found = []
    names = [seen["member"] for seen in looks.values()]
    urls = [seen["peer_url"] for seen in looks.values()]
    for what, values in (("name", names), ("peer URL", urls)):
        twice = sorted({value for value in values if value and values.count(value) > 1})
        found += [f"Two masters have the same etcd {what}: {value}." for value in twice]
    listed = {member["name"] or member["id_hex"] for seen in looks.values() for member in seen["etcd"]["members"]}
    missing = sorted(listed - set(names) - set(without))
    if missing:
        found.append(
            f"etcd has members that are not among the masters of this run: {', '.join(missing)}. All members have to "
            "be restored together: take them into the inventory (and leave --limit away). Those that are gone for good "
            f"are left out by naming them, -e etcd_restore_without={','.join(missing)}, and by --limit."
        )
    present = sorted(set(without) & set(names))
    if present:
        found.append(f"{', '.join(present)} cannot be left out (etcd_restore_without) and be of this run: use --limit.")
    clusters = {str(seen["ca_sha256"]) for seen in looks.values()}
    if len(clusters) > 1:
        found.append("The masters do not have the same cluster CA certificate: they are not one cluster.")
    return found


def has_quorum(looks: Looks) -> bool:
    """Whether a majority still works: then this is no lost cluster, and somebody may be using it."""
    return any(seen["etcd"]["quorum"] for seen in looks.values())


# --- the snapshot against what is there


def snapshot_refusals(looks: Looks, snapshot: dict[str, Any], asked: Asked, now: float) -> list[str]:
    """Why this snapshot must not be restored here."""
    found = []
    host, seen = next(iter(looks.items()))
    ours = seen["ca_sha256"]
    # What it holds itself counts more than what was written beside it.
    theirs = snapshot.get("root_ca_sha256") or snapshot.get("ca_sha256")
    if not asked.foreign and theirs != ours:
        what = f"is of another cluster (CA {str(theirs)[:16]}..., here {str(ours)[:16]}...)"
        if not theirs:
            what = "does not say which cluster it is of"
        elif not ours:
            what = f"cannot be compared: {host} has no CA certificate"
        found.append(f"The snapshot {what}. If it is meant, say etcd_restore_foreign=true.")
    age = snapshot_age(snapshot, now)
    if asked.max_age is not None and age is not None and age > asked.max_age:
        found.append(
            f"The snapshot is {words_of_age(age)} old, and etcd_restore_max_age allows {words_of_age(asked.max_age)}."
        )
    stored = parse_or_none(snapshot.get("kubernetes_version"))
    for name, row in looks.items():
        running = parse_or_none(row["kubernetes_version"])
        if stored and running and stored.series != running.series and not asked.allow_version_change:
            found.append(
                f"The snapshot is of Kubernetes {stored}, {name}'s API server is {running}: another minor may not "
                "understand its objects. Install that version first, or say etcd_restore_allow_version_change=true."
            )
    return found + etcd_refusals(looks, snapshot, asked)


def etcd_refusals(looks: Looks, snapshot: dict[str, Any], asked: Asked) -> list[str]:
    """Why these etcds could not take it: their version, their quota, their disk."""
    found = []
    stored = parse_or_none(snapshot.get("cluster_version"))
    size = snapshot["size"]
    for name, row in looks.items():
        etcd = parse_or_none(row["etcd_version"])
        if stored and etcd and stored.series != etcd.series and not asked.allow_version_change:
            found.append(
                f"The snapshot is of etcd {stored.major}.{stored.minor}, {name} has {etcd}: restore it with the etcd "
                "that it comes from, or say etcd_restore_allow_version_change=true after you have tried it elsewhere."
            )
        quota = row["quota"] or _DEFAULT_QUOTA
        if size > _QUOTA_SHARE * quota:
            found.append(
                f"The snapshot has {size >> 20} MiB, {name}'s etcd takes at most {quota >> 20}: it would be full "
                "at once. Raise --quota-backend-bytes first."
            )
        # The snapshot, its database, the safety snapshot, and the new log.
        needed = 2 * size + row["db_size"] + _LOG + _SPARE
        if row["free"] is not None and row["free"] < needed:
            found.append(f"{name} has {row['free'] >> 20} MiB free for it, {needed >> 20} MiB are needed: make room.")
    return found


def snapshot_age(snapshot: dict[str, Any], now: float) -> Optional[float]:
    """Seconds since it was taken; None when nobody knows."""
    return now - epoch(snapshot["taken"]) if snapshot.get("taken") else None


def joined_after(looks: Looks, snapshot: dict[str, Any]) -> Optional[list[str]]:
    """Nodes that the snapshot does not know and that would be lost; None when the present ones are not known."""
    known = [set(seen["nodes"]) for seen in looks.values() if seen["nodes"] is not None]
    return sorted(set().union(*known) - set(snapshot.get("nodes") or [])) if known else None


def cluster_name(looks: Looks) -> str:
    """What has to be typed."""
    return next((seen["cluster_name"] for seen in looks.values() if seen["cluster_name"]), "kubernetes")


def confirmation_refusal(looks: Looks, asked: Asked) -> Optional[str]:
    """A cluster that works is only rewound when somebody typed its name."""
    name = cluster_name(looks)
    if not has_quorum(looks) or asked.confirm == name:
        return None
    typed = f" ('{asked.confirm}' is not it)" if asked.confirm else ""
    return (
        "etcd of this cluster still has its majority. All that was changed since the snapshot would be lost. If that "
        f"is meant, type the cluster's name: -e etcd_restore_confirm={name}{typed}"
    )


def bump_for(looks: Looks, snapshot: dict[str, Any]) -> int:
    """By how much revisions are raised, so that no watcher ever sees one twice."""
    live = max([seen["etcd"]["revision"] for seen in looks.values()], default=0)
    return max(BUMP, 2 * (live - snapshot["revision"]))


def safety_host(looks: Looks) -> Optional[str]:
    """Whose present data is kept: the member that answers and has the newest, or None when none answers."""
    fit = [host for host, seen in looks.items() if seen["etcd"]["answers"] and not seen["etcd"]["snapshot_refusal"]]
    return max(fit, key=lambda host: looks[host]["etcd"]["raft_applied_index"], default=None)


# --- an earlier run


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


# --- all together


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


def go_on(
    looks: Looks,
    snapshot: dict[str, Any],
    begun: Optional[dict[str, Any]],
    asked: Asked,
    controller: dict[str, Any],
    now: float,
) -> dict[str, Any]:
    """What becomes of a restore that an earlier run has begun."""
    states = {host: seen["state"] for host, seen in looks.items()}
    if begun is None:
        found = [state for state in states.values() if state and state["phase"] == "done"]
        begun = max(found, key=lambda state: str(state["updated"]), default=None)
    if begun is None:
        return {
            "action": "nothing",
            "why": "there is no restore that could be rolled back",
            "refusals": [],
            "warnings": [],
            "run": "",
        }
    action, why = direction(states, begun["run"])
    refusals = []
    if asked.rollback:
        action, why = "rollback", "you asked for it"
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
