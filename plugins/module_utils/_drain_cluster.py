# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What all nodes of one drain share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain import Rule
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_budgets import Budgets
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_options import Options, RuleWish
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_replicas import LastReplicas
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import Pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._selector import selects
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


class Cluster:
    """The cluster beside the nodes: filled by ``look``."""

    def __init__(self, api: Api, options: Options) -> None:
        self.api = api
        self.options = options
        self.identity = api.host
        self.daemonsets: frozenset[str] = frozenset()
        self.wishes = options.wishes
        self.budgets = Budgets(api)
        self.replicas = LastReplicas(api, options.names, options.last_replica_wait)

    def look(self, deadline: Deadline) -> None:
        """What does not depend on a node."""
        self._look_at_daemonsets(deadline)
        self.budgets.look_at_all(deadline)
        self.wishes = replace(self.options.wishes, rules=self._rules(deadline))
        if not self.options.check:
            self.identity = self._identity(deadline)

    def know_daemonsets_of(self, pods: Iterable[Pod], deadline: Deadline) -> None:
        """A pod of a DaemonSet that is not known is an orphan, or the DaemonSet was made meanwhile."""
        owners = {pod.controller.uid for pod in pods if pod.of_daemonset and pod.controller}
        if owners - self.daemonsets:
            self._look_at_daemonsets(deadline)

    def _look_at_daemonsets(self, deadline: Deadline) -> None:
        found = self.api.list("/apis/apps/v1/daemonsets", deadline)
        self.daemonsets = frozenset(daemonset["metadata"]["uid"] for daemonset in found)

    def _rules(self, deadline: Deadline) -> tuple[Rule, ...]:
        """The rules with the namespaces that their selectors find."""
        wishes = self.options.rules
        namespaces: list[dict[str, Any]] = []
        if any(wish.namespace_selector is not None for wish in wishes):
            namespaces = self.api.list("/api/v1/namespaces", deadline)

        def resolved(wish: RuleWish) -> Rule:
            if wish.namespace_selector is None:
                return wish.rule
            labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in namespaces}
            chosen = frozenset(name for name, told in labels.items() if selects(wish.namespace_selector, told))
            return replace(wish.rule, namespaces=chosen)

        return tuple(resolved(wish) for wish in wishes)

    def _identity(self, deadline: Deadline) -> str:
        """What tells this cluster from others: one may be known here by several addresses."""
        answer = self.api.call("get", "/api/v1/namespaces/kube-system", deadline, allow=(403, 404))
        return str((answer.body.get("metadata") or {}).get("uid") or self.api.host)
