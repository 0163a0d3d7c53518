# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Draining a node: the loop that looks, lets pods go as ``_drain`` decides, and proves that they are gone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import (
    ANNOTATION,
    Cordon,
    Owner,
    lift_cordon,
    may_lift,
    node_path,
    read_cordon,
    set_cordon,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain import (
    Budget,
    Pod,
    Verdict,
    Wishes,
    bypasses,
    classify,
    matching,
    places,
    preview,
    read_budget,
    read_pod,
    refusal,
    replicated,
    selector_for,
    serving,
    siblings,
    to_hold,
    too_many_budgets,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import (
    Answer,
    Api,
    Unreachable,
    passes_by_itself,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_LOOK_EVERY = 1.0
# A pod that the scheduler had placed just before the cordon shows up within this time.
_LATE_ARRIVALS = 1.0
# From an endpoint in its slice to every node's kube-proxy sending requests there.
_PROXY_LAG = 2.0
_RESTORE_TIME = 30.0
_SLOWEST_RETRY = 5.0
_NAMESPACES_ONE_BY_ONE = 10
_NAMES_IN_A_CLAUSE = 5


@dataclass(frozen=True)
class Options:
    """What the person asked for."""

    name: str
    owner: Owner
    wishes: Wishes = field(default_factory=Wishes)
    timeout: float = 600.0
    grace_period: int | None = None
    max_concurrent: int = 10
    last_replica_wait: float = 60.0
    restore: bool = False
    force_uncordon: bool = False
    check: bool = False


# --- cordon and uncordon alone ----------------------------------------------------------------------------------


def cordoned(api: Api, options: Options) -> dict[str, Any]:
    """State ``cordoned``."""
    deadline = Deadline(options.timeout, "timeout")
    before = read_cordon(_node(api, options.name, deadline))
    after, changed = _expected(before, options), not before.cordoned
    if changed and not options.check:
        after, changed = set_cordon(api, options.name, options.owner, deadline)
    return _cordon_result(api, options, before, after, changed)


def uncordoned(api: Api, options: Options) -> dict[str, Any]:
    """State ``uncordoned``: ours only."""
    deadline = Deadline(options.timeout, "timeout")
    before = read_cordon(_node(api, options.name, deadline))
    changed = may_lift(before, options.owner.purpose, options.force_uncordon)
    after = Cordon(False) if changed else before
    if changed and not options.check:
        after, changed = lift_cordon(api, options.name, options.owner.purpose, options.force_uncordon, deadline)
    result = _cordon_result(api, options, before, after, changed)
    if after.cordoned:
        result["warnings"].append(
            f"Node {options.name} stays cordoned: it was cordoned {after}, not for '{options.owner.purpose}' "
            "(option owner, or force_uncordon to lift it all the same)."
        )
    return result


def _expected(before: Cordon, options: Options) -> Cordon:
    return before if before.cordoned else options.owner.cordon()


def _cordon_result(api: Api, options: Options, before: Cordon, after: Cordon, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "node": options.name,
        "cordon": {"before": before.data(), "after": after.data()},
        "api_calls": api.calls,
        "warnings": [],
        "diff": {"before": _as_text(before, ()), "after": _as_text(after, ())},
    }


def _as_text(cordon: Cordon, pods: Iterable[str]) -> str:
    lines = [f"unschedulable: {str(cordon.cordoned).lower()}", f"{ANNOTATION}: {cordon.owner or '-'}"]
    return "\n".join([*lines, *(f"pod: {pod}" for pod in sorted(pods))]) + "\n"


def _node(api: Api, name: str, deadline: Deadline) -> dict[str, Any]:
    node = api.find(node_path(name), deadline)
    if node is None:
        there = sorted(n["metadata"]["name"] for n in api.list("/api/v1/nodes", deadline))
        raise CareError(f"There is no node {name} in the cluster at {api.host} (option name); it has {there}.")
    return node


# --- drain ------------------------------------------------------------------------------------------------------


def drained(api: Api, options: Options) -> dict[str, Any]:
    """State ``drained``.

    :raises CareError: with everything that was done and what is left, also when the time is over.
    """
    drain = _Drain(api, options)
    try:
        drain.prepare()
        if not options.check:
            drain.cordon()
            drain.empty_the_node()
    except CareError as error:
        drain.timed_out = drain.timed_out or bool(error.results.get("timed_out"))
        drain.seconds.setdefault("evict" if "cordon" in drain.seconds else "prepare", drain.so_far())
        message = f"{error.message.rstrip('.')}. {drain.clean_up()}".strip()
        results = {**error.results, **drain.result()}
        results["changed"] = bool(results["changed"] or error.results.get("changed"))
        raise CareError(message, **results) from error
    except Exception:
        drain.clean_up()  # a defect of ours leaves no node cordoned either
        raise
    return drain.result()


@dataclass
class _Record:
    """One pod on its way."""

    pod: Pod
    began: float
    risks: list[str]
    state: str = "waiting"  # waiting -> asking -> leaving -> gone, or failed
    action: str = ""
    reason: str = ""
    budget: str | None = None
    attempts: int = 0
    answer_lost: bool = False
    not_before: float = 0.0
    seconds: float | None = None
    error: str | None = None

    def data(self) -> dict[str, Any]:
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


@dataclass
class _Hold:
    """The last Ready replica of a controller, staying until another one serves."""

    record: _Record
    since: float
    served_since: float | None = None


class _Drain:
    def __init__(self, api: Api, options: Options) -> None:
        self.api = api
        self.options = options
        self.deadline = Deadline(options.timeout, "timeout")
        self.began = time.monotonic()
        self.before = Cordon(False)
        self.after = Cordon(False)
        self.cordon_set_by_us = False
        self.cordoned_at: float | None = None
        self.node_ready = True
        self.daemonsets: set[str] = set()
        self.budgets: dict[str, Budget] = {}
        self.room: dict[str, int] = {}
        self.records: dict[str, _Record] = {}
        self.skipped: dict[str, tuple[Pod, Verdict]] = {}
        self.returned: list[str] = []
        self.holds: dict[str, _Hold] = {}
        self.ours_elsewhere: set[str] = set()
        self.at_risk: dict[str, list[str]] = {}
        self.plan: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}
        self.timed_out = False
        self.last_look = 0.0
        self.last_budget_look = 0.0
        self.last_look_elsewhere = 0.0
        self.last_accepted = 0.0

    # --- looking ---

    @property
    def done_anything(self) -> bool:
        return any(record.attempts and record.action in ("evicted", "evicting") for record in self.records.values())

    def prepare(self) -> None:
        """Look at everything and refuse what cannot work, before anything is touched."""
        node = _node(self.api, self.options.name, self.deadline)
        self.before = self.after = read_cordon(node)
        self.node_ready = _is_ready(node)
        found = self.api.list("/apis/apps/v1/daemonsets", self.deadline)
        self.daemonsets = {daemonset["metadata"]["uid"] for daemonset in found}
        self._take_budgets(self.api.list("/apis/policy/v1/poddisruptionbudgets", self.deadline))
        refused = self._take_pods(self._list_pods())
        if refused:
            raise CareError(
                f"Draining {self.options.name} was refused, nothing was changed: {refusal(refused)}.",
                refused=[{"pod": str(pod), "reason": verdict.reason} for pod, verdict in refused],
            )
        self._judge_last_replicas()
        going = [record.pod for record in self.records.values() if record.state == "waiting"]
        held = {hold.record.pod.uid for hold in self.holds.values()}
        self.plan = preview(going, list(self.budgets.values()), held).data()
        if not self.node_ready:
            self.warnings.append(
                f"Node {self.options.name} is not Ready: its pods can be asked to leave, "
                "but nobody there confirms that they are gone."
            )
        if self.before.cordoned and not self.before.is_ours(self.options.owner.purpose):
            self.warnings.append(
                f"Node {self.options.name} was already cordoned {self.before}; it will be left cordoned."
            )
        if self.options.check:
            self.after = _expected(self.before, self.options)
        self.seconds["prepare"] = self.so_far()

    def _list_pods(self) -> list[Pod]:
        selector = f"spec.nodeName={self.options.name}"
        found = self.api.list("/api/v1/pods", self.deadline, fieldSelector=selector)
        self.last_look = time.monotonic()
        return [read_pod(pod) for pod in found]

    def _take_budgets(self, found: Iterable[dict[str, Any]]) -> None:
        for item in found:
            budget = read_budget(item)
            self.budgets[budget.key] = budget
            self.room[budget.key] = budget.allowed

    def _take_pods(self, listed: list[Pod]) -> list[tuple[Pod, Verdict]]:
        """Note what a LIST shows; returns the pods for which the drain has to be refused."""
        now = time.monotonic()
        here = {pod.uid: pod for pod in listed}
        for uid, record in self.records.items():
            if record.state not in ("gone", "failed"):
                self._note(record, here.get(uid), now)
        refused = []
        for pod in listed:
            if pod.uid in self.records or pod.uid in self.skipped:
                continue
            verdict = self._verdict(pod)
            if verdict.action == "refuse":
                refused.append((pod, verdict))
            elif verdict.action == "skip":
                self.skipped[pod.uid] = (pod, verdict)
            else:
                record = _Record(pod, now, list(verdict.risks))
                if verdict.action == "wait":
                    record.state, record.reason = "leaving", verdict.reason
                self.records[pod.uid] = record
                if verdict.risks:
                    self.at_risk.setdefault(str(pod), []).extend(verdict.risks)
        return refused

    def _verdict(self, pod: Pod) -> Verdict:
        verdict = classify(pod, self.daemonsets, self.options.wishes)
        if verdict.action != "evict":
            return verdict
        guards = too_many_budgets(pod, self.budgets.values())
        if guards:
            return Verdict("refuse", " and ".join(guard.key for guard in guards), ("budgets",))
        if pod.ignores_cordon and self._came_back(pod):
            self.returned.append(str(pod))
            self.warnings.append(
                f"{pod} runs on {self.options.name} again after an eviction, because it tolerates the cordon; "
                "it was left there."
            )
            return Verdict("skip", "came back: tolerates the cordon")
        return verdict

    def _came_back(self, pod: Pod) -> bool:
        evicted = [r.pod.controller for r in self.records.values() if r.action in ("evicting", "evicted")]
        return pod.controller is not None and pod.controller in evicted

    def _note(self, record: _Record, pod: Pod | None, now: float) -> None:
        if pod is None:
            if record.action == "evicting" or record.answer_lost:
                record.action = "evicted"
            else:
                record.action = "waited" if record.pod.terminating else "already_gone"
            record.state, record.reason = "gone", ""
            record.seconds = round(now - record.began, 1)
            return
        record.pod = pod
        if record.state == "waiting" and pod.terminating:
            # Somebody else's deletion, or an eviction of ours whose answer was lost.
            record.state = "leaving"
            record.action = "evicting" if record.answer_lost else ""
        elif record.state == "waiting" and pod.finished:
            record.state, record.action, record.seconds = "gone", "finished", round(now - record.began, 1)

    # --- last replicas ---

    def _judge_last_replicas(self) -> None:
        """Find the controllers whose last Ready pods are all on this node."""
        groups: dict[str, list[_Record]] = {}
        for record in self.records.values():
            pod = record.pod
            if record.state == "waiting" and replicated(pod) and pod.ready and pod.controller and not self._guard(pod):
                groups.setdefault(pod.controller.uid, []).append(record)
        if not groups:
            return
        elsewhere = self._list_elsewhere(sorted({r.pod.namespace for group in groups.values() for r in group}))
        nodes = self.api.list("/api/v1/nodes", self.deadline)
        self.ours_elsewhere = {
            n["metadata"]["name"]
            for n in nodes
            if n["metadata"]["name"] != self.options.name and read_cordon(n).owner is not None
        }
        for uid, group in groups.items():
            others = siblings(group[0].pod, elsewhere)
            held = self._last_of(group, others)
            if held is None:
                continue
            of = str(held.pod.controller)
            if len(siblings(held.pod, [r.pod for r in self.records.values()])) + len(others) == 1:
                self._risk(held, f"the only replica of {of}")
            elif not places(held.pod, nodes, self.options.name):
                self._risk(held, f"the last Ready replica of {of}, and no other node can take one")
            elif self.options.last_replica_wait > 0:
                self.holds[uid] = _Hold(held, time.monotonic())
            else:
                self._risk(held, f"the last Ready replica of {of}")

    def _last_of(self, group: list[_Record], others: list[Pod]) -> _Record | None:
        """The record that has to stay; a neighbour node that we empty at the same time does not count as a place."""
        staying = [pod for pod in others if pod.node not in self.ours_elsewhere]
        leaving = [pod for pod in others if pod.node in self.ours_elsewhere]
        held = to_hold([*(r.pod for r in group), *leaving], staying)
        return next((record for record in group if held and record.pod.uid == held.uid), None)

    def _list_elsewhere(self, namespaces: list[str], selector: str | None = None) -> list[Pod]:
        query = {"fieldSelector": f"spec.nodeName!={self.options.name}"}
        if selector:
            query["labelSelector"] = selector
        if len(namespaces) > _NAMESPACES_ONE_BY_ONE:
            return [read_pod(pod) for pod in self.api.list("/api/v1/pods", self.deadline, **query)]
        found: list[Pod] = []
        for namespace in namespaces:
            path = f"/api/v1/namespaces/{namespace}/pods"
            found.extend(read_pod(pod) for pod in self.api.list(path, self.deadline, **query))
        return found

    def _look_elsewhere(self) -> None:
        """Release the last replicas whose replacement serves, or whose time is over."""
        now = time.monotonic()
        if not self.holds or now - self.last_look_elsewhere < _LOOK_EVERY:
            return
        for uid, hold in list(self.holds.items()):
            pod = hold.record.pod
            if hold.record.state != "waiting":
                del self.holds[uid]
                continue
            others = siblings(pod, self._list_elsewhere([pod.namespace], selector_for(pod)))
            ready = {p.uid for p in others if p.ready and p.node not in self.ours_elsewhere}
            if ready and self._serves(pod, ready):
                hold.served_since = hold.served_since or now
                if now - hold.served_since >= _PROXY_LAG:
                    del self.holds[uid]
            else:
                hold.served_since = None
                if now - hold.since >= self.options.last_replica_wait:
                    del self.holds[uid]
                    self._risk(
                        hold.record,
                        f"the last Ready replica of {pod.controller}; no other was Ready within "
                        f"{self.options.last_replica_wait:g} s (option last_replica_wait)",
                    )
                    self.warnings.append(f"{pod} was evicted as {hold.record.risks[-1]}.")
        self.last_look_elsewhere = time.monotonic()

    def _serves(self, pod: Pod, others: set[str]) -> bool:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{pod.namespace}/endpointslices"
        return serving(self.api.list(path, self.deadline), pod.uid, others)

    def _risk(self, record: _Record, what: str) -> None:
        record.risks.append(what)
        self.at_risk.setdefault(str(record.pod), []).append(what)

    # --- doing ---

    def cordon(self) -> None:
        self.after, self.cordon_set_by_us = set_cordon(self.api, self.options.name, self.options.owner, self.deadline)
        if self.cordon_set_by_us:
            self.cordoned_at = time.monotonic()
        self.seconds["cordon"] = self.so_far()

    def empty_the_node(self) -> None:
        flying: dict[Future[Answer], _Record] = {}
        self.last_look = 0.0
        with ThreadPoolExecutor(max_workers=self.options.max_concurrent) as pool:
            while True:
                self._look_here(bool(flying))
                if not flying and self._empty():
                    break
                self._look_at_budgets(flying.values())
                self._look_elsewhere()
                for record in self._may_go(len(flying)):
                    record.state = "asking"
                    record.attempts += 1
                    flying[pool.submit(self._evict, record.pod)] = record
                self._fail_if_hopeless(bool(flying))
                done, _running = wait(flying, timeout=self._nap(), return_when=FIRST_COMPLETED)
                if not flying:
                    self.deadline.sleep(self._nap())
                for future in done:
                    self._take_answer(flying.pop(future), future)
        self.seconds["evict"] = self.so_far()

    def _look_here(self, busy: bool) -> None:
        if time.monotonic() - self.last_look < _LOOK_EVERY:
            return
        refused = self._take_pods(self._list_pods())
        if refused:
            raise CareError(
                f"Draining {self.options.name} stopped: pods arrived meanwhile that may not go: {refusal(refused)}.",
                refused=[{"pod": str(pod), "reason": verdict.reason} for pod, verdict in refused],
            )

    def _empty(self) -> bool:
        """Whether a LIST that is late enough showed nobody left."""
        if any(record.state != "gone" for record in self.records.values()):
            return False
        return self.cordoned_at is None or self.last_look - self.cordoned_at >= _LATE_ARRIVALS

    def _guard(self, pod: Pod) -> Budget | None:
        """The budget that has a say in this pod's eviction."""
        return next((b for b in matching(pod, self.budgets.values()) if not bypasses(pod, b)), None)

    def _may_go(self, flying: int) -> list[_Record]:
        """Who is asked to leave now, within the budgets' room and the limit of requests at once."""
        now = time.monotonic()
        held = {hold.record.pod.uid for hold in self.holds.values()}
        chosen: list[_Record] = []
        for record in self.records.values():
            if record.state != "waiting" or len(chosen) + flying >= self.options.max_concurrent:
                continue
            if record.pod.uid in held:
                record.reason = f"the last Ready replica of {record.pod.controller} until another one serves"
                continue
            guard = self._guard(record.pod)
            if guard is not None:
                record.budget = guard.key
                if self.room.get(guard.key, 0) <= 0:
                    record.reason = str(guard)
                    continue
            if now < record.not_before:
                continue
            if guard is not None:
                self.room[guard.key] -= 1
            chosen.append(record)
        return chosen

    def _look_at_budgets(self, asking: Iterable[_Record]) -> None:
        """Read again the budgets that hold pods back, soon after one of their pods left, slower later."""
        now = time.monotonic()
        quiet = now - max(self.last_accepted, self.began)
        every = 0.25 if quiet < 10 else 1.0 if quiet < 60 else 2.0
        if now - self.last_budget_look < every:
            return
        busy = {record.budget for record in asking}
        namespaces = set()
        for record in self.records.values():
            guard = self._guard(record.pod) if record.state == "waiting" else None
            if guard and guard.key not in busy and self.room.get(guard.key, 0) <= 0:
                namespaces.add(guard.namespace)
            elif record.state == "waiting" and record.error and record.error.startswith("429") and guard is None:
                # A budget that was made meanwhile.
                namespaces.add(record.pod.namespace)
        for namespace in sorted(namespaces):
            for key in [key for key, budget in self.budgets.items() if budget.namespace == namespace]:
                if key not in busy:
                    del self.budgets[key]
            path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
            found = self.api.list(path, self.deadline)
            self._take_budgets(b for b in found if f"{namespace}/{b['metadata']['name']}" not in busy)
        if namespaces:
            self.last_budget_look = time.monotonic()

    def _evict(self, pod: Pod) -> Answer:
        options: dict[str, Any] = {"preconditions": {"uid": pod.uid}}
        if self.options.grace_period is not None:
            options["gracePeriodSeconds"] = self.options.grace_period
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": options,
        }
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
        return self.api.ask("create", path, body=body, timeout=max(1.0, min(30.0, self.deadline.left)))

    def _take_answer(self, record: _Record, future: Future[Answer]) -> None:
        now = time.monotonic()
        record.state = "waiting"
        pause = min(0.5 * 2 ** min(record.attempts - 1, 5), _SLOWEST_RETRY)
        try:
            answer = future.result()
        except Unreachable as error:
            record.answer_lost = True
            record.error = record.reason = str(error)
            # A kept connection that the server closed is no news: the first second try goes out at once.
            record.not_before = now + (pause if record.attempts > 1 else 0.0)
            return
        if answer.status < 300:
            record.state, record.action, record.reason = "leaving", "evicting", "evicted"
            record.began = self.last_accepted = now
            return
        if answer.status == 404:
            # Gone meanwhile; the next LIST proves it.
            record.state, record.reason = "leaving", "no longer there"
            return
        record.error = record.reason = f"{answer.status} {answer.message}"
        causes = {cause.get("reason") for cause in answer.causes}
        if answer.status == 429 and "DisruptionBudget" in causes:
            if record.budget is not None:
                self.room[record.budget] = 0
            # The budget's own room decides when to try again; this only stops a server that contradicts itself.
            pause = min(0.25 * 2 ** min(record.attempts - 1, 5), _SLOWEST_RETRY) if record.attempts > 3 else 0.0
        elif _hopeless(answer, causes) and not self.api.starting_up(answer):
            record.state, record.action = "failed", "failed"
        elif answer.retry_after is not None and passes_by_itself(answer):
            pause = max(pause, min(answer.retry_after, 2 * _SLOWEST_RETRY))
        record.not_before = now + pause

    def _fail_if_hopeless(self, busy: bool) -> None:
        failed = [record for record in self.records.values() if record.state == "failed"]
        if failed and not busy:
            said = "; ".join(f"{record.pod}: {record.error}" for record in failed)
            raise CareError(f"Draining {self.options.name} stopped, the API server refuses for good: {said}.")
        if self.deadline.passed:
            self.timed_out = True
            self._look_at_node()
            left = [record for record in self.records.values() if record.state != "gone"]
            raise CareError(
                f"Draining {self.options.name} stopped after {self.options.timeout:g} s (option timeout): "
                f"{len(left)} of {len(self.records)} pods remain: {self._why_all(left)}."
            )

    def _look_at_node(self) -> None:
        """Whether the node still answers for its pods; one try, for the message only."""
        try:
            answer = self.api.ask("get", node_path(self.options.name))
        except Unreachable:
            return
        if answer.status == 200:
            self.node_ready = _is_ready(answer.body)

    def _why(self, record: _Record) -> str:
        """What keeps one pod, in words."""
        pod = record.pod
        if record.state != "leaving":
            return record.reason or "not yet asked to leave"
        told = [f"terminating since {pod.terminating}" if pod.terminating else record.reason or "asked to leave"]
        if pod.finalizers:
            told.append(f"kept by finalizer {', '.join(pod.finalizers)}")
        if not self.node_ready:
            told.append("its node is not Ready")
        return ", ".join(told)

    def _why_all(self, left: list[_Record]) -> str:
        """The same for a message: one clause per cause, with a few names; the result has them all."""
        causes: dict[str, list[_Record]] = {}
        for record in left:
            since = record.pod.terminating or ""
            causes.setdefault(self._why(record).replace(since, "T") if since else self._why(record), []).append(record)
        clauses = []
        for cause, records in causes.items():
            names = ", ".join(str(record.pod) for record in records[:_NAMES_IN_A_CLAUSE])
            more = len(records) - _NAMES_IN_A_CLAUSE
            first = min((r.pod.terminating for r in records if r.pod.terminating), default="")
            why = cause.replace("since T", f"since {first}")
            clauses.append(f"{names}{f' and {more} more' if more > 0 else ''} ({why})")
        return "; ".join(clauses)

    def _nap(self) -> float:
        """Until the next thing that is due."""
        blocked = any(r.state == "waiting" and r.budget for r in self.records.values())
        retry = [r.not_before - time.monotonic() for r in self.records.values() if r.state == "waiting"]
        due = [self.last_look + _LOOK_EVERY - time.monotonic(), *(pause for pause in retry if pause > 0)]
        if blocked:
            due.append(0.25)
        return max(0.02, min(*due, self.deadline.left) if len(due) > 1 else min(due[0], self.deadline.left))

    # --- ending ---

    def clean_up(self) -> str:
        """After a failure: the cordon as the person wants it, in words."""
        ours = self.after.is_ours(self.options.owner.purpose)
        if not (self.cordon_set_by_us or self.done_anything or (self.options.restore and ours)) or self.options.check:
            return ""
        if not self.options.restore:
            return f"The node stays cordoned {self.after} (option on_failure)."
        if not ours:
            return f"The node was cordoned {self.after} before and is left so."
        try:
            self.after, lifted = lift_cordon(
                self.api, self.options.name, self.options.owner.purpose, False, Deadline(_RESTORE_TIME, "timeout")
            )
        except CareError as error:
            return f"Uncordoning it again failed too: {error.message}"
        return "The node was uncordoned again (option on_failure)." if lifted else "The node is no longer cordoned."

    def so_far(self) -> float:
        return round(time.monotonic() - self.began - sum(self.seconds.values()), 2)

    def result(self) -> dict[str, Any]:
        """Everything that was seen and done; the same after success, failure and in check mode."""
        check = self.options.check
        going = list(self.records.values())
        for record in going:
            if check and record.state == "waiting":
                record.action = "would_evict"
        left = [r for r in going if r.state != "gone"]
        pods = [record.data() for record in going]
        for pod, verdict in self.skipped.values():
            record = _Record(pod, 0.0, [], action="skipped", reason=verdict.reason)
            pods.append(record.data())
        counts: dict[str, int] = {}
        for entry in pods:
            counts[entry["action"]] = counts.get(entry["action"], 0) + 1
        would_change = check and (not self.before.cordoned or any(r.state == "waiting" for r in going))
        names_before = [str(r.pod) for r in going]
        names_after = [] if check else [str(r.pod) for r in left]
        return {
            "changed": bool(would_change or self.cordon_set_by_us or self.done_anything),
            "node": self.options.name,
            "cordon": {"before": self.before.data(), "after": self.after.data()},
            "pods": pods,
            "counts": counts,
            "remaining": [f"{r.pod} ({self._why(r)})" for r in left] if not check else [],
            "blocked_by": self._blocked_by(left),
            "at_risk": [{"pod": pod, "risks": risks} for pod, risks in sorted(self.at_risk.items())],
            "plan": self.plan,
            "timed_out": self.timed_out,
            "seconds": self.seconds,
            "api_calls": self.api.calls,
            "warnings": self.warnings,
            "diff": {"before": _as_text(self.before, names_before), "after": _as_text(self.after, names_after)},
        }

    def _blocked_by(self, left: list[_Record]) -> list[dict[str, Any]]:
        by_budget: dict[str, list[str]] = {}
        for record in left:
            guard = self._guard(record.pod) if record.state == "waiting" else None
            if guard and (guard.allowed <= 0 or not self.options.check):
                by_budget.setdefault(guard.key, []).append(str(record.pod))
        return [self.budgets[key].data(pods) for key, pods in sorted(by_budget.items())]


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _hopeless(answer: Answer, causes: set[Any]) -> bool:
    """An answer that no waiting changes: no right to evict, or two budgets on one pod."""
    if answer.status == 500:
        return "more than one PodDisruptionBudget" in answer.message
    return answer.status == 403 and "NamespaceTerminating" not in causes and "pods/eviction" in answer.message
