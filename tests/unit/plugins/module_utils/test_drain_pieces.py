# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The drain's small pieces: selectors, requests and capacity, answers, local volumes, the lock."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _capacity,
    _drain,
    _drain_pods,
    _drain_record,
    _drain_requests,
    _node_lock,
    _selector,
    _volumes,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Answer
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import read_pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import node, pod, status


@pytest.mark.parametrize(
    ("written", "labels", "matches"),
    [
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "web"}, True),
        ("app = web", {"app": "db"}, False),
        ("app!=web", {"app": "db"}, True),
        ("app!=web", {}, True),
        ("app!=web", {"app": "web"}, False),
        ("app", {"app": "x"}, True),
        ("!app", {"app": "x"}, False),
        ("!app", {}, True),
        ("app in (web, db),tier", {"app": "db", "tier": "1"}, True),
        ("app in (web,db),tier", {"app": "db"}, False),
        ("app notin (web,db)", {"app": "other"}, True),
        ("example.org/app=web", {"example.org/app": "web"}, True),
        ("size>3", {"size": "4"}, True),
        ("size<3", {"size": "4"}, False),
        ("app=", {"app": ""}, True),
        ("app=", {"app": "web"}, False),
    ],
)
def test_selectors_in_the_words_of_kubectl(written: str, labels: dict[str, str], matches: bool) -> None:
    assert _selector.selects(_selector.parse_selector(written, "x"), labels) is matches


@pytest.mark.parametrize("written", ["", "app=web,", "app in web", "=web", "app=a b", "app>x", "app in (a", "-a"])
def test_what_is_no_selector(written: str) -> None:
    with pytest.raises(CareError, match=r"is no label selector \(option pod_selector\)"):
        _selector.parse_selector(written, "pod_selector")


@pytest.mark.parametrize(
    ("written", "number"),
    [("250m", 0.25), ("2", 2.0), (2, 2.0), ("1.5Gi", 1.5 * 2**30), ("1e3", 1000.0), ("128974848", 128974848.0),
     ("2k", 2000.0), ("2E", 2e18), ("100n", 1e-7), ("nonsense", 0.0), ("", 0.0)],
)  # fmt: skip
def test_quantities(written: Any, number: float) -> None:
    assert _capacity.quantity(written) == pytest.approx(number)


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container("1"), container("500m")]}, 1.5),
        ({"containers": [container("1")], "initContainers": [container("3")]}, 3.0),
        ({"containers": [container("1")], "initContainers": [container("3", restartPolicy="Always")]}, 4.0),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1.25),
        ({"containers": [{"name": "c"}]}, 0.0),
    ],
)
def test_what_the_scheduler_keeps_free_for_a_pod(spec: dict[str, Any], cpu: float) -> None:
    found = _capacity.requests(spec)
    assert found.get("cpu", 0.0) == pytest.approx(cpu) and found["pods"] == 1


def test_places_are_taken_by_the_first_who_fit() -> None:
    def sized(name: str, cpu: str, on: str = "w1", of: str | None = "ReplicaSet/x") -> Any:
        return read_pod(pod(name, on=on, of=of, containers=[container(cpu)]))

    leaving = [sized("small", "1"), sized("big", "3"), sized("bare", "9", of=None)]
    there = [sized("old", "3", on="w2"), sized("w3-old", "500m", on="w3")]
    nodes = [node("w1"), node("w2"), node("w3")]
    assert _capacity.without_place(leaving, [*leaving, *there], nodes, {"w1"}) == []
    lost = _capacity.without_place([*leaving, sized("more", "2")], [*leaving, *there], nodes, {"w1"})
    assert lost == [{"pod": "shop/more", "reason": "too little cpu free on w2, w3"}]


BUDGET = [{"reason": "DisruptionBudget"}]
FORBIDDEN = 'pods "a" is forbidden: User "x" cannot create resource "pods/eviction"'


