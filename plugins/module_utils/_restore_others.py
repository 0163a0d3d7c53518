# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Who else is at work on the cluster: an upgrade that was not ended, a run that holds the lock."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._lock import Claim, Holder, Process, judge
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked, Looks
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso

_TAKE_OVER = "say etcd_restore_take_over=true"


def others_at_work(looks: Looks, asked: Asked, controller: dict[str, Any]) -> list[str]:
    """Why a restore would cut into somebody else's work, in words; nothing when the user takes over."""
    if asked.take_over:
        return []
    found = []
    open_upgrades = {host: seen["upgrade"] for host, seen in looks.items() if seen.get("upgrade")}
    if open_upgrades:
        where = "; ".join(
            f"{host} to {record.get('target')}, run {record.get('run')}, in step {record.get('phase')}"
            for host, record in open_upgrades.items()
        )
        found.append(
            f"An upgrade was begun and not ended ({where}). Finish it with the command that began it, or give it up "
            f"with upgrade-cluster.yml -e upgrade_abort=true; when it must stay as it is, {_TAKE_OVER}."
        )
    holder = next((holder for holder in (living(seen, controller) for seen in looks.values()) if holder), None)
    if holder:
        until = f" until {iso(holder.until)}" if holder.until is not None else ""
        found.append(
            f"The cluster is locked by {holder}{until}, and its work would be lost in the middle. Wait for it; when it "
            f"is known to be dead, {_TAKE_OVER}."
        )
    return found


def living(seen: dict[str, Any], controller: dict[str, Any]) -> Optional[Holder]:
    """Who holds the lock of the cluster, unless its time is over, its process is gone, or it is this very run."""
    verdict = judge(seen.get("lock"), Claim.of("restore", "", 0, None, controller), seen.get("time") or 0.0)
    holder = verdict.holder
    if holder is None or verdict.action != "refuse" or verdict.why:
        return None
    me = Process.of(controller)
    return None if me.pid and holder.process == me else holder
