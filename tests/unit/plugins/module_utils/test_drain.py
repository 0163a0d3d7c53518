# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a drain decides, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _budget,
    _capacity,
    _drain,
    _replicas,
    _selector,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import read_pod
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import budget, node, pod

EMPTY_DIR = [{"name": "data", "emptyDir": {}}]
GOES = _drain.Wishes(emptydir="delete", unmanaged="delete")


@pytest.mark.parametrize(
    ("found", "wishes", "action", "obstacles"),
    [
        (pod("a"), _drain.Wishes(), "evict", ()),
        (pod("a", phase="Pending", ready=False), _drain.Wishes(), "evict", ()),
        (pod("a", of=None, annotations={"kubernetes.io/config.mirror": "x"}), _drain.Wishes(), "skip", ()),
        (pod("a", of="DaemonSet/there"), _drain.Wishes(), "skip", ()),
        (pod("a", of="DaemonSet/there"), _drain.Wishes(daemonsets="fail"), "refuse", ("daemonsets",)),
        (pod("a", of="DaemonSet/there", deletionTimestamp="t"), _drain.Wishes(), "skip", ()),
        (pod("a", of="DaemonSet/gone"), _drain.Wishes(), "refuse", ("unmanaged",)),
        (pod("a", of="DaemonSet/gone"), GOES, "evict", ()),
        (pod("a", of="Job/done", phase="Succeeded"), _drain.Wishes(), "skip", ()),
        (pod("a", of=None, phase="Failed", volumes=EMPTY_DIR), _drain.Wishes(), "skip", ()),
        (pod("a", deletionTimestamp="t"), _drain.Wishes(), "wait", ()),
        (pod("a", of=None), _drain.Wishes(), "refuse", ("unmanaged",)),
        (pod("a", volumes=EMPTY_DIR), _drain.Wishes(), "refuse", ("emptydir",)),
        (pod("a", volumes=[{"name": "m", "emptyDir": {"medium": "Memory"}}]), _drain.Wishes(), "refuse", ("emptydir",)),
        (pod("a", volumes=EMPTY_DIR), _drain.Wishes(unmanaged="delete"), "refuse", ("emptydir",)),
        (pod("a", of=None, volumes=EMPTY_DIR), _drain.Wishes(), "refuse", ("unmanaged", "emptydir")),
        (pod("a", of=None, volumes=EMPTY_DIR), _drain.Wishes(emptydir="delete"), "refuse", ("unmanaged",)),
        (pod("a", of=None, volumes=EMPTY_DIR), GOES, "evict", ()),
    ],
)
def test_verdicts(found: Any, wishes: _drain.Wishes, action: str, obstacles: tuple[str, ...]) -> None:
    verdict = _drain.classify(read_pod(found), {"DaemonSet-shop-there"}, wishes)
    assert (verdict.action, verdict.obstacles) == (action, obstacles)


def test_an_owner_that_does_not_control_a_pod_would_not_bring_it_back() -> None:
    found = pod("a", of="Backup/nightly")
    found["metadata"]["ownerReferences"][0]["controller"] = False
    assert _drain.classify(read_pod(found), (), _drain.Wishes()).obstacles == ("unmanaged",)


def test_what_is_lost_is_told() -> None:
    verdict = _drain.classify(read_pod(pod("a", of=None, volumes=EMPTY_DIR)), (), GOES)
    assert verdict.risks == ("no controller would bring it back", "local data in emptyDir data")


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        (None, {"a": "1"}, False),
        ({}, {"a": "1"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1", "b": "3"}}, {"a": "1", "b": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"b": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"b": "1"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Odd"}]}, {"a": "1"}, False),
    ],
)
def test_selectors(selector: Any, labels: dict[str, str], matches: bool) -> None:
    assert _selector.selects(selector, labels) is matches


def numbers(healthy: int, desired: int, policy: str = "IfHealthyBudget", observed: int = 1) -> _budget.Budget:
    found = budget("b", desired, app="web")
    found["spec"]["unhealthyPodEvictionPolicy"] = policy
    allowed = max(0, healthy - desired)
    found["status"] = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "observedGeneration": observed,
    }
    return _budget.read_budget(found)


