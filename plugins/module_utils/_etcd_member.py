# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Who belongs to an etcd cluster: adding a learner, promoting it, removing a member without losing the majority."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, EtcdError, Gateway
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import discover
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_maintenance import (
    leader_of,
    move_leader,
    successor,
    unfit,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

# HTTP statuses that may pass: no answer, unavailable (an election, a member just restarted), too slow.
_PASSING = (0, 408, 503, 504)
# Those of them after which the change may have come about.
_LOST = (0, 408, 504)
# What a second try after a lost answer hears when the first one had worked, and what a learner that is not yet in sync
# does: the list of members tells.
_PASSING_WORDS = ("already exist", "member not found", "can only promote a learner member")


class Wanted(NamedTuple):
    """What the task asks for."""

    name: str
    peer_url: Optional[str]


def plain_url(url: str) -> str:
    """A peer URL in one form, so that two of them can be compared.

    :raises CareError: when it is not one.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("https", "http") or not parts.hostname or not port or parts.path.strip("/"):
        raise CareError(
            f"'{url}' is not the peer URL of an etcd member; write it like https://10.0.0.11:2380 or "
            "https://[fd00::11]:2380 (option peer_url)."
        )
    host = parts.hostname
    # A name stays as it is.
    with contextlib.suppress(ValueError):
        host = ipaddress.ip_address(host).compressed
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _same(member: dict[str, Any], url: str) -> bool:
    return plain_url(url) in [plain_url(one) for one in member["peer_urls"]]


def called(member: dict[str, Any]) -> str:
    """A member as a person would point at it."""
    return f"{member['name'] or 'a member without name'} ({member['id_hex']}, {', '.join(member['peer_urls'])})"


def find(cluster: dict[str, Any], wanted: Wanted) -> Optional[dict[str, Any]]:
    """The one member that name and URL both mean, or None when neither is known.

    :raises CareError: when they mean different members. A member that has never started has no name yet.
    """
    by_name = next((one for one in cluster["members"] if one["name"] == wanted.name), None)
    if wanted.peer_url is None:
        return by_name
    by_url = next((one for one in cluster["members"] if _same(one, wanted.peer_url)), None)
    if by_url is by_name or (by_url and not by_url["name"] and not by_name):
        return by_url
    found = " and ".join(called(one) for one in (by_name, by_url) if one)
    raise CareError(
        f"name={wanted.name} and peer_url={wanted.peer_url} do not belong to one member; found {found}. "
        "Nothing was done: give the name and the peer URL of the same member."
    )


def initial_cluster(cluster: dict[str, Any], wanted: Wanted) -> str:
    """What a member that joins must be told with --initial-cluster: all members, itself included."""
    pairs = [
        (member["name"] or wanted.name, url)
        for member in cluster["members"]
        for url in member["peer_urls"]
        if member["name"] or (wanted.peer_url and _same(member, wanted.peer_url))
    ]
    if wanted.peer_url and not any(plain_url(url) == plain_url(wanted.peer_url) for _name, url in pairs):
        pairs.append((wanted.name, wanted.peer_url))
    return ",".join(f"{name}={url}" for name, url in sorted(pairs))


def refuse_learner(cluster: dict[str, Any]) -> Optional[str]:
    """Why no learner can be added now, or None."""
    learners = [called(member) for member in cluster["members"] if member["learner"]]
    if learners:
        return (
            f"There is a learner already: {', '.join(learners)}. etcd takes one at a time: promote it (state=promoted) "
            "or remove it (state=absent) first."
        )
    if cluster["problems"]:
        return unfit("No learner was added, because the cluster is not well", cluster)
    return None


def refuse_removal(cluster: dict[str, Any], member: dict[str, Any]) -> Optional[str]:
    """Why this member must not be removed, or None.

    One that is down may always go when the others have the majority among themselves, now and without it.
    """
    voters = [one for one in cluster["members"] if not one["learner"]]
    if member["local"]:
        return f"{called(member)} is this host's own member. Run this on another master, which remains."
    now = cluster["quorum"]
    if now["tolerates"] < 0:
        return (
            f"The cluster has lost its majority: {now['healthy']} of {now['members']} voting members are well, "
            f"{now['needed']} are needed. Nobody can be removed now: bring members back, or restore a snapshot. "
            + " ".join(cluster["problems"])
        )
    if member["learner"]:
        return None
    left = [one for one in voters if one is not member]
    needed = len(left) // 2 + 1
    well = sum(1 for one in left if one["healthy"])
    if well < needed:
        return (
            f"Without {called(member)} the cluster would have lost its majority: {well} of {len(left)} voting members "
            f"would be well, {needed} are needed. Mend the others first: {' '.join(cluster['problems'])}"
        )
    return None


class _Change:
    """One change of the membership, tried until the list of members shows it. Whatever fails in its block tells whether
    something was changed; an answer that was lost counts as a change.
    """

    def __init__(self, access: Access, deadline: Deadline) -> None:
        self.access = access
        self.gateway = Gateway(access)
        self.deadline = deadline
        self.sent = False

    def __enter__(self) -> _Change:
        return self

    def __exit__(self, _kind: object, error: Optional[BaseException], _trace: object) -> None:
        if isinstance(error, CareError):
            error.results["changed"] = self.sent

    def _send(self, act: Callable[[], object]) -> None:
        try:
            act()
        except EtcdError as error:
            self.sent |= error.status in _LOST
            raise
        self.sent = True

    def members(self) -> list[dict[str, Any]]:
        """The list of members after a read that needs the majority: no answer from before."""
        self.gateway.prove_quorum()
        return self.gateway.members()

    def until(self, reached: Callable[[list[dict[str, Any]]], bool], act: Callable[[], object], awaited: str) -> None:
        def missing() -> Optional[str]:
            try:
                if reached(self.members()):
                    return None
                self._send(act)
                return None if reached(self.members()) else "the list of members does not show it yet"
            except EtcdError as error:
                words = error.message
                if error.status in _PASSING or any(one in words for one in _PASSING_WORDS):
                    return words.rstrip(".")
                raise

        wait_until(missing, self.deadline, awaited)


def _look(access: Access) -> dict[str, Any]:
    cluster = judge(observe(access), access.endpoint)
    if not cluster["members"]:
        raise CareError(" ".join(cluster["problems"]))
    return cluster


def add_learner(access: Access, wanted: Wanted, deadline: Deadline, check_mode: bool) -> dict[str, Any]:
    """What the module etcd_member does for state=learner."""
    return add_learner_through(discover(access).access, wanted, deadline, check_mode)


def add_learner_through(found: Access, wanted: Wanted, deadline: Deadline, check_mode: bool) -> dict[str, Any]:
    """The same through any member."""
    if not wanted.peer_url:
        raise CareError("A learner needs to be told where its peers reach it (option peer_url).")
    url = plain_url(wanted.peer_url)
    cluster = _look(found)
    if find(cluster, wanted):
        return _result(cluster, wanted, False)
    refusal = refuse_learner(cluster)
    if refusal:
        raise CareError(refusal)
    if check_mode:
        return _result(cluster, wanted, True)
    with _Change(found, deadline) as change:
        change.until(
            lambda members: any(url == plain_url(one) for member in members for one in member.get("peerURLs") or []),
            lambda: change.gateway.add_learner(url),
            f"Adding {wanted.name} ({url}) to etcd as a learner",
        )
        return _result(_look(found), wanted, True)


def promote(access: Access, wanted: Wanted, deadline: Deadline, check_mode: bool) -> dict[str, Any]:
    """What the module etcd_member does for state=promoted."""
    return promote_through(discover(access).access, wanted, deadline, check_mode)


def promote_through(found: Access, wanted: Wanted, deadline: Deadline, check_mode: bool) -> dict[str, Any]:
    """The same through any member."""
    cluster = _look(found)
    member = find(cluster, wanted)
    learners = [one for one in cluster["members"] if one["learner"]]
    if not member:
        # It has no name before it has started; when it is the only one, it can only be this.
        if wanted.peer_url or len(learners) != 1 or learners[0]["name"]:
            raise CareError(f"{wanted.name} is no member of etcd: add it first (state=learner). {_who(cluster)}")
        member = learners[0]
    if not member["learner"]:
        return _result(cluster, wanted, False)
    if check_mode:
        return _result(cluster, wanted, True)
    number = member["id"]

    def promoted(members: list[dict[str, Any]]) -> bool:
        return any(str(one["ID"]) == number and not one.get("isLearner") for one in members)

    with _Change(found, deadline) as change:
        change.until(promoted, lambda: change.gateway.promote(number), f"Promoting {called(member)} to a voting member")
        return _result(_look(found), wanted, True)


def remove(access: Access, wanted: Wanted, deadline: Deadline, check_mode: bool) -> dict[str, Any]:
    """What the module etcd_member does for state=absent."""
    if not wanted.peer_url:
        raise CareError("To remove a member its name and its peer URL are both needed (options name and peer_url).")
    found = discover(access).access
    cluster = _look(found)
    member = find(cluster, wanted)
    if not member:
        return _without(cluster, wanted, None)
    refusal = refuse_removal(cluster, member)
    if refusal:
        raise CareError(f"No member was removed. {refusal}")
    if check_mode:
        return _without(cluster, wanted, member)
    number = member["id"]
    target = successor(cluster, member) if leader_of(cluster) is member else None
    with _Change(found, deadline) as change:
        if target:
            move_leader(found, cluster, target, deadline)
            change.sent = True
        change.until(
            lambda members: all(str(one["ID"]) != number for one in members),
            lambda: change.gateway.remove_member(number),
            f"Removing {called(member)} from etcd",
        )
        return _without(_look(found), wanted, member)


def _who(cluster: dict[str, Any]) -> str:
    return f"Its members are {', '.join(called(one) for one in cluster['members'])}."


def _result(cluster: dict[str, Any], wanted: Wanted, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "member": find(cluster, wanted),
        "members": cluster["members"],
        "quorum": cluster["quorum"],
        "initial_cluster": initial_cluster(cluster, wanted),
        "removed": None,
    }


def _without(cluster: dict[str, Any], wanted: Wanted, removed: Optional[dict[str, Any]]) -> dict[str, Any]:
    """The result of a removal: a member that starts now must not be told of the one that is gone."""
    left = {"members": [member for member in cluster["members"] if member is not removed]}
    names = initial_cluster(left, wanted._replace(peer_url=None))
    return {**_result(cluster, wanted, removed is not None), "removed": removed, "initial_cluster": names}