@pytest.mark.parametrize(
    ("answer", "headers", "kind", "pause"),
    [
        ((201, {}), {}, "accepted", 0.0),
        (status(404, "not found"), {}, "not there", 0.0),
        (status(429, "budget", causes=BUDGET), {"Retry-After": "10"}, "budget", 0.0),
        (status(429, "too many requests"), {"Retry-After": "3"}, "later", 3.0),
        (status(429, "too many requests"), {"Retry-After": "600"}, "later", 10.0),
        (status(500, "etcdserver: leader changed"), {}, "later", 0.5),
        (status(500, "This pod has more than one PodDisruptionBudget, which ..."), {}, "never", 0.0),
        (status(409, "UID in precondition"), {}, "later", 0.5),
        (status(403, "unable to create", causes=[{"reason": "NamespaceTerminating"}]), {}, "later", 0.5),
        (status(403, FORBIDDEN), {}, "never", 0.0),
        (status(403, 'User "x" cannot delete resource "pods" in API group ""'), {}, "never", 0.0),
        (status(400, 'admission webhook "w" denied the request: busy'), {}, "later", 0.5),
        (status(422, "invalid"), {}, "never", 0.0),
    ],
)
def test_what_an_answer_means(answer: Any, headers: dict[str, str], kind: str, pause: float) -> None:
    outcome = _drain_requests.understand(Answer(answer[0], answer[1], headers, ""), 1, starting_up=False)
    assert (outcome.kind, outcome.pause) == (kind, pause)


def test_a_server_that_starts_up_may_forbid_for_a_moment() -> None:
    answer = Answer(403, status(403, FORBIDDEN)[1], {}, "")
    assert _drain_requests.understand(answer, 1, starting_up=True).kind == "later"


