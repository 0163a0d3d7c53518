# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a drain decides beforehand: which pods go, which stay and why, and in which waves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._budget import (
    Budget,
    bypasses,
    matching,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._selector import selects

# Pods of DaemonSets carry network and storage of the others: they go when these are gone, those that nobody asks
# to leave included.
_AFTER_ALL_OTHERS = 2**31
_BEFORE_DAEMONSETS = _AFTER_ALL_OTHERS - 1


@dataclass(frozen=True)
class Rule:
    """How pods that match are treated.

    namespaces: None means all.
    """

    selector: Mapping[str, Any] | None
    namespaces: frozenset[str] | None
    behavior: str = "drain"
    order: int = 0

    def matches(self, pod: Pod) -> bool:
        """Whether it is about this pod."""
        if self.namespaces is not None and pod.namespace not in self.namespaces:
            return False
        return self.selector is None or selects(self.selector, pod.labels)


@dataclass(frozen=True)
class Wishes:
    """The options that decide about pods. The first rule that matches a pod counts."""

    daemonsets: str = "ignore"
    emptydir: str = "fail"
    unmanaged: str = "fail"
    namespaces: Collection[str] | None = None
    exclude_namespaces: Collection[str] = ()
    rules: Sequence[Rule] = ()


@dataclass(frozen=True)
class Verdict:
    """What becomes of one pod.

    action: ``evict`` it, ``wait`` until it is gone by itself, wait until it ``complete``-s by itself, ``skip`` it,
        or ``refuse`` the whole drain.
    obstacles: the options that would have to be set otherwise (refuse only).
    risks: what is lost with it (evict only).
    order: pods with a higher one go when those with a lower one are gone.
    """

    action: str
    reason: str
    obstacles: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    order: int = 0


def classify(pod: Pod, daemonsets: Collection[str], wishes: Wishes) -> Verdict:
    """Decide about one pod.

    :param daemonsets: UIDs of the DaemonSets that exist.
    """
    if pod.mirror:
        return Verdict("skip", "static pod of the kubelet")
    orphan = pod.of_daemonset and pod.controller is not None and pod.controller.uid not in daemonsets
    served = pod.of_daemonset and not orphan
    if served and wishes.daemonsets == "ignore":
        return Verdict("skip", "belongs to a DaemonSet")
    if pod.namespace in wishes.exclude_namespaces:
        return Verdict("skip", "its namespace is left out (option exclude_namespaces)")
    if wishes.namespaces is not None and pod.namespace not in wishes.namespaces:
        return Verdict("skip", "its namespace was not chosen (option namespaces)")
    rule = next((rule for rule in wishes.rules if rule.matches(pod)), Rule(None, None))
    if rule.behavior == "skip":
        return Verdict("skip", "left out by a rule (option rules)")
    if served and wishes.daemonsets == "fail":
        return Verdict("refuse", "belongs to a DaemonSet", ("daemonsets",))
    if pod.terminating:
        # Also one of which nothing runs any more: its volumes may still be mounted.
        return Verdict("wait", f"terminating since {pod.terminating}")
    if pod.finished:
        return Verdict("skip", "finished")
    if rule.behavior == "wait_completed":
        return Verdict("complete", "works until it has completed (option rules)", order=_BEFORE_DAEMONSETS)
    return _leaving(pod, orphan, wishes, _AFTER_ALL_OTHERS if served else rule.order)


def _leaving(pod: Pod, orphan: bool, wishes: Wishes, order: int) -> Verdict:
    """A pod that goes, unless something would be lost for which no word was said."""
    facts = []
    if pod.controller is None or orphan:
        what = "its DaemonSet is gone" if orphan else "no controller would bring it back"
        facts.append(("unmanaged", wishes.unmanaged, what))
    if pod.empty_dirs:
        facts.append(("emptydir", wishes.emptydir, f"local data in emptyDir {', '.join(pod.empty_dirs)}"))
    obstacles = tuple(option for option, wish, _said in facts if wish == "fail")
    if obstacles:
        return Verdict("refuse", "; ".join(said for option, _wish, said in facts if option in obstacles), obstacles)
    risks = [said for _option, _wish, said in facts]
    if pod.ephemeral_volumes:
        risks.append(f"data in ephemeral volume {', '.join(pod.ephemeral_volumes)}")
    if pod.host_paths:
        risks.append(f"data in hostPath {', '.join(pod.host_paths)} stays on this node")
    return Verdict("evict", "", risks=tuple(risks), order=order)


def refusal(refused: Sequence[tuple[Pod, Verdict]]) -> str:
    """Why the drain may not begin, one clause per cause, each with its option."""
    causes = {
        "daemonsets": "belong to a DaemonSet (option daemonsets=ignore leaves them where they are)",
        "unmanaged": "have no controller that would bring them back (option unmanaged=delete lets them go for good)",
        "emptydir": "keep data in an emptyDir volume (option emptydir=delete lets that data go)",
        "budgets": "are matched by more than one PodDisruptionBudget, which the eviction API refuses "
        "(make each pod match one budget only)",
    }
    clauses = []
    for option, cause in causes.items():
        pods = [(pod, verdict) for pod, verdict in refused if option in verdict.obstacles]
        if pods:
            names = [f"{pod} ({verdict.reason})" if option == "budgets" else str(pod) for pod, verdict in pods]
            clauses.append(f"{', '.join(names)} {cause}")
    return "; ".join(clauses)


# --- the plan of a drain, for check mode and for the start of a real one ----------------------------------------


@dataclass
class Preview:
    """Who would go when, by the numbers of this moment."""

    waves: list[list[str]]
    never: list[dict[str, Any]]

    def data(self) -> dict[str, Any]:
        """For a module's result."""
        return {"waves": self.waves, "never": self.never}


def preview(
    pods: Sequence[Pod], budgets: Sequence[Budget], held: Iterable[str], orders: Mapping[str, int] | None = None
) -> Preview:
    """Sort pods into waves: at once, when a budget has room again, and not at all as things stand.

    :param held: UIDs that wait for another replica.
    :param orders: by UID, the order that a rule gives; 0 where none does.
    """
    orders = orders or {}
    held = set(held)
    waves: list[list[str]] = []
    stuck: dict[str, list[str]] = {}
    behind: list[str] = []
    numbers = {budget.key: budget for budget in budgets}
    for order in sorted({orders.get(pod.uid, 0) for pod in pods}):
        if stuck:
            behind.extend(str(pod) for pod in pods if orders.get(pod.uid, 0) == order)
            continue
        first = len(waves)
        taken: dict[str, int] = {}
        for pod in pods:
            if orders.get(pod.uid, 0) != order:
                continue
            guard = next((b for b in matching(pod, budgets) if not bypasses(pod, b)), None)
            if guard is None:
                wave = 1 if pod.uid in held else 0
            elif guard.allowed <= 0:
                stuck.setdefault(guard.key, []).append(str(pod))
                continue
            else:
                wave = taken.get(guard.key, 0) // guard.allowed
                taken[guard.key] = taken.get(guard.key, 0) + 1
            while len(waves) <= first + wave:
                waves.append([])
            waves[first + wave].append(str(pod))
        waves = [wave for wave in waves if wave]
    never = [{**numbers[key].data(names), "reason": str(numbers[key])} for key, names in stuck.items()]
    if behind:
        never.append({"pods": behind, "reason": "their turn comes after pods that cannot go"})
    return Preview(waves, never)
