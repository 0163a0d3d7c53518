# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Taking back etcd's alarms, once their reason is gone. etcd itself never does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, EtcdError, Gateway
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import discover
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import (
    alarms_of,
    judge,
    observe,
    without_alarm,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_maintenance import member_where, unfit
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

DEFAULT_QUOTA = 2 << 30
# Fuller than this, and the alarm would soon come again.
_FULL = 0.95


def quota_of(member: dict[str, Any], flags: Mapping[str, str]) -> int:
    """The size at which etcd raises NOSPACE. Only etcd 3.6 tells it, and only when it is set; else by our own flags."""
    written = flags.get("quota-backend-bytes", "")
    known = member["db_size_quota"] or (int(written) if written.lstrip("-").isdigit() else 0)
    # 0 means the default to etcd, a negative number means none.
    return int(known) or DEFAULT_QUOTA


def refuse_disarm(alarm: dict[str, str], cluster: dict[str, Any], flags: Mapping[str, str]) -> Optional[str]:
    """Why this alarm must stay, or None. ``cluster`` is what judge says, with the hashes compared for CORRUPT."""
    if alarm["alarm"] == "NOSPACE":
        for member in cluster["members"]:
            quota = quota_of(member, flags)
            if 0 < quota * _FULL <= member["db_size"]:
                cure = "defragment first (state=defragmented)"
                if member["db_size_in_use"] >= quota * _FULL:
                    cure = "delete and compact data, or raise the quota (--quota-backend-bytes), then defragment"
                return (
                    f"Alarm NOSPACE stays: the database of {member['name']} has {member['db_size']} of at most {quota} "
                    f"bytes, {member['db_size_in_use']} of them in use: {cure}."
                )
        return None
    member_id = alarm["member"]
    who = member_where(cluster, "id_hex", member_id)
    if alarm["alarm"] == "CORRUPT" and who and not (cluster["hash"] or {}).get("agree"):
        return (
            f"Alarm CORRUPT stays: {who['name']} is still a member, and its data were not proven to be those of the "
            "others. Replace this member: remove it, and let it join anew with an empty data directory (etcd_member)."
        )
    return None


def disarm_alarms(access: Access, deadline: Deadline, hash_timeout: float, check_mode: bool) -> dict[str, Any]:
    """What the module etcd_maintenance does for state=alarms_disarmed."""
    etcd = discover(access)
    seen = observe(etcd.access)
    alarms = alarms_of(seen.local.status)
    if not alarms:
        if seen.local.error:
            raise CareError(seen.local.error)
        return {"disarmed": []}
    if any(alarm["alarm"] == "CORRUPT" for alarm in alarms):
        seen = observe(etcd.access, hash_timeout=hash_timeout)
    for kind in {alarm["alarm"] for alarm in alarms}:
        seen = without_alarm(seen, kind)
    cluster = judge(seen, etcd.access.endpoint)
    if cluster["problems"]:
        raise CareError(unfit("No alarm was disarmed, because more than alarms is wrong", cluster))
    for alarm in alarms:
        refusal = refuse_disarm(alarm, cluster, etcd.flags)
        if refusal:
            raise CareError(f"No alarm was disarmed. {refusal}")
    if not check_mode:
        _disarm(Gateway(etcd.access), alarms, deadline)
    return {"changed": True, "disarmed": alarms}


def _disarm(gateway: Gateway, alarms: list[dict[str, str]], deadline: Deadline) -> None:
    """Take them back, and look until etcd names none of them any more."""
    sent = False

    def missing() -> Optional[str]:
        nonlocal sent
        try:
            left = [alarm for alarm in alarms_of(gateway.status()) if alarm in alarms]
            for alarm in left:
                gateway.disarm(str(int(alarm["member"], 16)), alarm["alarm"])
                sent = True
            left = [alarm for alarm in alarms_of(gateway.status()) if alarm in alarms]
        except EtcdError as error:
            return error.message.rstrip(".")
        return ", ".join(f"{alarm['alarm']} of {alarm['member']}" for alarm in left) or None

    try:
        wait_until(missing, deadline, "Disarming etcd's alarms")
    except CareError as error:
        error.results["changed"] = sent
        raise
