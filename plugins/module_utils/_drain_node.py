# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""One node that is emptied: whether that makes sense, the time it takes, and how it ends."""

from __future__ import annotations

import os
import time
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _times
from ansible_collections.clustercare.kubeadm.plugins.module_utils._budget import Budget
from ansible_collections.clustercare.kubeadm.plugins.module_utils._conditions import condition, is_ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import get_node, node_path
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain import refusal
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_cluster import Cluster
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_cordon import NodeCordon
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_pods import NodePods
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_record import FAILED, WAITING, Record, why_all
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Refused
from ansible_collections.clustercare.kubeadm.plugins.module_utils._node_lock import NodeLock
from ansible_collections.clustercare.kubeadm.plugins.module_utils._volumes import still_attached
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_LOOK_AT_NODE_EVERY = 2.0
_LOOK_AT_VOLUMES_EVERY = 1.0
_TRY_LOCK_EVERY = 0.2
# A kubelet that was only away for an API server's restart is back within this time.
_SILENT_FOR = 30.0
# Of a silent node's pods: their grace period, and how long their end is waited for (as Cluster API has it).
_SILENT_GRACE_PERIOD = 1
_SILENT_PATIENCE = 1.0


class NodeDrain:
    """One node on its way from work to rest.

    outcome: ``""`` while it is under way, then ``drained``, ``failed`` or ``not_begun``.
    error: why it failed; aftermath: what became of its cordon then.
    """

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name = name
        self.cluster = cluster
        self.options = cluster.options
        self.pods = NodePods(name, cluster)
        self.cordon = NodeCordon(name, cluster)
        self.deadline = Deadline(cluster.options.timeout, "timeout")
        self.outcome = ""
        self.ended = False
        self.error = ""
        self.aftermath = ""
        self.timed_out = False
        self.plan: dict[str, Any] = {}
        self.no_place: list[dict[str, str]] = []
        self.attached: list[str] = []
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}
        self.ready = True
        self._silent_since: Optional[float] = None
        self._lock: Optional[NodeLock] = None
        self._locked = False
        self._began: Optional[float] = None
        self._emptied: Optional[float] = None
        self._in_doubt = False
        self._last_try = self._last_node_look = self._last_volume_look = 0.0

    # --- before anything is touched ---

    def prepare(self, deadline: Deadline) -> None:
        """Look at everything, and refuse what cannot work."""
        node = get_node(self.cluster.api, self.name, deadline)
        self.cordon.found(node)
        self._note_condition(node)
        if self._silent_since is not None and self.options.best_effort:
            self.pods.patience = _SILENT_PATIENCE
        self.pods.look(deadline)
        self.pods.warn_of_local_volumes(deadline)
        if self.pods.refused:
            self.refuse(refusal(self.pods.refused))
        elif self._silent_since is not None and self.pods.records:
            self._tell_of_silence(condition(node, "Ready").get("lastTransitionTime"))
        elif not self.ready and self.pods.records:
            self.warnings.append(
                f"Node {self.name} is not Ready: its pods can be asked to leave, "
                "but it may be that nobody there confirms that they are gone."
            )
        if self.cordon.foreign:
            self.warnings.append(
                f"Node {self.name} was already cordoned {self.cordon.before}; it will be left cordoned."
            )

    def refuse(self, why: str) -> None:
        """It does not even begin."""
        self.outcome, self.error = "failed", f"Draining {self.name} was refused, nothing was changed: {why}."

    def _tell_of_silence(self, since: Optional[str]) -> None:
        silent = f"its kubelet is silent (Ready is Unknown since {since})"
        if not self.options.best_effort:
            return self.refuse(
                f"{silent}, so nobody there would end its pods; repair the node first, "
                "or ask them to leave without a proof that they did (option unreachable=best_effort)"
            )
        self.warnings.append(
            f"Node {self.name}: {silent}; its pods are asked to leave, but nobody there confirms that they have "
            "ended, and their containers may still run."
        )

    def tell_of_capacity(self) -> None:
        """The pods that would find no place: a warning, or the end of it."""
        if not self.no_place or self.options.capacity_check == "off":
            return
        said = "; ".join(f"{lost['pod']}: {lost['reason']}" for lost in self.no_place)
        if self.options.capacity_check == "warn":
            self.warnings.append(f"These pods of {self.name} would find no place elsewhere: {said}.")
        elif not self.error:
            self.refuse(f"these pods would find no place elsewhere (option capacity_check): {said}")

    def close(self, deadline: Deadline) -> None:
        """Keep new pods away, and take over what an earlier run left behind, if there is something to do."""
        began = time.monotonic()
        try:
            self.cordon.set(self.has_work, deadline)
        finally:
            self.seconds["cordon"] = round(time.monotonic() - began, 2)
        self._last_node_look = time.monotonic()
        # What the scheduler put here meanwhile has to be seen before anybody is asked to leave.
        self.pods.expire(self.cordon.set_at)

    @property
    def has_work(self) -> bool:
        """Whether there is anybody to be asked or waited for."""
        return bool(self.pods.records)

    # --- one drain of a node at a time ---

    def begin(self) -> None:
        """From now on its time counts."""
        self._began = time.monotonic()
        self.deadline = Deadline(self.options.timeout, "timeout")
        self._lock = NodeLock(self.cluster.identity, self.name)

    @property
    def begun(self) -> bool:
        """Whether its turn has come."""
        return self._began is not None

    def lock(self) -> bool:
        """Whether no other process of this machine drains the node.

        :raises CareError: when that one does not stop in time.
        """
        now = time.monotonic()
        if self._locked or self._lock is None or now - self._last_try < _TRY_LOCK_EVERY:
            return self._locked or self._lock is None
        waited, self._last_try = self._last_try > 0, now
        try:
            holder = self._lock.take(f"run {self.options.owner.run}, process {os.getpid()}, since {_times.now()}")
        except OSError as error:
            self._lock = None
            self.warnings.append(f"No lock could be kept for the drain of {self.name} on this machine: {error}.")
            return True
        self._locked = holder is None
        if self._locked and waited:
            self._last_node_look = 0.0
            self.pods.expire()
        if holder and self.deadline.passed:
            self.timed_out = True
            raise CareError(
                f"Draining {self.name} did not begin within {self.options.timeout:g} s (option timeout): another drain "
                f"of it is still running on this machine ({holder})"
            )
        return self._locked

    def unlock(self) -> None:
        """Let the next process have the node."""
        if self._lock is not None:
            self._lock.release()
        self._locked = False

    # --- looking ---

    def look(self) -> None:
        """See which pods are there, and whether the node is still ours to empty.

        :raises CareError: when the drain must not go on.
        """
        if self._node_due_in(time.monotonic()) <= 0:
            self._look_at_node()
        if self.pods.due_in(time.monotonic()) <= 0:
            self.pods.look(self.deadline)
            if self.pods.refused:
                said = refusal(self.pods.refused)
                raise CareError(f"Draining {self.name} stopped: pods arrived meanwhile that may not go: {said}")

    def due_in(self, now: float) -> float:
        """Seconds until something has to be looked at."""
        if not self._locked and self._lock is not None:
            return self._last_try + _TRY_LOCK_EVERY - now
        if self._emptied is not None:
            return self._last_volume_look + _LOOK_AT_VOLUMES_EVERY - now
        return min(self.pods.due_in(now), self._node_due_in(now))

    def _node_due_in(self, now: float) -> float:
        return self._last_node_look + _LOOK_AT_NODE_EVERY - now

    def _look_at_node(self) -> None:
        node = self.cluster.api.find(node_path(self.name), self.deadline)
        self._last_node_look = time.monotonic()
        if node is None or self.pods.waiting:
            lost = self.cordon.lost(node)
            if lost:
                raise CareError(
                    f"Draining {self.name} stopped, because the node is no longer this run's: {lost}; "
                    f"left there: {self.left_in_words()}"
                )
        self._note_condition(node or {})
        if self._silent_since is None:
            self.pods.patience = self.options.skip_terminating_older_than  # somebody there ends pods again
        if self._silent_since is None or time.monotonic() - self._silent_since < _SILENT_FOR:
            return
        if not self.options.best_effort:
            raise CareError(
                f"Draining {self.name} stopped, because its kubelet fell silent and nobody there confirms that pods "
                f"are gone (option unreachable): {self.left_in_words()}"
            )
        self.pods.patience = _SILENT_PATIENCE

    def _note_condition(self, node: dict[str, Any]) -> None:
        self.ready = is_ready(node)
        silent = condition(node, "Ready").get("status") == "Unknown"
        self._silent_since = (self._silent_since or time.monotonic()) if silent else None

    @property
    def grace_period(self) -> Optional[int]:
        """Seconds that its pods get to end; None leaves it to them."""
        silent = self.options.best_effort and self._silent_since is not None
        return _SILENT_GRACE_PERIOD if silent else self.options.grace_period

    # --- the end ---

    def emptied(self) -> bool:
        """Whether its pods are gone, and their volumes, where that is waited for."""
        if not self.pods.empty:
            self._emptied = None
            return False
        now = time.monotonic()
        self._emptied = self._emptied or now
        if self.options.volume_detach and now - self._last_volume_look >= _LOOK_AT_VOLUMES_EVERY:
            self.attached = still_attached(self.cluster.api, self.name, self.pods.staying, self.deadline)
            self._last_volume_look = time.monotonic()
        return not self.attached

    def fail_if_over(self) -> None:
        """:raises CareError: when waiting longer makes no sense or the time has passed."""
        failed: dict[str, list[str]] = {}
        for record in self.pods.records.values():
            if record.state == FAILED:
                failed.setdefault(str(record.error), []).append(str(record.pod))
        if failed:
            said = "; ".join(f"{', '.join(pods)}: {error}" for error, pods in failed.items())
            raise CareError(f"Draining {self.name} stopped, because asking again would not help: {said}")
        if self.deadline.passed:
            self.timed_out = True
            if self.pods.left:
                left = f"{len(self.pods.left)} of {len(self.pods.records)} pods remain: {self.left_in_words()}"
            elif self.attached:
                left = f"its pods are gone, but volumes are still attached: {', '.join(self.attached)}"
            else:
                left = "its pods are gone, but there was no time for the look that proves it"
            raise CareError(f"Draining {self.name} stopped after {self.options.timeout:g} s (option timeout): {left}")

    def done(self) -> None:
        """It is empty."""
        self.outcome = "drained"

    def fail(self, error: CareError) -> None:
        """It ends early."""
        self.outcome, self.error = "failed", error.message
        if isinstance(error, (Refused, TimedOut)) and self.pods.left:
            self.error = f"{error.message.rstrip('.')}; left on {self.name}: {self.left_in_words()}"
        self.timed_out = self.timed_out or bool(error.results.get("timed_out"))

    def end(self) -> None:
        """Whichever way it went: the cordon as the person wants it, and the time it took."""
        if self.outcome != "drained" and not self.options.check:
            self.aftermath = self.cordon.give_back(self.changed) or self.aftermath
            self.outcome = self.outcome or ("failed" if self.begun else "not_begun")
        self._count_seconds(time.monotonic())
        self.unlock()
        self.ended = True  # the last word: an interrupted end is begun again

    def look_for_lost_answers(self, seconds: float) -> None:
        """A request that nobody answered may have been taken all the same: the pods tell."""
        if any(record.answer_lost and record.state == WAITING for record in self.pods.records.values()):
            try:
                self.pods.look(Deadline(seconds, "timeout"))
            except CareError:
                self._in_doubt = True

    def _count_seconds(self, now: float) -> None:
        if self._began is None:
            return
        asked = [record.asked_at for record in self.pods.records.values() if record.asked_at is not None]
        last_asked, emptied = max(asked, default=self._began), self._emptied or now
        self.seconds["evict"] = round(last_asked - self._began, 2)
        self.seconds["wait"] = round(emptied - last_asked, 2)
        if self.options.volume_detach and self._emptied is not None:
            self.seconds["volumes"] = round(now - emptied, 2)

    def left_in_words(self) -> str:
        """Who is still there, and what keeps them."""
        return why_all(self.pods.left, self.ready)

    @property
    def changed(self) -> bool:
        """Whether anything was changed on this node, or may have been."""
        return self.cordon.changed or self._in_doubt or any(record.asked_by_us for record in self.pods.records.values())

    def held_back(self) -> list[tuple[Record, Budget]]:
        """Those that wait for a budget's room, each with it."""
        guards = [(r, self.cluster.budgets.guard(r)) for r in self.pods.left if r.state == WAITING]
        return [(r, g) for r, g in guards if g and (g.allowed <= 0 or not self.options.check)]
