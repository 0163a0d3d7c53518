# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Who would hold up the drains of an upgrade, told before anything is touched. The verdicts are the drain's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _drain
from ansible_collections.clustercare.kubeadm.plugins.module_utils._budget import read_budget, too_many_budgets
from ansible_collections.clustercare.kubeadm.plugins.module_utils._capacity import places
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import View
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod, read_pod

_NAMED = 5
_STOPS = {
    "unmanaged": "nothing would bring these pods back, so the drain stops (upgrade_drain_unmanaged: delete lets go)",
    "emptydir": "these pods keep data in an emptyDir, so the drain stops (upgrade_drain_emptydir: delete lets go)",
}


def movers(view: View, name: str) -> list[str]:
    """Pods that a drain of this node would have to move."""
    return [str(pod) for pod, verdict in _verdicts(view, name) if verdict.action in ("evict", "refuse")]


def _verdicts(view: View, name: str) -> list[tuple[Pod, _drain.Verdict]]:
    node = view.node_name(name)
    daemonsets = [found["metadata"]["uid"] for found in view.cluster.daemonsets]
    wishes = _drain.Wishes(emptydir=view.request.drain_emptydir, unmanaged=view.request.drain_unmanaged)
    here = [read_pod(pod) for pod in view.cluster.pods if pod.get("spec", {}).get("nodeName") == node]
    return [(pod, _drain.classify(pod, daemonsets, wishes)) for pod in here]


def obstacles(view: View, name: str) -> Iterator[dict[str, Any]]:
    """Pods under two budgets, budgets that allow nothing now, pods that would be lost, pods that fit nowhere else."""
    node = view.node_name(name) or ""
    budgets = [read_budget(budget) for budget in view.cluster.budgets]
    verdicts = _verdicts(view, name)
    go = [pod for pod, verdict in verdicts if verdict.action == "evict"]
    for pod in go:
        guards = too_many_budgets(pod, budgets)
        if guards:
            names = " and ".join(guard.key for guard in guards)
            sentence = f"{pod} is under the budgets {names}, and with more than one it can never be evicted: keep one."
            yield _obstacle(view, name, "budgets", guards[0].key, [str(pod)], sentence)
    movable = [pod for pod in go if not too_many_budgets(pod, budgets)]
    numbers = {budget.key: budget for budget in budgets}
    for stuck in _drain.preview(movable, budgets, ()).never:
        sentence = f"{numbers[stuck['budget']]} lets none of these pods go now: {_some(stuck['pods'])}."
        yield _obstacle(view, name, "budget", stuck["budget"], stuck["pods"], sentence)
    for option, why in _STOPS.items():
        lost = sorted(str(pod) for pod, verdict in verdicts if option in verdict.obstacles)
        if lost:
            yield _obstacle(view, name, option, None, lost, f"{why}: {_some(lost)}.")
    stranded = sorted(str(pod) for pod in go if pod.controller and not places(pod, view.cluster.nodes, node))
    if stranded:
        sentence = f"no other node takes these pods, so they are away while this one is drained: {_some(stranded)}."
        yield _obstacle(view, name, "no_place", None, stranded, sentence)


def _some(pods: list[str]) -> str:
    """A few names are enough to know what it is about; the data has them all."""
    more = len(pods) - _NAMED
    return ", ".join(pods[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _obstacle(
    view: View, name: str, kind: str, budget: Optional[str], pods: list[str], sentence: str
) -> dict[str, Any]:
    return {
        "host": name,
        "node": view.node_name(name),
        "kind": kind,
        "budget": budget,
        "pods": pods,
        "message": f"{name}: {sentence}",
    }
