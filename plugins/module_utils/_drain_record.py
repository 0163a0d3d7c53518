# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The record that a drain keeps of each pod, and what it says about those that are left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._budget import Budget
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain import Verdict
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod

WAITING = "waiting"  # still has to be asked to leave
ASKING = "asking"  # a request is under way
LEAVING = "leaving"  # asked, not yet gone
COMPLETING = "completing"  # works until it ends by itself
GONE = "gone"
FAILED = "failed"  # no asking again would help
LEFT = "left"  # terminating, and not waited for any longer

_OVER = (GONE, LEFT)
_NAMES_IN_A_CLAUSE = 5


@dataclass
class Record:
    """One pod on its way."""

    pod: Pod
    began: float
    risks: list[str] = field(default_factory=list)
    order: int = 0
    state: str = WAITING
    action: str = ""
    reason: str = ""
    budget: Optional[str] = None
    by_delete: bool = False
    attempts: int = 0
    asked_at: Optional[float] = None
    answer_lost: bool = False
    not_before: float = 0.0
    judged: float = 0.0
    blocked_since: Optional[float] = None
    seconds: Optional[float] = None
    error: Optional[str] = None

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.state in _OVER

    @property
    def asked_by_us(self) -> bool:
        """Whether a request of ours made the pod leave."""
        return self.attempts > 0 and self.action in ("evicting", "deleting", "evicted", "deleted")

    def accepted(self, now: float) -> None:
        """The API server took the request."""
        self.state, self.began, self.asked_at = LEAVING, now, now
        self.action = "deleting" if self.by_delete else "evicting"
        self.reason = "asked to leave"

    def gone(self, now: float) -> None:
        """A LIST did not show it any more."""
        if self.action in ("evicting", "deleting") or self.answer_lost:
            self.action = "deleted" if self.by_delete else "evicted"
        else:
            self.action = "waited" if self.pod.terminating else "already_gone"
        self.state, self.reason = GONE, ""
        self.seconds = round(now - self.began, 1)

    def seen(self, pod: Pod, now: float) -> None:
        """A LIST showed it."""
        self.pod = pod
        if self.state not in (WAITING, COMPLETING):
            return
        if pod.terminating:
            # Somebody else's deletion, or a request of ours whose answer was lost.
            self.state = LEAVING
            if self.answer_lost:
                self.action = "deleting" if self.by_delete else "evicting"
        elif pod.finished:
            self.state, self.action, self.reason = GONE, "finished", ""
            self.seconds = round(now - self.began, 1)

    def data(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            "namespace": self.pod.namespace,
            "name": self.pod.name,
            "uid": self.pod.uid,
            "controller": str(self.pod.controller) if self.pod.controller else None,
            "action": self.action or "remaining",
            "reason": self.reason,
            "risks": self.risks,
            "budget": self.budget,
            "attempts": self.attempts,
            "seconds": self.seconds,
            "error": self.error,
        }


def skipped(pod: Pod, verdict: Verdict) -> Record:
    """The record of a pod that stays where it is."""
    return Record(pod, 0.0, state=GONE, action="skipped", reason=verdict.reason)


def would(record: Record) -> str:
    """The action of check mode."""
    return {WAITING: "would_evict", GONE: record.action, LEFT: record.action}.get(record.state, "would_wait")


# --- words ------------------------------------------------------------------------------------------------------


def why(record: Record, node_ready: bool) -> str:
    """What keeps one pod, in words."""
    pod = record.pod
    if record.state != LEAVING:
        return record.reason or "not yet asked to leave"
    told = [f"terminating since {pod.terminating}" if pod.terminating else record.reason or "asked to leave"]
    if pod.finalizers:
        told.append(f"kept by finalizer {', '.join(pod.finalizers)}")
    if not node_ready:
        told.append("its node is not Ready")
    return ", ".join(told)


def why_all(left: Iterable[Record], node_ready: bool) -> str:
    """The same for a message: one clause per cause, with a few names; the result has them all."""
    causes: dict[str, list[Record]] = {}
    for record in left:
        since = record.pod.terminating or ""
        cause = why(record, node_ready)
        causes.setdefault(cause.replace(since, "T") if since else cause, []).append(record)
    clauses = []
    for cause, records in causes.items():
        names = ", ".join(str(record.pod) for record in records[:_NAMES_IN_A_CLAUSE])
        more = len(records) - _NAMES_IN_A_CLAUSE
        first = min((r.pod.terminating for r in records if r.pod.terminating), default="")
        clauses.append(
            f"{names}{f' and {more} more' if more > 0 else ''} ({cause.replace('since T', f'since {first}')})"
        )
    return "; ".join(clauses)


def count_actions(pods: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How many pods met which end."""
    counts: dict[str, int] = {}
    for entry in pods:
        counts[entry["action"]] = counts.get(entry["action"], 0) + 1
    return counts


def blocked(held: Sequence[tuple[Record, Budget]]) -> list[dict[str, Any]]:
    """The budgets that hold pods back, with their numbers."""
    by_budget: dict[str, list[str]] = {}
    budgets = {budget.key: budget for _record, budget in held}
    for record, budget in held:
        by_budget.setdefault(budget.key, []).append(str(record.pod))
    return [budgets[key].data(pods) for key, pods in sorted(by_budget.items())]
