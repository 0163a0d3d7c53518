# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The pods of one node that is emptied: who is there, who goes, who is next, and when nobody is left."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._budget import too_many_budgets
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain import Verdict, classify
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_cluster import Cluster
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_record import (
    ASKING,
    COMPLETING,
    FAILED,
    LEAVING,
    LEFT,
    WAITING,
    Record,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod, read_pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._volumes import list_local_claims, local_risk
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_LOOK_EVERY = 1.0
# While the last ones end, the fewer are left, the less a look costs and the more often it is made.
_LOOK_EVERY_PER_POD, _LOOK_AT_MOST_EVERY, _STILL_MOVING = 0.05, 0.1, 5.0
# A pod that the scheduler had placed just before the cordon shows up within this time.
_LATE_ARRIVALS = 1.0
# A scheduler that is far behind may put pods here for so long; who comes later comes past it.
_SCHEDULER_LAG = 10.0


class NodePods:
    """One LIST tells everything, once a second, and more often when the last few are ending.

    patience: seconds after which a terminating pod is not waited for any longer; None waits.
    """

    def __init__(self, node: str, cluster: Cluster) -> None:
        self.node = node
        self.cluster = cluster
        self.records: dict[str, Record] = {}
        self.skipped: dict[str, tuple[Pod, Verdict]] = {}
        self.refused: list[tuple[Pod, Verdict]] = []
        self.warnings: list[str] = []
        self.patience: Optional[float] = cluster.options.skip_terminating_older_than
        self._cordoned_at: Optional[float] = None
        self._last_look: Optional[float] = None
        self._last_change = 0.0
        self._returning = False

    @property
    def left(self) -> list[Record]:
        """Those that are still waited for."""
        return [record for record in self.records.values() if not record.over]

    @property
    def waiting(self) -> list[Record]:
        """Those that still have to be asked to leave."""
        return [record for record in self.records.values() if record.state == WAITING]

    @property
    def empty(self) -> bool:
        """Whether a LIST that is late enough showed nobody left to wait for."""
        return not self.left and self._looked_after(_LATE_ARRIVALS, self._quiet_since)

    @property
    def _quiet_since(self) -> Optional[float]:
        """Since when no new pod comes: since the cordon, or, where some come all the same, since the last one went."""
        return self._last_change if self._returning else self._cordoned_at

    def _looked_after(self, seconds: float, moment: Optional[float]) -> bool:
        """Whether the last look was so long after that."""
        if self._last_look is None:
            return False
        return moment is None or self._last_look - moment >= seconds

    def askable(self, now: float) -> list[Record]:
        """Who may be asked to leave, as far as the order goes and after a failed try."""
        first = min((record.order for record in self.left), default=0)
        return [record for record in self.waiting if record.order == first and now >= record.not_before]

    # --- looking ---

    def expire(self, cordoned_at: Optional[float] = None) -> None:
        """What was seen is too old to act on; where new pods began to stay away, the last of them come late."""
        self._last_look = None
        self._cordoned_at = cordoned_at or self._cordoned_at

    def due_in(self, now: float) -> float:
        """Seconds until the next look."""
        if self._last_look is None:
            return 0.0
        left = self.left
        if not left and self._quiet_since is not None:
            return max(self._last_look, self._quiet_since) + _LATE_ARRIVALS - now
        every = _LOOK_EVERY
        if now - self._last_change < _STILL_MOVING and all(record.state == LEAVING for record in left):
            every = min(every, max(_LOOK_AT_MOST_EVERY, len(left) * _LOOK_EVERY_PER_POD))
        return self._last_look + every - now

    def look(self, deadline: Deadline) -> None:
        """See who is there."""
        query = {"fieldSelector": f"spec.nodeName={self.node}"}
        if self.cluster.options.pod_selector:
            query["labelSelector"] = self.cluster.options.pod_selector
        asked = time.monotonic()
        listed = [read_pod(pod) for pod in self.cluster.api.list("/api/v1/pods", deadline, **query)]
        new = [pod for pod in listed if pod.uid not in self.records and pod.uid not in self.skipped]
        self.cluster.know_daemonsets_of(new, deadline)
        self._take(listed, new, asked)

    def staying(self, deadline: Deadline) -> list[Pod]:
        """Those that are not waited for and still use something of the node."""
        here = [pod for pod, _verdict in self.skipped.values()]
        here.extend(record.pod for record in self.records.values() if record.state == LEFT)
        if self.cluster.options.pod_selector:
            found = self.cluster.api.list("/api/v1/pods", deadline, fieldSelector=f"spec.nodeName={self.node}")
            here = [read_pod(pod) for pod in found]
        return [pod for pod in here if not pod.finished]

    def warn_of_local_volumes(self, deadline: Deadline) -> None:
        """Name those whose data is on a disk of this node."""
        local = list_local_claims(self.cluster.api, [record.pod for record in self.waiting], deadline)
        for record in self.waiting:
            risk = local_risk(record.pod, local)
            if risk:
                record.risks.append(risk)

    def _take(self, listed: Iterable[Pod], new: Iterable[Pod], asked: float) -> None:
        now = time.monotonic()
        unscheduled = self._looked_after(_SCHEDULER_LAG, self._cordoned_at)
        self._last_look = asked
        here = {pod.uid: pod for pod in listed}
        for uid, record in self.records.items():
            if record.over or record.state == FAILED:
                continue
            if uid in here:
                record.seen(here[uid], now)
                self._lose_patience(record, now)
            elif record.state != ASKING:  # whose doing it is, the answer to our request tells
                record.gone(now)
                self._last_change = now
        self.refused = []
        for pod in new:
            self._receive(pod, now, unscheduled)

    def _receive(self, pod: Pod, now: float, unscheduled: bool) -> None:
        verdict = self._verdict(pod, unscheduled)
        if verdict.action == "refuse":
            self.refused.append((pod, verdict))
        elif verdict.action == "skip":
            self.skipped[pod.uid] = (pod, verdict)
        else:
            state = {"wait": LEAVING, "complete": COMPLETING}.get(verdict.action, WAITING)
            record = Record(pod, now, list(verdict.risks), verdict.order, state, reason=verdict.reason)
            record.by_delete = self.cluster.options.delete
            # Its controller may make the next one only when this one is gone.
            self._returning |= self._returns(pod)
            self.records[pod.uid] = record
            self._lose_patience(record, now)

    def _verdict(self, pod: Pod, unscheduled: bool) -> Verdict:
        verdict = classify(pod, self.cluster.daemonsets, self.cluster.wishes)
        if verdict.action != "evict":
            return verdict
        guards = too_many_budgets(pod, self.cluster.budgets.of(pod))
        if guards and not self.cluster.options.delete:
            return Verdict("refuse", " and ".join(guard.key for guard in guards), ("budgets",))
        return self._came_back(pod, unscheduled) or verdict

    def _came_back(self, pod: Pod, unscheduled: bool) -> Optional[Verdict]:
        """Somebody whom an eviction does not move: asked again, it would only come again."""
        if not (pod.ignores_cordon or unscheduled) or not self._returns(pod):
            return None
        why = "tolerates the cordon" if pod.ignores_cordon else "its controller puts it here past the scheduler"
        if not pod.of_daemonset:
            self.warnings.append(f"{pod} runs on {self.node} again after an eviction ({why}); it was left there.")
        return Verdict("skip", f"came back: {why}")

    def _returns(self, pod: Pod) -> bool:
        """Whether another pod of its controller was asked to leave before."""
        asked = (record.pod.controller for record in self.records.values() if record.attempts)
        return pod.controller is not None and pod.controller in asked

    def _lose_patience(self, record: Record, now: float) -> None:
        """A terminating pod is not waited for for ever, where the person said so."""
        if record.state != LEAVING or record.pod.terminating is None or self.patience is None:
            return
        if _age(record, now, self.cluster.api.now) > self.patience:
            record.state, record.action, record.reason = LEFT, "left_terminating", "terminating, not waited for"


def _age(record: Record, now: float, clock: float) -> float:
    """For how many seconds a pod has been terminating, at that time of the API server's clock."""
    if record.asked_by_us:
        return now - record.began
    return max(clock - epoch(record.pod.terminating or ""), now - record.began)