@pytest.mark.parametrize(
    ("found", "guard", "free"),
    [
        (pod("a"), numbers(2, 1), False),
        (pod("a", phase="Pending", ready=False), numbers(0, 1), True),
        (pod("a", phase="Succeeded"), numbers(0, 1), True),
        (pod("a", ready=False), numbers(1, 1), True),
        (pod("a", ready=False), numbers(0, 1), False),
        (pod("a", ready=False), numbers(0, 0), False),
        (pod("a", ready=False), numbers(0, 1, "AlwaysAllow"), True),
        (pod("a"), numbers(0, 1, "AlwaysAllow"), False),
    ],
)
def test_who_goes_without_asking_the_budget(found: Any, guard: _budget.Budget, free: bool) -> None:
    assert _budget.bypasses(read_pod(found), guard) is free


def test_a_budget_whose_numbers_are_old_has_no_room() -> None:
    old = numbers(5, 1, observed=0)
    assert old.allowed == 0 and "not yet computed" in str(old)


def sort(here: list[Any], elsewhere: list[Any]) -> _replicas.Ready:
    """The Ready pods as a drain sees them that still has to ask those ``here``; the first is the oldest."""
    for number, found in enumerate([*here, *elsewhere]):
        found["metadata"]["creationTimestamp"] = f"2026-11-22T00:00:0{number}Z"
    pods = [read_pod(found) for found in [*here, *elsewhere]]
    waiting = {pod.uid for pod in pods[: len(here)]}
    return _replicas.sort_ready(pods[0], pods, waiting, set(), set())


@pytest.mark.parametrize(
    ("here", "elsewhere", "held"),
    [
        ([pod("a")], [pod("x", on="w2")], None),
        ([pod("a"), pod("b")], [], "a"),
        ([pod("a", ready=False), pod("b")], [], "b"),
        ([pod("a"), pod("b")], [pod("x", on="w2", ready=False)], "a"),
        ([pod("a"), pod("b")], [pod("x", on="w2", deletionTimestamp="t")], "a"),
        ([pod("a", deletionTimestamp="t"), pod("b")], [], "b"),
        ([pod("a", ready=False)], [], None),
        ([pod("a")], [pod("x", on="w2", of="ReplicaSet/other")], "a"),
    ],
)
def test_the_last_ready_replica_is_held(here: list[Any], elsewhere: list[Any], held: str | None) -> None:
    last = sort(here, elsewhere).last
    assert (last.name if last else None) == held


def test_a_pod_of_another_namespace_cannot_pass_for_a_replica() -> None:
    mine, fake = pod("a"), pod("x", on="w2", namespace="evil")
    fake["metadata"]["ownerReferences"] = mine["metadata"]["ownerReferences"]
    last = sort([mine], [fake]).last
    assert last is not None and last.name == "a"
    assert _replicas.alone(last, [last, read_pod(fake)])


def test_of_two_drains_one_keeps_the_oldest_replica_and_both_know_which() -> None:
    found = [pod("a"), pod("b", on="w2")]
    for number, item in enumerate(found):
        item["metadata"]["creationTimestamp"] = f"2026-11-22T00:00:0{number}Z"
    old, young = map(read_pod, found)
    ours = _replicas.sort_ready(old, [old, young], {old.uid}, set(), {"w2"})
    theirs = _replicas.sort_ready(young, [old, young], {young.uid}, set(), {"w1"})
    assert ours.last == old and theirs.last == young
    assert not ours.neighbour_keeps(old) and theirs.neighbour_keeps(young)


def endpoint_slice(service: str, *uids: str, ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{service}-x", "namespace": "n", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"targetRef": {"uid": uid}, "conditions": {"ready": ready}} for uid in uids],
    }


