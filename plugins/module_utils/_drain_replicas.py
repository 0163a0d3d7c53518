# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Holding the last Ready replica of a controller until another one serves, also against a neighbour's drain."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._allowed import list_if_allowed
from ansible_collections.clustercare.kubeadm.plugins.module_utils._capacity import places
from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import read_cordon
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_record import WAITING, Record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod, read_pod, siblings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._replicas import (
    Ready,
    alone,
    replicated,
    selector_for,
    serving,
    sort_ready,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_LOOK_EVERY = 1.0
# From an endpoint in its slice to every node's kube-proxy sending requests there.
_PROXY_LAG = 2.0
# A neighbour whose drain began at the same moment may have decided before it could see ours; after this time
# what it let go is seen to be leaving. Whoever has the oldest replica yields last, so never both do; it yields at all
# because the neighbour may only be cordoned, or have nobody to let go.
_SETTLE, _SETTLE_AS_OLDEST = 3.0, 10.0
_JUDGED_FOR = 1.0
_NAMESPACES_ONE_BY_ONE = 10
_SCALED = {"ReplicaSet": "replicasets", "StatefulSet": "statefulsets"}
# Whoever makes a pod writes its owner's name, and nobody checks it.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass
class _Hold:
    record: Record
    since: float
    served_since: Optional[float] = None
    neighbour_since: Optional[float] = None


class LastReplicas:
    """The replicas that have to stay for now.

    :param nodes: the nodes of this drain.
    :param patience: seconds after which a held replica goes all the same.
    """

    def __init__(self, api: Api, nodes: Sequence[str], patience: float) -> None:
        self.api = api
        self.nodes = frozenset(nodes)
        self.patience = patience
        self.warnings: list[str] = []
        self._holds: dict[tuple[str, str], _Hold] = {}
        self._last_look = 0.0

    @property
    def held(self) -> set[str]:
        """UIDs that may not be asked to leave."""
        return {hold.record.pod.uid for hold in self._holds.values()}

    def due_in(self, now: float) -> Optional[float]:
        """Seconds until the next look, if anything is held."""
        return self._last_look + _LOOK_EVERY - now if self._holds else None

    def judge(self, candidates: Iterable[Record], records: Sequence[Record], deadline: Deadline) -> None:
        """Find those among pods about to be asked whose controller would be left without a Ready one.

        :param candidates: pods without a budget.
        :param records: all pods of the nodes that are being emptied by this process.
        """
        now = time.monotonic()
        groups: dict[tuple[str, str], Record] = {}
        for record in candidates:
            pod = record.pod
            if now - record.judged >= _JUDGED_FOR and pod.ready and replicated(pod) and pod.controller:
                groups.setdefault((pod.namespace, pod.controller.uid), record)
                record.judged = now
        if not groups:
            return
        everywhere = self._list({record.pod.namespace for record in groups.values()}, None, deadline)
        nodes = self._nodes(deadline)
        emptied = self._emptied_by_others(nodes)
        by_uid = {record.pod.uid: record for record in records}
        for family, record in groups.items():
            if family in self._holds:
                continue
            ready = self._sort(record.pod, everywhere, records, emptied)
            last = ready.last
            if last is None:
                continue
            held = by_uid[last.uid]
            if self._single(last, [*everywhere, *(r.pod for r in records)], bool(emptied), deadline):
                self._risk(held, f"the only replica of {last.controller}")
            elif nodes is not None and not places(last, nodes, self.nodes | emptied):
                self._risk(held, f"the last Ready replica of {last.controller}, and no other node can take one")
            elif self.patience <= 0:
                self._risk(held, f"the last Ready replica of {last.controller}")
            else:
                held.reason = f"the last Ready replica of {last.controller} until another one serves"
                self._holds[family] = _Hold(held, now)

    def name_singles(self, guarded: Iterable[Record], records: Iterable[Record], deadline: Deadline) -> None:
        """Name the single replicas among pods that a budget guards; one with a sibling here is none, without a look."""
        families = Counter((r.pod.namespace, r.pod.controller) for r in records if r.state == WAITING)
        singles = [r for r in guarded if families[r.pod.namespace, r.pod.controller] == 1]
        asked = [r for r in singles if r.pod.ready and replicated(r.pod)]
        everywhere = self._list({record.pod.namespace for record in asked}, None, deadline)
        for record in asked:
            if self._single(record.pod, everywhere, False, deadline):
                self._risk(record, f"the only replica of {record.pod.controller}")

    def look(self, records: Sequence[Record], deadline: Deadline) -> None:
        """Release those whose replacement serves, or whose time is over."""
        now = time.monotonic()
        if not self._holds or now - self._last_look < _LOOK_EVERY:
            return
        emptied = self._emptied_by_others(self._nodes(deadline))
        for family, hold in list(self._holds.items()):
            if hold.record.state != WAITING or self._released(hold, records, emptied, deadline):
                hold.record.judged = max(hold.record.judged, now)
                del self._holds[family]
        self._last_look = time.monotonic()

    def drop(self, records: Iterable[Record]) -> None:
        """Forget the pods of a node whose drain has ended."""
        uids = {record.pod.uid for record in records}
        self._holds = {key: hold for key, hold in self._holds.items() if hold.record.pod.uid not in uids}

    def _released(self, hold: _Hold, records: Sequence[Record], emptied: frozenset[str], deadline: Deadline) -> bool:
        now, pod = time.monotonic(), hold.record.pod
        everywhere = self._list({pod.namespace}, selector_for(pod), deadline)
        ready = self._sort(pod, everywhere, records, emptied)
        others = {other.uid for other in ready.staying}
        if others and self._serves(pod, others, deadline):
            hold.served_since = hold.served_since or now
            return now - hold.served_since >= _PROXY_LAG
        hold.served_since = None
        hold.neighbour_since = (hold.neighbour_since or now) if ready.neighbours else None
        settled = _SETTLE if ready.neighbour_keeps(pod) else _SETTLE_AS_OLDEST
        if hold.neighbour_since is not None and now - hold.neighbour_since >= settled:
            return True
        if now - hold.since < self.patience:
            return False
        self._risk(
            hold.record,
            f"the last Ready replica of {pod.controller}; no other was Ready within "
            f"{self.patience:g} s (option last_replica_wait)",
        )
        self.warnings.append(f"{pod} was evicted as {hold.record.risks[-1]}.")
        hold.record.judged = float("inf")  # once is enough
        return True

    def _single(self, last: Pod, pods: Sequence[Pod], neighbours: bool, deadline: Deadline) -> bool:
        """Whether its controller wants no other pod; asked where another is leaving or a neighbour may have let it."""
        if any(pod.uid != last.uid for pod in siblings(last, pods)):
            return False
        lonely = alone(last, pods)
        kind = _SCALED.get(last.controller.kind) if last.controller else None
        if kind is None or last.controller is None or (lonely and not neighbours):
            return lonely
        if not _NAME.fullmatch(last.controller.name):
            return lonely
        path = f"/apis/apps/v1/namespaces/{last.namespace}/{kind}/{last.controller.name}"
        answer = self.api.call("get", path, deadline, allow=(403, 404))
        return lonely if answer.status >= 400 else int((answer.body.get("spec") or {}).get("replicas", 1)) <= 1

    def _nodes(self, deadline: Deadline) -> Optional[list[dict[str, Any]]]:
        nodes = list_if_allowed(self.api, "/api/v1/nodes", deadline)
        if nodes is None:
            self._warn(
                "Nodes may not be listed: it was not looked at whether another node can take a last replica, "
                "or is being drained too."
            )
        return nodes

    def _emptied_by_others(self, nodes: Optional[list[dict[str, Any]]]) -> frozenset[str]:
        """Those that another drain of this collection empties."""
        marked = {n["metadata"]["name"] for n in nodes or [] if read_cordon(n).owner is not None}
        return frozenset(marked - self.nodes)

    @staticmethod
    def _sort(one: Pod, everywhere: Iterable[Pod], records: Iterable[Record], emptied: frozenset[str]) -> Ready:
        waiting = {record.pod.uid for record in records if record.state == WAITING}
        going = {record.pod.uid for record in records} - waiting
        return sort_ready(one, everywhere, waiting, going, emptied)

    def _list(self, namespaces: set[str], selector: Optional[str], deadline: Deadline) -> list[Pod]:
        query = {"labelSelector": selector} if selector else {}
        if len(namespaces) > _NAMESPACES_ONE_BY_ONE:
            return [read_pod(pod) for pod in self.api.list("/api/v1/pods", deadline, **query)]
        return [
            read_pod(pod)
            for namespace in sorted(namespaces)
            for pod in self.api.list(f"/api/v1/namespaces/{namespace}/pods", deadline, **query)
        ]

    def _serves(self, pod: Pod, others: set[str], deadline: Deadline) -> bool:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{pod.namespace}/endpointslices"
        slices = list_if_allowed(self.api, path, deadline)
        if slices is None:
            self._warn("The endpointslices may not be listed: a Ready replica was taken for one that gets requests.")
        return slices is None or serving(slices, pod.uid, others)

    def _warn(self, said: str) -> None:
        if said not in self.warnings:
            self.warnings.append(said)

    @staticmethod
    def _risk(record: Record, what: str) -> None:
        if what not in record.risks:
            record.risks.append(what)
