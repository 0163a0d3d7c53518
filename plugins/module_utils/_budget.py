# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""PodDisruptionBudgets: their numbers, and which pods they guard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._selector import selects


@dataclass(frozen=True)
class Budget:
    """A PodDisruptionBudget and its numbers."""

    namespace: str
    name: str
    allowed: int
    healthy: int
    desired: int
    expected: int
    always_allow: bool
    current: bool
    selector: Mapping[str, Any] | None = field(compare=False, default=None)

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def data(self, pods: Iterable[str]) -> dict[str, Any]:
        """For a module's result."""
        return {
            "budget": self.key,
            "allowed": self.allowed,
            "current": self.healthy,
            "desired": self.desired,
            "expected": self.expected,
            "pods": sorted(pods),
        }

    def __str__(self) -> str:
        if not self.current:
            return f"budget {self.key} (its numbers are not yet computed)"
        return f"budget {self.key} (needs {self.desired} healthy, has {self.healthy}, allows {self.allowed})"


def read_budget(found: Mapping[str, Any]) -> Budget:
    """A PodDisruptionBudget as the API tells it."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    current = (status.get("observedGeneration") or 0) >= (metadata.get("generation") or 0)
    return Budget(
        namespace=metadata["namespace"],
        name=metadata["name"],
        allowed=(status.get("disruptionsAllowed") or 0) if current else 0,
        healthy=status.get("currentHealthy") or 0,
        desired=status.get("desiredHealthy") or 0,
        expected=status.get("expectedPods") or 0,
        always_allow=spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow",
        current=current,
        selector=spec.get("selector"),
    )


def matching(pod: Pod, budgets: Iterable[Budget]) -> list[Budget]:
    """The budgets that guard a pod."""
    return [b for b in budgets if b.namespace == pod.namespace and selects(b.selector, pod.labels)]


def bypasses(pod: Pod, budget: Budget) -> bool:
    """Whether the eviction API lets a pod go without asking its budget."""
    if _never_asked_about(pod):
        return True
    return not pod.ready and (budget.always_allow or budget.healthy >= budget.desired > 0)


def too_many_budgets(pod: Pod, budgets: Iterable[Budget]) -> list[Budget]:
    """The budgets of a pod that can never be evicted because there is more than one; else nothing."""
    guards = matching(pod, budgets)
    return guards if len(guards) > 1 and not _never_asked_about(pod) else []


def _never_asked_about(pod: Pod) -> bool:
    return pod.phase in ("Pending", "Succeeded", "Failed") or pod.terminating is not None