class SlowApi:
    """Answers when it is told to, and knows how many asked at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def ask(self, *_args: Any, **_more: Any) -> Answer:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.go.wait(10)
        with self._lock:
            self.now -= 1
        return Answer(201, {}, {}, "")

    def starting_up(self, _answer: Answer) -> bool:
        return False


def test_requests_go_out_side_by_side_and_those_not_sent_are_taken_back() -> None:
    api: Any = SlowApi()
    requests = _drain_requests.Requests(api, 3)
    records = [_drain_record.Record(read_pod(pod(f"a{number}")), 0.0) for number in range(5)]
    for record in records:
        requests.send(record, None, 10)
    assert requests.free == -2
    deadline = time.monotonic() + 5
    while api.now < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    threading.Timer(0.2, api.go.set).start()
    settled = {record.pod.name: outcome.kind for record, outcome in requests.settle(records, 5)}
    requests.close()
    assert api.most == 3 and requests.free == 3
    assert settled == {"a0": "accepted", "a1": "accepted", "a2": "accepted", "a3": "later", "a4": "later"}
    assert [record.attempts for record in records] == [1, 1, 1, 0, 0]


def test_local_volumes_are_told_from_those_that_travel() -> None:
    claims = [
        {"metadata": {"namespace": "shop", "name": name}, "spec": {"volumeName": f"pv-{name}"}}
        for name in ("disk", "net", "dir")
    ]
    claims.append({"metadata": {"namespace": "shop", "name": "unbound"}, "spec": {}})
    volumes = [
        {"metadata": {"name": "pv-disk"}, "spec": {"local": {"path": "/d"}}},
        {"metadata": {"name": "pv-net"}, "spec": {"csi": {"driver": "x"}}},
        {"metadata": {"name": "pv-dir"}, "spec": {"hostPath": {"path": "/d"}}},
    ]
    found = _volumes.local_claims(claims, volumes)
    assert found == {("shop", "disk"): "pv-disk", ("shop", "dir"): "pv-dir"}
    used = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("net", "disk")]
    assert _volumes.local_risk(read_pod(pod("a", volumes=used)), found) == (
        "its local PersistentVolume pv-disk stays on this node"
    )
    assert _volumes.local_risk(read_pod(pod("a", volumes=used[:1])), found) == ""


def test_one_holder_of_a_lock_at_a_time(tmp_path: Path) -> None:
    first, second = (_node_lock.NodeLock("uid", "w1", str(tmp_path / "locks")) for _number in range(2))
    elsewhere = _node_lock.NodeLock("uid", "w2", str(tmp_path / "locks"))
    assert first.take("run r1, process 1") is None
    assert second.take("run r2") == "run r1, process 1" and elsewhere.take("run r2") is None
    first.release()
    assert second.take("run r2") is None
    assert first.take("run r1") == "run r2"


@pytest.mark.parametrize(
    ("state", "action", "lost", "terminating", "end"),
    [
        (_drain_record.LEAVING, "evicting", False, True, "evicted"),
        (_drain_record.WAITING, "", True, False, "evicted"),
        (_drain_record.LEAVING, "", False, True, "waited"),
        (_drain_record.WAITING, "", False, False, "already_gone"),
        (_drain_record.COMPLETING, "", False, False, "already_gone"),
    ],
)
def test_how_a_pod_went_away(state: str, action: str, lost: bool, terminating: bool, end: str) -> None:
    more: dict[str, Any] = {"deletionTimestamp": "2026-11-22T00:00:00Z"} if terminating else {}
    found = pod("a", **more)
    record = _drain_record.Record(read_pod(found), 0.0, state=state, action=action, answer_lost=lost)
    record.gone(1.0)
    assert record.action == end and record.over


# --- how often a node is looked at ------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "every"), [(60, 1.0), (21, 1.0), (10, 0.5), (5, 0.25), (1, 0.1)])
def test_the_fewer_pods_are_ending_the_more_often_a_node_is_looked_at(left: int, every: float) -> None:
    pods, there = _node_with([pod(f"p{number}", deletionTimestamp=LATER) for number in range(left + 1)])
    there.pop()
    pods.look(Deadline(5, "timeout"))
    assert pods.due_in(time.monotonic()) == pytest.approx(every, abs=0.08)


def test_a_node_is_looked_at_once_a_second_while_somebody_waits_or_nobody_ends() -> None:
    waiting, there = _node_with([pod("asked", deletionTimestamp=LATER), pod("held"), pod("first")])
    there.pop()
    waiting.look(Deadline(5, "timeout"))
    stuck, _there = _node_with([pod("stuck", deletionTimestamp=LATER)])
    for pods in (waiting, stuck):
        assert pods.due_in(time.monotonic()) == pytest.approx(1.0, abs=0.08)


def test_a_pod_that_goes_before_its_eviction_is_answered_was_evicted() -> None:
    pods, there = _node_with([pod("quick")])
    (record,) = pods.left
    record.state, record.attempts = _drain_record.ASKING, 1
    there.clear()
    pods.look(Deadline(5, "timeout"))
    assert not record.over
    record.accepted(time.monotonic())
    pods.look(Deadline(5, "timeout"))
    assert record.over and record.action == "evicted" and record.asked_by_us


LATER = "2026-11-24T00:00:00Z"


def _node_with(there: list[dict[str, Any]]) -> tuple[_drain_pods.NodePods, list[dict[str, Any]]]:
    """A node that was looked at once, and the list of its pods, for the next look."""
    nothing = _drain.Wishes()
    options = SimpleNamespace(skip_terminating_older_than=None, pod_selector=None, delete=False)
    api = SimpleNamespace(list=lambda path, deadline, **query: there)
    budgets = SimpleNamespace(of=lambda one: [])
    cluster: Any = SimpleNamespace(
        api=api,
        options=options,
        budgets=budgets,
        daemonsets=frozenset(),
        know_daemonsets_of=lambda pods, deadline: None,
        wishes=nothing,
    )
    pods = _drain_pods.NodePods("w1", cluster)
    pods.look(Deadline(5, "timeout"))
    return pods, there
