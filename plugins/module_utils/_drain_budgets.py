# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The room that budgets have at the moment, shared by all nodes that are drained at once."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._budget import (
    Budget,
    bypasses,
    matching,
    read_budget,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_record import WAITING, Record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_EVERYTHING = "/apis/policy/v1/poddisruptionbudgets"
# While pods leave, room comes back every other second; later there is no hurry.
_LOOK_EVERY = 0.25
_QUIET, _LOOK_EVERY_WHEN_QUIET = 10.0, 1.0
_STUCK, _LOOK_EVERY_WHEN_STUCK = 60.0, 2.0


class Budgets:
    """The cluster's budgets: numbers as last read, and the room that is left of them."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._by_namespace: dict[str, dict[str, Budget]] = {}
        self._room: dict[str, int] = {}
        self._opened: dict[str, float] = {}
        self._last_look = 0.0
        self._began = self._last_accepted = time.monotonic()

    def look_at_all(self, deadline: Deadline) -> None:
        """Read them all, at the start."""
        self._take(self.api.list(_EVERYTHING, deadline))

    def of(self, pod: Pod) -> list[Budget]:
        """The budgets that match a pod."""
        return matching(pod, self._by_namespace.get(pod.namespace, {}).values())

    def guard(self, record: Record) -> Optional[Budget]:
        """The budget that has a say in this pod's leaving."""
        if record.by_delete:
            return None
        return next((budget for budget in self.of(record.pod) if not bypasses(record.pod, budget)), None)

    @property
    def all(self) -> list[Budget]:
        """Every budget."""
        return [budget for found in self._by_namespace.values() for budget in found.values()]

    def has_room(self, budget: Budget) -> bool:
        """Whether one more pod may be asked for."""
        return self._room.get(budget.key, 0) > 0

    def use(self, budget: Budget) -> None:
        """A pod is asked for."""
        self._room[budget.key] -= 1

    def refused(self, key: Optional[str]) -> None:
        """The server sees no room; a budget that we do not know was made meanwhile and is looked for at once."""
        if key is None:
            self._last_look = 0.0
        else:
            self._room[key] = 0

    def accepted(self, key: Optional[str], now: float) -> None:
        """A pod left."""
        self._last_accepted = now
        if key is not None:
            self._opened[key] = now

    def held_for(self, record: Record, now: float) -> float:
        """How long the pod's budget has let nobody go."""
        if record.blocked_since is None or record.budget is None:
            return 0.0
        return now - max(record.blocked_since, self._opened.get(record.budget, 0.0))

    def due_in(self, now: float) -> float:
        """Seconds until the next look makes sense, while anybody is held back."""
        quiet = now - max(self._last_accepted, self._began)
        if quiet < _QUIET:
            every = _LOOK_EVERY
        else:
            every = _LOOK_EVERY_WHEN_QUIET if quiet < _STUCK else _LOOK_EVERY_WHEN_STUCK
        return self._last_look + every - now

    def look(self, records: Iterable[Record], asking: Collection[Record], deadline: Deadline) -> None:
        """Read the budgets again that hold pods back; not those under which a request is under way."""
        if self.due_in(time.monotonic()) > 0:
            return
        busy = {record.budget for record in asking}
        namespaces = {record.pod.namespace for record in records if self._wants_news(record, busy)}
        for namespace in sorted(namespaces):
            known = self._by_namespace.get(namespace, {})
            self._by_namespace[namespace] = {key: budget for key, budget in known.items() if key in busy}
            found = self.api.list(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets", deadline)
            self._take(b for b in found if f"{namespace}/{b['metadata']['name']}" not in busy)
        self._last_look = time.monotonic()

    def _wants_news(self, record: Record, busy: Collection[Optional[str]]) -> bool:
        if record.state != WAITING:
            return False
        guard = self.guard(record)
        if guard is not None:
            return guard.key not in busy and not self.has_room(guard) and record.blocked_since is not None
        # A budget that was made meanwhile refused it.
        return record.error is not None and record.error.startswith("429")

    def _take(self, found: Iterable[dict[str, Any]]) -> None:
        for item in found:
            budget = read_budget(item)
            self._by_namespace.setdefault(budget.namespace, {})[budget.key] = budget
            self._room[budget.key] = budget.allowed
