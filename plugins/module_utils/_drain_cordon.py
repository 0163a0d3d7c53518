# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The cordon of a node that is drained: set, watched, and given back when the drain fails."""

from __future__ import annotations

import time
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import (
    Cordon,
    lift_cordon,
    node_path,
    read_cordon,
    set_cordon,
    wants_change,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_cluster import Cluster
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Refused
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_RESTORE_TIME = 30.0


class NodeCordon:
    """One node's cordon before, after, and what this drain did to it.

    set_at: when this drain began to keep new pods away; None when somebody did before.
    """

    def __init__(self, node: str, cluster: Cluster) -> None:
        self.node = node
        self.api = cluster.api
        self.owner = cluster.options.owner
        self.restores = cluster.options.restore
        self.before = self.after = Cordon(False)
        self.changed = False
        self.set_at: Optional[float] = None
        self._lost = False
        self._setting = False
        self._lifting = False

    @property
    def foreign(self) -> bool:
        """Whether it was somebody else's at the start."""
        return self.before.cordoned and not self.before.is_ours(self.owner.purpose)

    def found(self, node: dict[str, Any]) -> None:
        """As it is at the start."""
        self.before = self.after = read_cordon(node)

    def expected(self, take_over: bool) -> Cordon:
        """As it would be, for check mode."""
        return self.owner.cordon() if wants_change(self.before, self.owner, take_over) else self.before

    def set(self, take_over: bool, deadline: Deadline) -> None:
        """Keep new pods away.

        :param take_over: what an earlier run of the same purpose set becomes ours, which stops its drain.
        """
        self._setting = True
        try:
            self.before, self.after, self.changed = set_cordon(self.api, self.node, self.owner, deadline, take_over)
        except CareError as error:
            self.changed = bool(error.results.get("changed"))
            self._setting = isinstance(error, (Refused, TimedOut))
            raise
        self._setting = False
        if not self.before.cordoned:
            self.set_at = time.monotonic()

    def lost(self, node: Optional[dict[str, Any]]) -> str:
        """Why the node is no longer this run's to empty, in words; empty as long as it is.

        :param node: as it is now; None when it is gone.
        """
        now = read_cordon(node) if node else Cordon(False)
        if node and now.same_hands(self.after):
            return ""
        self._lost, self.after = True, now
        if not node:
            return "it is not in the cluster any more"
        return f"it is now cordoned {now}" if now.cordoned else "somebody uncordoned it"

    def give_back(self, touched: bool) -> str:
        """After a failure: the cordon as the person wants it; returns what became of it.

        :param touched: whether the drain changed anything on the node.
        """
        deadline = Deadline(_RESTORE_TIME, "timeout")
        if self._setting:
            try:
                self._see_what_was_set(deadline)
            except CareError as error:
                return f"Whether node {self.node} is cordoned now is not known: {error.message}" if self.changed else ""
        touched = touched or self.changed
        if self._lost or not self.after.cordoned or not (touched or self.restores):
            return ""
        if not self.restores:
            return f"Node {self.node} stays cordoned {self.after} (option on_failure)"
        if not (touched and self.after.is_ours(self.owner.purpose)):
            return f"Node {self.node} was cordoned {self.after} before and is left so"
        again, self._lifting = self._lifting, True
        try:
            _before, self.after, lifted = lift_cordon(
                self.api, self.node, self.owner.purpose, False, deadline, only_run=self.after.run
            )
        except CareError as error:
            return f"Uncordoning {self.node} again failed too: {error.message}"
        if lifted or (again and not self.after.cordoned):
            self.changed = True
            return f"Node {self.node} was uncordoned again (option on_failure)"
        return f"Node {self.node} was left cordoned {self.after}" if self.after.cordoned else ""

    def _see_what_was_set(self, deadline: Deadline) -> None:
        """Interrupted in the middle of it, or its answer was lost."""
        now = read_cordon(self.api.get(node_path(self.node), deadline))
        self.changed = now.run == self.owner.run and not now.same_hands(self.before)
        if self.changed:
            self.after = now