@pytest.mark.parametrize(
    ("slices", "served"),
    [
        ([], True),
        ([endpoint_slice("other", "stranger")], True),
        ([endpoint_slice("dns", "held")], False),
        ([endpoint_slice("dns", "held", "new")], True),
        ([endpoint_slice("dns", "held"), endpoint_slice("dns", "new")], True),
        ([endpoint_slice("dns", "held"), endpoint_slice("dns", "new", ready=False)], False),
        ([endpoint_slice("dns", "held", "new"), endpoint_slice("metrics", "held")], False),
    ],
)
def test_every_service_of_the_held_pod_needs_another_endpoint(slices: list[Any], served: bool) -> None:
    assert _replicas.serving(slices, "held", {"new"}) is served


MASTER_TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("spec", "other", "takes"),
    [
        ({}, node("w2"), True),
        ({}, node("w1"), False),
        ({}, node("w2", ready=False), False),
        ({}, node("w2", unschedulable=True), False),
        ({}, node("cp1", taints=[MASTER_TAINT]), False),
        ({"tolerations": [{"operator": "Exists"}]}, node("cp1", taints=[MASTER_TAINT]), True),
        ({"tolerations": [{"key": MASTER_TAINT["key"]}]}, node("cp1", taints=[MASTER_TAINT]), True),
        ({"tolerations": [{"key": "other", "operator": "Exists"}]}, node("cp1", taints=[MASTER_TAINT]), False),
        ({}, node("w2", taints=[{"key": "x", "effect": "PreferNoSchedule"}]), True),
        ({"nodeSelector": {"disk": "ssd"}}, node("w2"), False),
        ({"nodeSelector": {"disk": "ssd"}}, node("w2", labels={"disk": "ssd"}), True),
    ],
)
def test_places_for_a_replacement(spec: dict[str, Any], other: Any, takes: bool) -> None:
    assert bool(_capacity.places(read_pod(pod("a", **spec)), [other], "w1")) is takes


def test_required_affinity_decides_about_a_place() -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    found = read_pod(pod("a", affinity={"nodeAffinity": required}))
    nodes = [node("w2", labels={"zone": "a"}), node("w3", labels={"zone": "b"})]
    assert _capacity.places(found, nodes, "w1") == ["w3"]


def test_waves_follow_the_budgets_numbers() -> None:
    guarded = [read_pod(pod(f"g{n}")) for n in range(5)]
    stuck = read_pod(pod("s", labels={"app": "stuck"}))
    free, held = (read_pod(pod(name, labels={"app": name})) for name in ("free", "held"))
    closed = budget("closed", 1, app="stuck")
    closed["status"] = {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0}
    plan = _drain.preview([*guarded, stuck, free, held], [numbers(5, 3), _budget.read_budget(closed)], {held.uid})
    assert plan.waves == [
        ["shop/g0", "shop/g1", "shop/free"],
        ["shop/g2", "shop/g3", "shop/held"],
        ["shop/g4"],
    ]
    assert [(n["budget"], n["pods"]) for n in plan.never] == [("shop/closed", ["shop/s"])]


def test_pods_whose_turn_comes_after_those_that_cannot_go_cannot_go_either() -> None:
    names = ("stuck", "free", "later", "last")
    stuck, free, later, last = (read_pod(pod(name, labels={"app": name})) for name in names)
    closed = budget("closed", 1, app="stuck")
    orders = {later.uid: 1, last.uid: 2}
    plan = _drain.preview([last, stuck, free, later], [_budget.read_budget(closed)], set(), orders)
    assert plan.waves == [["shop/free"]]
    assert [n["pods"] for n in plan.never] == [["shop/stuck"], ["shop/later", "shop/last"]]
    assert plan.never[1]["reason"] == "their turn comes after pods that cannot go"


def test_a_terminating_pod_was_asked_to_leave_before_its_grace_period() -> None:
    found = pod("a", deletionTimestamp="2026-11-22T03:00:30Z")
    found["metadata"]["deletionGracePeriodSeconds"] = 30
    assert read_pod(found).terminating == "2026-11-22T03:00:00Z"
