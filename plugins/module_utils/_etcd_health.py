# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Is this etcd cluster well? ``observe`` asks every member once, ``judge`` decides from the answers alone."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, Gateway, number
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_hash import (
    Hashes,
    described,
    differing,
    gather,
    hash_problems,
)

MAX_LAG = 1000
_QUOTA_WARNING = 0.8
_ALARM = re.compile(r"(?:memberID:\s*(\d+)\s+)?alarm:\s*(\w+)")


class Answer(NamedTuple):
    """One member's answer, or why there is none. ``quorum`` is why a linearizable read failed there, else None."""

    status: dict[str, Any]
    error: Optional[str] = None
    quorum: Optional[str] = None


class Seen(NamedTuple):
    """All that was seen, as etcd said it: the local member first, then every listed one by its decimal id."""

    local: Answer
    members: list[dict[str, Any]]
    answers: dict[str, Answer]
    trouble: list[str]
    hashes: Optional[Hashes] = None


def ask(access: Access, timeout: float) -> Answer:
    """One member's status and whether a linearizable read works through it."""
    try:
        gateway = Gateway(access, timeout)
        status = gateway.status()
    except CareError as error:
        return Answer({}, error=error.message)
    if not number(status, "leader"):
        # Such a read would only hang until its timeout.
        return Answer(status)
    try:
        gateway.prove_quorum()
    except CareError as error:
        return Answer(status, quorum=error.message)
    return Answer(status)


def observe(access: Access, timeout: float = 5.0, hash_timeout: float = 0.0) -> Seen:
    """Ask the local member, then all members it knows, at the same time. Never fails: trouble is part of the answer.

    :param hash_timeout: seconds that a member may take to hash its data; 0 asks for no hash.
    """
    local = ask(access, timeout)
    if local.error:
        return Seen(local, [], {}, [])
    members: list[dict[str, Any]] = []
    trouble = []
    try:
        members = Gateway(access, timeout).members()
    except CareError as error:
        trouble.append(f"The list of members cannot be read: {error.message}")
    own = str(local.status.get("header", {}).get("member_id", ""))

    def answer(member: dict[str, Any]) -> Answer:
        if str(member.get("ID")) == own:
            return local
        urls = member.get("clientURLs") or []
        if not urls:
            return Answer({}, error="it has not told the cluster where clients reach it")
        return ask(access._replace(endpoint=urls[0]), timeout)

    if members:
        with ThreadPoolExecutor(max_workers=min(16, len(members))) as pool:
            answers = dict(zip([str(member.get("ID")) for member in members], pool.map(answer, members)))
    else:
        answers = {}
    hashes = None
    if hash_timeout:
        # A learner is still receiving its data.
        asked = [one for one in members if not one.get("isLearner") and not answers[str(one.get("ID"))].error]
        urls = {str(one["ID"]): access.endpoint if str(one["ID"]) == own else one["clientURLs"][0] for one in asked}
        hashes = gather(access, urls, hash_timeout)
    return Seen(local, members, answers, trouble, hashes)


def hexadecimal(decimal: Any) -> str:
    """An id as etcdctl and etcd's logs write it."""
    return format(int(decimal or 0), "x")


def alarms_of(status: dict[str, Any]) -> list[dict[str, str]]:
    """The cluster's alarms as any member's status names them.

    The alarm call itself is not used: it goes through raft, so it writes, and hangs without a majority.
    """
    found = []
    for error in status.get("errors") or []:
        alarm = _ALARM.search(error)
        if alarm:
            found.append({"member": hexadecimal(alarm.group(1)), "alarm": alarm.group(2)})
    return found


def without_alarm(seen: Seen, kind: str) -> Seen:
    """What was seen as if no alarm of this kind had been raised."""

    def quiet(answer: Answer) -> Answer:
        errors = [one for one in answer.status.get("errors") or [] if kind not in one or not _ALARM.search(one)]
        return answer._replace(status={**answer.status, "errors": errors})

    return seen._replace(local=quiet(seen.local), answers={one: quiet(found) for one, found in seen.answers.items()})


def quorum(voters: int, healthy: int) -> dict[str, int]:
    """``tolerates`` is how many more members may fail before the cluster stops; negative when it has stopped."""
    needed = voters // 2 + 1
    return {"members": voters, "needed": needed, "healthy": healthy, "tolerates": healthy - needed}


def strangers(seen: Seen) -> set[str]:
    """The ids of those that are listed here, but have a cluster of their own or belong to an earlier one."""
    cluster = _cluster_of(seen.local)
    return {one for one, answer in seen.answers.items() if answer.status and _cluster_of(answer) != cluster}


def _cluster_of(answer: Answer) -> str:
    return str((answer.status.get("header") or {}).get("cluster_id", ""))


