# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A master without data joins the restored cluster: as a learner that fetches all from the others, then as a voter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record, _restore_hold, _restore_told
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import settings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_member import (
    Wanted,
    add_learner_through,
    promote_through,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_agree import Agreement
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_manifest import (
    argv_of,
    manifest_of,
    text_of,
    told,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import reached
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import units_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import wait_until

if TYPE_CHECKING:
    from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Restore

_TIMEOUT = 3.0


def make_empty(room: str, host: Host) -> None:
    """The new data of a member that joins is none; what has to be changed for that is proven to be possible."""
    etcd = host.look("etcd")
    if etcd.unit:
        _restore_told.plan(etcd.unit.name, "proof", host.runner)
    else:
        told(text_of(manifest_of(etcd)), settings(etcd.argv), "proof")
    os.makedirs(os.path.join(room, "new", "member"), mode=0o700, exist_ok=True)


def tell(host: Host, cluster: str) -> None:
    """Let the manifest, or a drop-in of the unit, say whom etcd joins; proven is that just that will be read."""
    etcd = host.look("etcd")
    if etcd.unit:
        _restore_told.tell(etcd.unit.name, cluster, host.runner)
        return
    path = manifest_of(etcd)
    flags = settings(argv_of(etcd))
    wanted = {**flags, "initial-cluster": cluster, "initial-cluster-state": "existing"}
    if flags == wanted:
        return
    mode = os.stat(path).st_mode & 0o777
    before = text_of(path)
    _record.write_private(path, told(before, flags, cluster).encode(), mode=mode)
    if settings(argv_of(host.look("etcd"))) != wanted:
        _record.write_private(path, before.encode(), mode=mode)
        raise CareError(f"{path} cannot be told of {cluster}: it is written in a way that was not expected.")


def join(step: Restore) -> dict[str, Any]:
    """Let this master's member join, empty, and wait until it has a vote. Nothing of it has to be undone."""
    state = step.here()
    if not state.get("joins") or reached(state, "joined"):
        return {"state": state}
    if not reached(state, "agreed"):
        raise CareError(f"The mark that the restored cluster stays has not come to {step.node}; it joins nothing.")
    step.save("joining")
    seed = Access(*state["access"])._replace(endpoint=state["seed_url"])
    wanted = Wanted(state["member"], state["peer_url"])

    def unwell() -> Optional[str]:
        return " ".join(judge(observe(seed, _TIMEOUT), seed.endpoint)["problems"]).rstrip(".") or None

    try:
        added = add_learner_through(seed, wanted, step.deadline, False)
        if added["member"] is None or not added["member"]["name"]:
            # It has never started, so it has to be told. Later its own log tells it.
            tell(step.host, added["initial_cluster"])
        step.operate(["etcd"], "started", "process")
        promote_through(seed, wanted, step.deadline, False)
        wait_until(unwell, step.deadline, f"Waiting until etcd is well with {state['member']} in it", interval=0.5)
    except CareError as error:
        raise CareError(
            f"{error.message} {step.node} has not joined. The restored cluster serves on the masters that are in it, "
            "and nothing is rolled back. Mend the cause, and run the same command again.",
            **{**error.results, "changed": True},
        ) from error
    # Once there is a log etcd asks for neither, so the unit's own words hold again.
    _restore_hold.forget(units_of(step.host, ["etcd"]).values(), step.host.runner)
    step.save("joined")
    return step.shown()


def agree(step: Restore) -> dict[str, Any]:
    """See all members agree, those that joined included."""
    state = step.here()
    access = Access(*state["access"])
    agreement = Agreement(access, step.plan["members"], state["revision"], state["old_cluster_id"])
    wait_until(agreement.missing, step.deadline, "Waiting until all members agree on the restored data", interval=0.5)
    step.save(state["phase"], proof=agreement.proof())
    return step.shown(proof=agreement.proof())
