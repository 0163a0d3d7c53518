# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The last look at a restored cluster: what came back of our own is removed, Nodes are awaited, orphans named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import local_server
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_orphans import orphans
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

if TYPE_CHECKING:
    from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Restore

# Kubelets try again after at most 7 s, and notice within 45 s that a connection is dead.
_PATIENCE = 120.0


class Expected(NamedTuple):
    """Which Nodes have to come back."""

    excused: frozenset[str]  # they were not well before, or are of masters that were left out
    known: bool  # whether anybody could tell, before the outage, which Nodes were well


def expected(plan: dict[str, Any]) -> Expected:
    """Whom the plan excuses. A run that goes on with another's cannot know who was well before the outage."""
    unready = plan.get("unready_nodes")
    return Expected(frozenset([*(unready or []), *(plan.get("without") or [])]), unready is not None)


def awaited(nodes: dict[str, bool], who: Expected, patient: bool) -> list[str]:
    """The Nodes to wait for, of those that are not Ready.

    :param nodes: the names of these, and whether each has been heard of since the outage.
    :param patient: whether it is too early to give a silent one up of whom nobody knows if it was well before.
    """
    return sorted(name for name, heard in nodes.items() if name not in who.excused and (who.known or heard or patient))


def tidy(step: Restore) -> dict[str, Any]:
    """On one master: what came back of ours is removed, and every Node that was well is heard of again."""
    state = step.here()
    server = step.host.look("kube-apiserver")
    prober = Prober(step.host, step.options.kubeconfig, step.options.etcd)
    local = local_server(prober.api_access(), server.argv)

    def writer() -> _restore_api.Writer:
        return _restore_api.Writer(prober.api_access(), local.address, local.port, 10.0)

    removed = _restore_api.tidy(writer())
    step.changed |= bool(removed)
    who = expected(step.plan)
    patience = Deadline(_PATIENCE, "none")
    last: dict[str, bool] = {}

    def missing() -> Optional[str]:
        nonlocal last
        try:
            last = _restore_api.unready_nodes(writer(), state["outage"])
        except CareError as error:
            return error.message.rstrip(".")
        return ", ".join(awaited(last, who, not patience.passed)) or None

    wait_until(missing, step.deadline, "Waiting until all Nodes are Ready again", interval=2.0)
    warnings = []
    if last:
        warnings.append(
            f"These Nodes are not Ready: {', '.join(sorted(last))}. They were not well before the outage either, or "
            "have not been heard of since; nothing waited for them."
        )
    return step.shown(removed=removed, unready_nodes=sorted(last), orphans=orphans(writer()), warnings=warnings)