def has_majority(seen: Seen) -> bool:
    """Whether the cluster works, be it full or slow: a read that needs the majority goes through one of its members,
    or they have a leader and enough voters answer.
    """
    others = strangers(seen)
    led = {
        member: answer
        for member, answer in {"": seen.local, **seen.answers}.items()
        if number(answer.status, "leader") and member not in others
    }
    if any(not answer.quorum for answer in led.values()):
        return True
    voters = [str(member.get("ID")) for member in seen.members if not member.get("isLearner")]
    return bool(voters) and len(led.keys() & voters) > len(voters) // 2


def _named(member: dict[str, Any]) -> str:
    return f"{member['name']} ({member['id_hex']})" if member["name"] else member["id_hex"]


def _member(raw: dict[str, Any], answer: Answer, own: bool) -> dict[str, Any]:
    status = answer.status
    return {
        "id": str(raw.get("ID", "0")),
        "id_hex": hexadecimal(raw.get("ID")),
        "name": raw.get("name", ""),
        "local": own,
        "peer_urls": raw.get("peerURLs") or [],
        "client_urls": raw.get("clientURLs") or [],
        "learner": bool(raw.get("isLearner") or status.get("isLearner")),
        # A member that was added but has never run has no name yet.
        "started": bool(raw.get("name")),
        "healthy": True,
        "version": status.get("version"),
        "db_size": number(status, "dbSize"),
        "db_size_in_use": number(status, "dbSizeInUse"),
        "db_size_quota": number(status, "dbSizeQuota"),
        "raft_term": number(status, "raftTerm"),
        "raft_index": number(status, "raftIndex"),
        "raft_applied_index": number(status, "raftAppliedIndex"),
        "revision": number(status.get("header") or {}, "revision"),
        "leader_id": str(status.get("leader") or "0"),
        "lag": 0,
        "error": answer.error,
    }


def _member_problems(member: dict[str, Any], answer: Answer) -> list[str]:
    """What is wrong with one member that is not a learner's or an alarm's matter."""
    if not member["started"]:
        peers = ", ".join(member["peer_urls"])
        return [f"Member {member['id_hex']} ({peers}) was added to the cluster but has never started."]
    if answer.error:
        return [f"Member {_named(member)} does not answer: {answer.error}"]
    found = []
    if answer.quorum:
        found.append(f"A read that needs the majority fails through member {_named(member)}: {answer.quorum}")
    # Alarms and a missing leader are reported once for the whole cluster.
    errors = [
        error for error in answer.status.get("errors") or [] if not _ALARM.search(error) and "no leader" not in error
    ]
    found += [f"Member {_named(member)} reports: {error}." for error in errors]
    if member["lag"] > MAX_LAG:
        found.append(f"Member {_named(member)} is {member['lag']} entries behind the best one (allowed: {MAX_LAG}).")
    return found


def _leader_problems(members: list[dict[str, Any]]) -> list[str]:
    answering = [member for member in members if not member["error"] and member["started"]]
    leaderless = [member for member in answering if member["leader_id"] == "0"]
    leaders = {member["leader_id"] for member in answering if member["leader_id"] != "0"}
    if leaderless and not leaders:
        return ["The cluster has no leader: it has lost its majority, or is just electing one."]
    problems = [f"Member {_named(member)} knows no leader." for member in leaderless]
    if len(leaders) > 1:
        names = {member["id"]: _named(member) for member in members}
        said = ", ".join(sorted(names.get(leader, hexadecimal(leader)) for leader in leaders))
        problems.append(f"The members do not agree on a leader: {said}.")
    return problems


def _alarm_problem(alarm: dict[str, str], members: list[dict[str, Any]]) -> str:
    who = next((_named(member) for member in members if member["id_hex"] == alarm["member"]), alarm["member"])
    kind = alarm["alarm"]
    if kind == "NOSPACE":
        return f"Alarm NOSPACE of member {who}: its database is full and takes no writes. Compact, defragment, disarm."
    if kind == "CORRUPT":
        return f"Alarm CORRUPT of member {who}: its data differs from the others'. Replace this member."
    return f"Alarm {kind} of member {who}."


def _judge_members(members: list[dict[str, Any]], seen: Seen) -> list[str]:
    """What is wrong with each of them; notes how far it is behind, and whether it is healthy."""
    # Another cluster counts its entries for itself, and follows another leader.
    elsewhere = strangers(seen)
    here = [member for member in members if member["id"] not in elsewhere]
    # The index of the answer that came last is the highest, so a small lag is only the time between two answers.
    highest = max([member["raft_applied_index"] for member in here], default=0)
    problems = _leader_problems(here)
    for member in members:
        found = []
        if member["id"] in elsewhere:
            theirs = hexadecimal(_cluster_of(seen.answers[member["id"]]))
            ours = hexadecimal(_cluster_of(seen.local))
            found.append(f"Member {_named(member)} belongs to another cluster ({theirs}) than this host's ({ours}).")
        elif not member["error"]:
            member["lag"] = highest - member["raft_applied_index"]
        found += _member_problems(member, seen.answers[member["id"]])
        if member["learner"]:
            found.append(f"Member {_named(member)} is a learner: it has no vote yet, and must be promoted or removed.")
        member["healthy"] = not found and (member["leader_id"] != "0")
        problems += found
    return problems


