# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Asking pods to leave, several at once, and understanding what is answered."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_record import ASKING, Record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import (
    Answer,
    Api,
    Unreachable,
    passes_by_itself,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod

ACCEPTED = "accepted"
NOT_THERE = "not there"
BUDGET = "budget"
LATER = "later"
NEVER = "never"
LOST = "lost"

_SLOWEST_RETRY = 5.0
_LONGEST_REQUEST = 30.0
_NEVER = (400, 405, 422)


class Outcome(NamedTuple):
    """What became of one request: its kind, seconds until the next try, and what was said."""

    kind: str
    pause: float = 0.0
    said: str = ""


def understand(answer: Answer, attempts: int, starting_up: bool) -> Outcome:
    """What an answer means for the pod.

    :param attempts: how often it was asked for.
    :param starting_up: the server's refusals may be those of one that does not know its roles yet.
    """
    if answer.status < 300:
        return Outcome(ACCEPTED)
    said = f"{answer.status} {answer.message}"
    if answer.status == 404:
        return Outcome(NOT_THERE, said=said)
    pause = min(0.5 * 2 ** min(attempts - 1, 5), _SLOWEST_RETRY)
    causes = {cause.get("reason") for cause in answer.causes}
    if answer.status == 429 and "DisruptionBudget" in causes:
        # The budget's own room decides when to try again; this only stops a server that contradicts itself.
        return Outcome(BUDGET, min(0.25 * 2 ** min(attempts - 1, 5), _SLOWEST_RETRY) if attempts > 3 else 0.0, said)
    if _hopeless(answer, causes) and not starting_up:
        return Outcome(NEVER, said=said)
    if answer.retry_after is not None and passes_by_itself(answer):
        pause = max(pause, min(answer.retry_after, 2 * _SLOWEST_RETRY))
    return Outcome(LATER, pause, said)


def _hopeless(answer: Answer, causes: Collection[Any]) -> bool:
    """An answer that no waiting changes: no right to it, two budgets on one pod, a request that is none."""
    if answer.status == 500:
        return "more than one PodDisruptionBudget" in answer.message
    if "admission webhook" in answer.message:
        return False
    if answer.status == 403:
        return "NamespaceTerminating" not in causes and 'resource "pods' in answer.message
    return answer.status in _NEVER


class Requests:
    """The requests under way."""

    def __init__(self, api: Api, at_once: int) -> None:
        self.api = api
        self.free = at_once
        self._pool = ThreadPoolExecutor(max_workers=at_once)
        self._flying: dict[Future[Answer], Record] = {}

    def close(self) -> None:
        """Send nothing any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def records(self) -> list[Record]:
        """Whose answer is awaited."""
        return list(self._flying.values())

    def send(self, record: Record, grace_period: Optional[int], time_left: float) -> None:
        """Ask for one pod; its answer comes with ``answers``."""
        record.state = ASKING
        record.attempts += 1
        self.free -= 1
        timeout = max(1.0, min(_LONGEST_REQUEST, time_left))
        ask = self._delete if record.by_delete else self._evict
        self._flying[self._pool.submit(ask, record.pod, timeout, grace_period)] = record

    def answers(self, seconds: float) -> list[tuple[Record, Outcome]]:
        """What was answered, as soon as anything is, at the latest after these seconds."""
        if not self._flying:
            time.sleep(seconds)
            return []
        done, _running = wait(self._flying, timeout=seconds, return_when=FIRST_COMPLETED)
        return [self._take(future) for future in done]

    def settle(self, records: Collection[Record], seconds: float) -> list[tuple[Record, Outcome]]:
        """Take back what was not sent yet, and wait for the answers to what was."""
        uids = {record.pod.uid for record in records}
        mine = {future for future, record in self._flying.items() if record.pod.uid in uids}
        for future in mine:
            future.cancel()
        wait(mine, timeout=seconds)
        return [self._take(future) for future in mine]

    def _take(self, future: Future[Answer]) -> tuple[Record, Outcome]:
        record = self._flying.pop(future)
        self.free += 1
        if future.cancelled():
            record.attempts -= 1
            return record, Outcome(LATER)
        if not future.done():
            return record, Outcome(LOST, said="no answer yet")
        pause = min(0.5 * 2 ** min(record.attempts - 1, 5), _SLOWEST_RETRY)
        try:
            answer = future.result()
        except Unreachable as error:
            # A kept connection that the server closed is no news: the first second try goes out at once.
            return record, Outcome(LOST, pause if record.attempts > 1 else 0.0, str(error))
        except CareError as error:
            # It was never sent: one of several API servers shows another certificate, for instance.
            return record, Outcome(NEVER, said=error.message)
        return record, understand(answer, record.attempts, self.api.starting_up(answer))

    def _evict(self, pod: Pod, timeout: float, grace_period: Optional[int]) -> Answer:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": self._options(pod, grace_period),
        }
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
        return self.api.ask("create", path, body=body, timeout=timeout)

    def _delete(self, pod: Pod, timeout: float, grace_period: Optional[int]) -> Answer:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **self._options(pod, grace_period)}
        return self.api.ask("delete", f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", body=body, timeout=timeout)

    @staticmethod
    def _options(pod: Pod, grace_period: Optional[int]) -> dict[str, Any]:
        options: dict[str, Any] = {"preconditions": {"uid": pod.uid}}
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        return options
