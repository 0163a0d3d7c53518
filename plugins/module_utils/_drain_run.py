# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Draining nodes: the loop that looks, lets pods go as far as budgets and replicas allow, and ends in order."""

from __future__ import annotations

import time
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._allowed import list_if_allowed
from ansible_collections.clustercare.kubeadm.plugins.module_utils._budget import Budget
from ansible_collections.clustercare.kubeadm.plugins.module_utils._capacity import without_place
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain import preview
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_cluster import Cluster
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_node import NodeDrain
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_options import Options
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_record import (
    FAILED,
    LEAVING,
    WAITING,
    Record,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_requests import (
    ACCEPTED,
    BUDGET,
    LOST,
    NEVER,
    NOT_THERE,
    Outcome,
    Requests,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_result import failure, result
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._interrupt import Interrupted, interruptible
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._lock import renew
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import read_pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_SHORTEST_NAP = 0.02
# For the answers to requests that are under way when a drain ends early.
_LAST_ANSWERS = 5.0


def drained(api: Api, options: Options) -> dict[str, Any]:
    """State ``drained``.

    :raises CareError: with everything that was done and what is left, also when the time is over.
    """
    run = _Run(api, options)
    error = ""
    with interruptible() as only_end:
        try:
            run.work()
        except CareError as refusal:
            error = refusal.message
            for drain in run.drains:
                drain.timed_out = drain.timed_out or (not drain.ended and bool(refusal.results.get("timed_out")))
        except Interrupted as signal:
            error = f"The drain was interrupted ({signal})"
        finally:
            only_end()
            run.end()  # after a defect of ours too: no node is left as it should not be
    failed = bool(error) or any(drain.error for drain in run.drains)
    for drain in run.drains if failed else ():
        drain.outcome = drain.outcome or "not_begun"  # in check mode; a real run's have one
    results = result(run.drains, options, api)
    if failed:
        raise CareError(failure(run.drains, options, error), **results)
    return results


class _Run:
    """One call: all its nodes."""

    def __init__(self, api: Api, options: Options) -> None:
        self.api = api
        self.options = options
        self.cluster = Cluster(api, options)
        self.drains = [NodeDrain(name, self.cluster) for name in options.names]
        self.requests = Requests(api, options.max_concurrent)

    def work(self) -> None:
        """The whole of it. What concerns one node alone is noted there; what concerns all is raised."""
        began = time.monotonic()
        deadline = Deadline(self.options.timeout, "timeout")
        self.cluster.look(deadline)
        for drain in self.drains:
            drain.prepare(deadline)
        self._check_capacity(deadline)
        for drain in self.drains:
            drain.seconds["prepare"] = round(time.monotonic() - began, 2)
        if any(drain.error for drain in self.drains):
            return
        if self.options.check:
            for drain in self.drains:
                self._plan(drain, list(drain.pods.records.values()), deadline)
        elif self._cordon_all():
            self._empty_all()

    def _check_capacity(self, deadline: Deadline) -> None:
        """Whether the other nodes have room for those that will go."""
        if self.options.capacity_check == "off" and not self.options.check:
            return
        if self.options.capacity_check == "off":
            nodes = list_if_allowed(self.api, "/api/v1/nodes", deadline)
        else:
            nodes = self.api.list("/api/v1/nodes", deadline)
        if nodes is None:
            self.drains[0].warnings.append("Nodes may not be listed: which pods would find no place is not known.")
            return
        everything = [read_pod(pod) for pod in self.api.list("/api/v1/pods", deadline)]
        leaving = [record.pod for drain in self.drains for record in drain.pods.waiting]
        on = {str(pod): pod.node for pod in leaving}
        lost = without_place(leaving, everything, nodes, self.options.names)
        for drain in self.drains:
            drain.no_place = [entry for entry in lost if on[entry["pod"]] == drain.name]
            drain.tell_of_capacity()

    # --- cordons, then node after node ---

    def _cordon_all(self) -> bool:
        deadline = Deadline(self.options.timeout, "timeout")
        cordoned = 0
        try:
            for drain in self.drains:
                drain.close(deadline)
                cordoned += 1
        except CareError as error:
            self.drains[cordoned].fail(error)
        return cordoned == len(self.drains)

    def _empty_all(self) -> None:
        queue = list(self.drains)
        active: list[NodeDrain] = []
        while queue or active:
            while queue and len(active) < self.options.max_parallel_nodes:
                self._keep_lock()
                active.append(queue.pop(0))
                active[-1].begin()
            hasty, trouble = self._look_at_what_is_shared(active)
            for drain in list(active):
                try:
                    if trouble is not None and drain is hasty:
                        raise trouble
                    over = self._step(drain)
                except CareError as error:
                    over = True
                    self._settle(drain)
                    drain.fail(error)
                    queue = []
                if over:
                    active.remove(drain)
                    self.cluster.replicas.drop(drain.pods.records.values())
                    drain.end()
            if active:
                for record, outcome in self.requests.answers(self._nap(active)):
                    self._note(record, outcome)

    def _keep_lock(self) -> None:
        """Many nodes may take longer than the lock of the run lasts; it was renewed before the first ones."""
        if any(drain.ended for drain in self.drains):
            renew(self.api, self.options.lock_run, Deadline(self.options.timeout, "timeout"))

    def _step(self, drain: NodeDrain) -> bool:
        """What is to be done on one node at this moment; returns whether it is done altogether."""
        if not drain.lock():
            return False
        drain.look()
        if not drain.plan:
            self._plan(drain, self._records(), drain.deadline)
        if drain.emptied():
            drain.done()
            return True
        self._let_go(drain)
        drain.fail_if_over()
        return False

    def _records(self) -> list[Record]:
        """All pods of the nodes that are being emptied: what is left on one that failed stays there."""
        active = [drain for drain in self.drains if drain.begun and not drain.ended]
        return [record for drain in active for record in drain.pods.records.values()]

    def _look_at_what_is_shared(self, active: list[NodeDrain]) -> tuple[NodeDrain, Optional[TimedOut]]:
        """Returns the node whose time ends first, and what that came to: for the others there is another look."""
        hasty = min(active, key=lambda drain: drain.deadline.left)
        records = self._records()
        try:
            self.cluster.budgets.look(records, self.requests.records, hasty.deadline)
            self.cluster.replicas.look(records, hasty.deadline)
        except TimedOut as error:
            return hasty, error
        return hasty, None

    def _plan(self, drain: NodeDrain, records: list[Record], deadline: Deadline) -> None:
        """By the numbers of this moment, who goes when."""
        budgets = self.cluster.budgets
        going = drain.pods.waiting
        judged = going if self.options.check else drain.pods.askable(time.monotonic())
        self.cluster.replicas.judge([r for r in judged if budgets.guard(r) is None], records, deadline)
        self.cluster.replicas.name_singles([r for r in going if budgets.guard(r) is not None], records, deadline)
        asked = [] if self.options.delete else budgets.all
        orders = {record.pod.uid: record.order for record in going}
        drain.plan = preview([r.pod for r in going], asked, self.cluster.replicas.held, orders).data()
        if self.options.check or self.options.capacity_check != "off":
            drain.plan["no_place"] = drain.no_place

    # --- letting go ---

    def _let_go(self, drain: NodeDrain) -> None:
        """Ask those to leave who may, within the budgets' room and the limit of requests at once."""
        now = time.monotonic()
        budgets, replicas = self.cluster.budgets, self.cluster.replicas
        ready = drain.pods.askable(now)
        unguarded = [record for record in ready if budgets.guard(record) is None]
        replicas.judge(unguarded, self._records(), drain.deadline)
        held = replicas.held
        for record in ready:
            if record.pod.uid in held:
                continue
            guard = budgets.guard(record)
            if guard is not None and not self._has_room(drain, record, guard, now):
                continue
            if self.requests.free <= 0:
                return
            if guard is not None:
                budgets.use(guard)
            self.requests.send(record, drain.grace_period, drain.deadline.left)

    def _has_room(self, drain: NodeDrain, record: Record, guard: Budget, now: float) -> bool:
        """Whether the pod's budget lets it go now; after ``pdb_timeout`` the person's word counts."""
        record.budget = guard.key
        if self.cluster.budgets.has_room(guard):
            return True
        record.reason = str(guard)
        record.blocked_since = record.blocked_since or now
        limit = self.options.pdb_timeout
        if limit is None or self.cluster.budgets.held_for(record, now) < limit:
            return False
        if not self.options.delete_after_pdb_timeout:
            raise CareError(
                f"Draining {drain.name} stopped, because a budget let nobody go for {limit:g} s (option pdb_timeout): "
                f"{drain.left_in_words()}."
            )
        record.by_delete = True
        record.risks.append(f"deleted past its {guard} (option on_pdb_timeout)")
        drain.warnings.append(f"{record.pod} was {record.risks[-1]}.")
        return False  # from the next look on it is one without a budget

    def _note(self, record: Record, outcome: Outcome) -> None:
        """What a request came to."""
        now = time.monotonic()
        if outcome.kind == ACCEPTED:
            record.accepted(now)
            self.cluster.budgets.accepted(None if record.by_delete else record.budget, now)
            return
        record.state = WAITING
        record.not_before = now + outcome.pause
        if outcome.kind == NOT_THERE:
            # Gone meanwhile; the next LIST proves it.
            record.state, record.reason = LEAVING, "no longer there"
            return
        if outcome.said:
            record.error = record.reason = outcome.said
        if outcome.kind == LOST:
            # If it was taken all the same, then about now.
            record.answer_lost, record.began, record.asked_at = True, now, now
        elif outcome.kind == BUDGET:
            self.cluster.budgets.refused(record.budget)
        elif outcome.kind == NEVER:
            record.state, record.action = FAILED, "failed"

    def _settle(self, drain: NodeDrain) -> None:
        for record, outcome in self.requests.settle(drain.pods.records.values(), _LAST_ANSWERS):
            self._note(record, outcome)
        drain.look_for_lost_answers(_LAST_ANSWERS)

    def _nap(self, active: list[NodeDrain]) -> float:
        """Until the next thing that is due."""
        now = time.monotonic()
        due = [drain.due_in(now) for drain in active] + [drain.deadline.left for drain in active]
        waiting = [record for record in self._records() if record.state == WAITING]
        due.extend(record.not_before - now for record in waiting if record.not_before > now)
        if any(record.blocked_since is not None for record in waiting):
            due.append(self.cluster.budgets.due_in(now))
        replicas = self.cluster.replicas.due_in(now)
        if replicas is not None:
            due.append(replicas)
        return max(_SHORTEST_NAP, min(due))

    # --- ending ---

    def end(self) -> None:
        """In whatever way it ends: nobody is asked any more, cordons are as the person wants them, locks are free."""
        for drain in self.drains:
            if not drain.ended:
                self._settle(drain)
                drain.end()
        self.requests.close()