def judge(seen: Seen, endpoint: str) -> dict[str, Any]:
    """The cluster as data, and everything that is wrong with it as sentences."""
    status = seen.local.status
    header = status.get("header") or {}
    own = str(header.get("member_id", ""))
    problems = [seen.local.error] if seen.local.error else list(seen.trouble)
    members = [_member(raw, seen.answers[str(raw.get("ID"))], str(raw.get("ID")) == own) for raw in seen.members]
    members.sort(key=lambda member: (member["name"], member["id"]))
    problems += _judge_members(members, seen)
    if members and own and own not in seen.answers:
        problems.append(f"The member that answers here ({hexadecimal(own)}) is not in its own list of members.")
    alarms = alarms_of(status)
    problems += [_alarm_problem(alarm, members) for alarm in alarms]
    if seen.hashes:
        problems += hash_problems(seen.hashes, {member["id"]: _named(member) for member in members})
    alarmed = {alarm["member"] for alarm in alarms}
    apart = differing(seen.hashes) if seen.hashes else []
    for member in members:
        member["healthy"] &= member["id_hex"] not in alarmed and member["id"] not in apart

    local = next((member for member in members if member["local"]), None)
    leader = str(status.get("leader") or "0")
    voters = [member for member in members if not member["learner"]]
    return {
        "endpoint": endpoint,
        "name": local["name"] if local else None,
        "member_id": hexadecimal(own) if own else None,
        "cluster_id": hexadecimal(header["cluster_id"]) if header.get("cluster_id") else None,
        "version": status.get("version"),
        "members": members,
        "leader": next((member["name"] for member in members if member["id"] == leader), None),
        "alarms": alarms,
        "revision": number(header, "revision"),
        "raft_applied_index": number(status, "raftAppliedIndex"),
        "db_size": number(status, "dbSize"),
        "db_size_in_use": number(status, "dbSizeInUse"),
        "db_size_quota": number(status, "dbSizeQuota"),
        "quorum": quorum(len(voters), sum(1 for member in voters if member["healthy"])),
        "majority": has_majority(seen),
        "hash": described(seen.hashes, {member["id"]: member["name"] for member in members}) if seen.hashes else None,
        "snapshot_refusal": refuse_snapshot(seen),
        "problems": problems,
        "warnings": _warnings(members, status, endpoint),
        "healthy": not problems,
    }


def unseen(why: str) -> dict[str, Any]:
    """The answer when etcd could not even be asked."""
    return judge(Seen(Answer({}, error=why), [], {}, []), "")


def _warnings(members: list[dict[str, Any]], status: dict[str, Any], endpoint: str) -> list[str]:
    found = []
    if endpoint.startswith("http:"):
        found.append(f"etcd serves without TLS ({endpoint}): who reaches it reads every Secret and may change all.")
    quota, size = number(status, "dbSizeQuota"), number(status, "dbSize")
    if quota and size > _QUOTA_WARNING * quota:
        found.append(f"The database fills {100 * size // quota} % of its quota ({size} of {quota} bytes).")
    versions = sorted({member["version"] for member in members if member["version"]})
    if len(versions) > 1:
        found.append("The members run different versions: " + ", ".join(versions) + ".")
    voters = sum(1 for member in members if not member["learner"])
    if voters and voters % 2 == 0:
        found.append(f"{voters} voting members tolerate no more failures than {voters - 1} do.")
    return found


def refuse_snapshot(seen: Seen) -> Optional[str]:
    """Why the local member's data must not become the backup, or None.

    A lost majority is no reason: what this member has may be all there is.
    """
    if seen.local.error:
        return seen.local.error
    status = seen.local.status
    own = str((status.get("header") or {}).get("member_id", ""))
    if status.get("isLearner"):
        return "This member is a learner: it may not have all data yet. Take the snapshot of a voting member."
    for alarm in alarms_of(status):
        if alarm == {"member": hexadecimal(own), "alarm": "CORRUPT"}:
            return "This member has the alarm CORRUPT: its data differs. Take the snapshot of another member."
    if seen.hashes and own in differing(seen.hashes) and len(differing(seen.hashes)) < len(seen.hashes.found):
        return "This member's data differs from the majority's. Take the snapshot of another member."
    others = strangers(seen)
    found = [number(answer.status, "raftAppliedIndex") for one, answer in seen.answers.items() if one not in others]
    lag = max(found, default=0) - number(status, "raftAppliedIndex")
    if lag > MAX_LAG:
        return f"This member is {lag} entries behind the best one. Take the snapshot of another member, or wait."
    return None
