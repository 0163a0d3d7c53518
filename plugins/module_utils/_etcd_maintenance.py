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


def member_where(cluster: dict[str, Any], key: str, value: Any) -> Optional[dict[str, Any]]:
    """The member whose ``key`` is ``value``. ``cluster`` is what ``_etcd_health.judge`` says."""
    return next((member for member in cluster["members"] if member[key] == value), None)


def reach(access: Access, member: dict[str, Any]) -> Access:
    """How to speak to one member: this host's as it was found, another one by the URL that it told its cluster."""
    return access if member["local"] else access._replace(endpoint=member["client_urls"][0])


def leader_of(cluster: dict[str, Any]) -> Optional[dict[str, Any]]:
    """The member that leads and says so itself, else None."""
    return next((member for member in cluster["members"] if member["leader_id"] == member["id"]), None)


def successor(cluster: dict[str, Any], leader: dict[str, Any]) -> Optional[dict[str, Any]]:
    """Who should lead instead of ``leader``: a healthy voter, or None when there is no other.

    The newest version comes first: in the middle of an upgrade that member will not be restarted once more.
    """
    fit = [
        member
        for member in cluster["members"]
        if member["id"] != leader["id"] and member["started"] and member["healthy"] and not member["learner"]
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
    leader = leader_of(cluster)
    if not leader or not leader["local"]:
        return None
    target = successor(cluster, leader)
    return move_leader(etcd.access, cluster, target, deadline) if target else None


def move_leader(access: Access, cluster: dict[str, Any], target: dict[str, Any], deadline: Deadline) -> dict[str, str]:
    """Move the leadership to ``target``, until the new leader itself says that it leads.

    An election in between may choose another member: that is as good, and is what the answer says.
    """
    old = leader_of(cluster)
    if not old:
        raise CareError(
            "etcd's leadership was not moved: no member leads just now. Look at the cluster with etcd_info."
        )
    here = Gateway(reach(access, old), _ANSWER)
    to = target

    def missing() -> Optional[str]:
        nonlocal to
        refusal = ""
        try:
            if here.status().get("leader") == old["id"]:
                try:
                    here.move_leader(target["id"])
                except EtcdError as error:
                    # The answer may be lost and the leadership gone all the same: only the look below tells.
                    refusal = error.message.rstrip(".")
            leader = str(here.status().get("leader") or "0")
            if leader == old["id"]:
                return refusal or f"{old['name']} still leads"
            found = member_where(cluster, "id", leader)
            if not found:
                return "there is no leader just now" if leader == "0" else "a member that was not there before leads"
            if str(Gateway(reach(access, found), _ANSWER).status().get("leader") or "0") != leader:
                return f"{found['name']} does not say yet that it leads"
        except CareError as error:
            return error.message.rstrip(".")
        to = found
        return None

    wait_until(missing, deadline, f"Moving etcd's leadership from {old['name']} to {target['name']}", interval=0.2)
    return {"from": old["name"], "to": to["name"]}


def leader_moved(access: Access, deadline: Deadline, check_mode: bool) -> dict[str, Any]:
    """What the module etcd_maintenance does for state=leader_moved: this host's member does not lead."""
    etcd = discover(access)
    cluster = judge(observe(etcd.access), etcd.access.endpoint)
    own, leader = member_where(cluster, "local", True), leader_of(cluster)
    if not own or not leader:
        raise CareError(unfit("The leadership cannot be moved", cluster))
    if leader is not own:
        return {"moved": None}
    target = successor(cluster, leader)
    if not target:
        why = unfit("No other member can take the leadership", cluster)
        raise CareError(why if cluster["problems"] else f"{own['name']} is the only voting member: it has to lead.")
    if check_mode:
        return {"changed": True, "moved": {"from": own["name"], "to": target["name"]}}
    return {"changed": True, "moved": move_leader(etcd.access, cluster, target, deadline)}


def unfit(what: str, cluster: dict[str, Any]) -> str:
    """A refusal with everything that is wrong."""
    return f"{what}: {' '.join(cluster['problems']) or 'etcd does not say who leads.'} Mend this first."
