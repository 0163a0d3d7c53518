# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Giving back the holes in etcd's databases: one member after the other, the leader last and not while it leads."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, EtcdError, Gateway, number
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import discover
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe, without_alarm
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_maintenance import (
    leader_of,
    member_where,
    move_leader,
    reach,
    successor,
    unfit,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

_GIB = 1 << 30
_MIB = 1 << 20


class Worth(NamedTuple):
    """From when on it is worth it: both must be reached."""

    percent: float
    bytes: int


def fragmentation(member: dict[str, Any]) -> float:
    """How much of its file a member does not use, in percent."""
    return round(100 * (1 - member["db_size_in_use"] / member["db_size"]), 1) if member["db_size"] else 0.0


def why_not(member: dict[str, Any], worth: Worth) -> Optional[str]:
    """Why this member needs no defragmentation, or None."""
    gain, percent = member["db_size"] - member["db_size_in_use"], fragmentation(member)
    if percent < worth.percent:
        return f"{percent:g} % of its file are not in use, less than {worth.percent:g} %"
    if gain < worth.bytes:
        return f"it would give back {gain // _MIB} MiB, less than {worth.bytes // _MIB} MiB"
    return None


def seconds_for(size: int) -> float:
    """How long one member may take: a minute, and 20 s for each GiB; slow disks were seen to need 13 s."""
    return 60 + 20 * size / _GIB


def in_order(cluster: dict[str, Any], worth: Worth) -> list[dict[str, Any]]:
    """Those that need it, the leader last."""
    leader = leader_of(cluster)
    wanted = [member for member in cluster["members"] if not why_not(member, worth)]
    return sorted(wanted, key=lambda member: (member is leader, member["name"]))


def _look(access: Access) -> dict[str, Any]:
    """The cluster; a full database is what a defragmentation is for, so the alarm about it does not count."""
    return judge(without_alarm(observe(access), "NOSPACE"), access.endpoint)


def defragment(
    access: Access, worth: Worth, deadline: Deadline, allow_outage: bool, check_mode: bool
) -> dict[str, Any]:
    """What the module etcd_maintenance does for state=defragmented."""
    etcd = discover(access)
    cluster = _look(etcd.access)
    if cluster["problems"]:
        raise CareError(unfit("Nothing was defragmented, because the cluster is not well", cluster))
    wanted = in_order(cluster, worth)
    not_needed = [
        {"name": member["name"], "why": why_not(member, worth)} for member in cluster["members"] if member not in wanted
    ]
    if wanted and cluster["quorum"]["members"] < 2 and not allow_outage:
        raise CareError(
            f"{wanted[0]['name']} is the only member: while its {wanted[0]['db_size'] // _MIB} MiB are defragmented, "
            "the whole API waits. Say allow_outage=true to do it all the same."
        )
    if check_mode:
        plan = [{"name": one["name"], "before": one["db_size"], "after": one["db_size_in_use"]} for one in wanted]
        return {"changed": bool(wanted), "defragmented": plan, "not_needed": not_needed, "moved": None}
    run = _Run(etcd.access, deadline, [member["name"] for member in wanted])
    try:
        run.all()
    except CareError as error:
        error.results.update(changed=run.changed, **run.results, not_needed=not_needed, left=run.left)
        raise
    return {"changed": run.changed, **run.results, "not_needed": not_needed}


class _Run:
    """The members one after the other. The leader may change at any time, so each step looks anew."""

    def __init__(self, access: Access, deadline: Deadline, names: list[str]) -> None:
        self.access = access
        self.deadline = deadline
        self.left = names
        self.done: list[dict[str, Any]] = []
        self.moved: Optional[dict[str, str]] = None

    @property
    def changed(self) -> bool:
        return bool(self.done or self.moved)

    @property
    def results(self) -> dict[str, Any]:
        return {"defragmented": self.done, "moved": self.moved}

    def all(self) -> None:
        while self.left:
            cluster = self._well()
            leader = leader_of(cluster)
            name = next((one for one in self.left if not leader or one != leader["name"]), self.left[0])
            member = member_where(cluster, "name", name)
            if not member:
                raise CareError(f"{name} is no longer a member of etcd; run this again.")
            target = successor(cluster, member)
            if member is leader and target:
                # Whoever writes goes on meanwhile: only this member is silent, and it does not lead.
                self.moved = move_leader(self.access, cluster, target, self.deadline)
            self._one(member)
            self.left.remove(name)
        self._well()

    def _well(self) -> dict[str, Any]:
        """The cluster, once it is well: a member that still catches up must never be defragmented."""
        cluster: dict[str, Any] = {}

        def missing() -> Optional[str]:
            cluster.update(_look(self.access))
            return " ".join(cluster["problems"]).rstrip(".") or None

        wait_until(missing, self.deadline, "Waiting until etcd is well before and after each defragmentation")
        return cluster

    def _one(self, member: dict[str, Any]) -> None:
        gateway = Gateway(reach(self.access, member))
        limit = min(seconds_for(member["db_size"]), self.deadline.left)
        if limit < 1:
            raise TimedOut(
                f"{member['name']} was not defragmented: {self.deadline.seconds:g} s are over; give it more time with "
                f"option {self.deadline.option}.",
                timed_out=True,
            )
        began = time.monotonic()
        entry = {"name": member["name"], "before": member["db_size"]}
        self.done.append(entry)
        lost: Optional[EtcdError] = None
        try:
            gateway.defragment(limit)
        except EtcdError as error:
            if error.status:
                self.done.remove(entry)
                raise
            lost = error  # It may well have been done: the size tells.
        after = number(gateway.status(), "dbSize")
        entry.update(after=after, seconds=round(time.monotonic() - began, 1))
        if lost and after >= member["db_size"]:
            raise CareError(
                f"{member['name']} did not say that it is defragmented, and its file is as large as before: "
                f"{lost.message} It may still be at it: look at it with etcd_info, then run this again."
            ) from lost
