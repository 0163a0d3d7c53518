# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Care for a running etcd: who leads. What to do is decided apart from doing it."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, EtcdError, Gateway
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import NoEtcd, discover
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse_or_none
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

_ANSWER = 15.0


def local_leader(cluster: dict[str, Any]) -> Optional[dict[str, Any]]:
    """This host's member when it leads, else None. ``cluster`` is what ``_etcd_health.judge`` says."""
    own = next((member for member in cluster["members"] if member["local"]), None)
    return own if own and own["leader_id"] == own["id"] else None


def successor(cluster: dict[str, Any]) -> Optional[dict[str, Any]]:
    """Who should lead instead of this host's member: a healthy voter, or None when there is no other.

    The newest version comes first: in the middle of an upgrade that member will not be restarted once more.
    """
    fit = [
        member
        for member in cluster["members"]
        if not member["local"] and member["started"] and member["healthy"] and not member["learner"]
    ]

    def rank(member: dict[str, Any]) -> tuple[Any, int]:
        return parse_or_none(member["version"]) or (0, 0, 0), member["raft_applied_index"]

    # max() keeps the first of equals, and the members come by name.
    return max(fit, key=rank, default=None)


def move_leader_away(access: Access, deadline: Deadline) -> Optional[dict[str, str]]:
    """Take the leadership from this host's member before it is stopped, so that nobody has to wait for an election.

    :param access: the task's options; what is missing is found out.
    :returns: ``{"from": name, "to": name}``; None when there was nothing to move: this host runs no etcd or does not
        lead, or no other member is fit to lead.
    :raises TimedOut: when the leadership is still here at the deadline.
    """
    try:
        etcd = discover(access)
    except NoEtcd:
        return None
    cluster = judge(observe(etcd.access), etcd.access.endpoint)
    target = successor(cluster) if local_leader(cluster) else None
    return move_leader(etcd.access, cluster["members"], target, deadline) if target else None


def move_leader(
    access: Access, members: list[dict[str, Any]], target: dict[str, Any], deadline: Deadline
) -> dict[str, str]:
    """Move the leadership from this host's member to ``target``, until the new leader itself says that it leads.

    An election in between may choose another member: that is as good, and is what the answer says.
    """
    own = next(member for member in members if member["local"])
    here = Gateway(access, _ANSWER)
    to = target

    def missing() -> Optional[str]:
        nonlocal to
        refusal = ""
        try:
            if here.status().get("leader") == own["id"]:
                try:
                    here.move_leader(target["id"])
                except EtcdError as error:
                    # The answer may be lost and the leadership gone all the same: only the look below tells.
                    refusal = error.message.rstrip(".")
            leader = str(here.status().get("leader") or "0")
            if leader == own["id"]:
                return refusal or f"{own['name']} still leads"
            found = next((member for member in members if member["id"] == leader), None)
            if not found:
                return "there is no leader just now" if leader == "0" else "a member that was not there before leads"
            there = Gateway(access._replace(endpoint=found["client_urls"][0]), _ANSWER)
            if str(there.status().get("leader") or "0") != leader:
                return f"{found['name']} does not say yet that it leads"
        except CareError as error:
            return error.message.rstrip(".")
        to = found
        return None

    wait_until(missing, deadline, f"Moving etcd's leadership from {own['name']} to {target['name']}", interval=0.2)
    return {"from": own["name"], "to": to["name"]}
