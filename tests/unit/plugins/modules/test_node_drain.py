# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""node_drain whole, against an API server that says what is hard to hear from a real one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _cordon, _drain_run
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import (
    FakeApi,
    actions,
    budget,
    cordoned,
    pod,
    status,
)


def test_an_empty_cordoned_node_is_left_as_it_is(api: FakeApi, drain: Any) -> None:
    api.add(pod("proxy", of="DaemonSet/kube-proxy", namespace="kube-system"))
    api.add(pod("static", of=None, annotations={"kubernetes.io/config.mirror": "x"}))
    api.add(pod("done", of="Job/done", phase="Succeeded", ready=False))
    first = drain()
    second = drain()
    assert first["changed"] and cordoned(api)
    assert not second["changed"] and api.counted["PATCH"] == 1 and api.evictions == []
    assert set(actions(second).values()) == {"skipped"}


def test_every_pod_goes_and_the_result_says_so(api: FakeApi, drain: Any) -> None:
    for number in range(20):
        api.add(pod(f"a{number}"))
    api.add(pod("there", on="w2"))
    result = drain(owner="upgrade", run_id="r1", grace_period=0)
    assert result["changed"] and not result.get("failed")
    assert result["counts"] == {"evicted": 20} and result["remaining"] == []
    assert len(api.evictions) == 20 == result["api_calls"]["create"]
    graces = [body["deleteOptions"]["gracePeriodSeconds"] for body in api.bodies if "deleteOptions" in body]
    assert graces == [0] * 20
    note = json.loads(api.nodes["w1"]["metadata"]["annotations"][_cordon.ANNOTATION])
    assert (note["owner"], note["run"]) == ("upgrade", "r1")
    assert "pod: shop/a3" in result["diff"]["before"] and "pod: shop/a3" not in result["diff"]["after"]
    taint = "taint: node.kubernetes.io/unschedulable:NoSchedule\n"
    assert taint not in result["diff"]["before"] and taint in result["diff"]["after"]


def test_cordon_and_owner_are_one_request(api: FakeApi, drain: Any) -> None:
    drain()
    (body,) = api.bodies
    assert body["spec"] == {"unschedulable": True} and _cordon.ANNOTATION in body["metadata"]["annotations"]


def test_check_mode_writes_nothing_and_shows_the_waves(api: FakeApi, drain: Any) -> None:
    for name in "abc":
        api.add(pod(name))
    api.add(pod("elsewhere", on="w2"))
    api.add(budget("two-stay", 2, app="web"))
    api.add(pod("fixed", labels={"app": "fixed"}))
    api.add(budget("all-stay", 5, app="fixed"))
    result = drain(check=True)
    assert api.writes == 0 and not cordoned(api)
    assert result["changed"]
    assert [len(wave) for wave in result["plan"]["waves"]] == [2, 1]
    (never,) = result["plan"]["never"]
    assert never["budget"] == "shop/all-stay" and never["pods"] == ["shop/fixed"]
    assert "needs 5 healthy, has 1, allows 0" in never["reason"]
    assert [blocked["budget"] for blocked in result["blocked_by"]] == ["shop/all-stay"]


def test_nothing_is_evicted_when_the_cordon_is_refused(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.inject("PATCH", "/nodes/", lambda: status(403, 'cannot patch resource "nodes"', "Forbidden"), times=99)
    result = drain()
    assert result["failed"] and not result["changed"]
    assert api.evictions == [] and 'cannot patch resource "nodes"' in result["msg"]


def test_nothing_is_evicted_when_the_cordon_does_not_stay(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))

    def lift() -> None:
        api.nodes["w1"]["spec"].pop("unschedulable", None)

    api.inject("GET", r"/nodes/w1$", lift, after=2)
    result = drain()
    assert result["failed"] and result["changed"] and api.evictions == []
    assert "read back" in result["msg"]


@pytest.mark.parametrize("state", ["cordoned", "uncordoned"])
def test_a_change_whose_answer_was_lost_is_still_ours(api: FakeApi, drain: Any, state: str) -> None:
    wishes = {"owner": "upgrade", "run_id": "r1"}
    if state == "uncordoned":
        drain(state="cordoned", **wishes)

    def take_it() -> str:
        api.answer("PATCH", "/api/v1/nodes/w1", {}, json.loads(json.dumps(api.bodies[-1])))
        return "drop"

    api.inject("PATCH", "/nodes/w1", take_it)
    result = drain(state=state, **wishes)
    assert result["changed"] and cordoned(api) is (state == "cordoned")


def test_a_defect_leaves_no_node_cordoned(api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add(pod("a"))

    def defect(*_args: Any) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(_drain_run._Run, "_let_go", defect)
    with pytest.raises(KeyError):
        drain(on_failure="restore")
    assert not cordoned(api) and api.evictions == []


@pytest.mark.parametrize(
    ("found", "wishes", "said"),
    [
        (pod("bare", of=None), {}, "unmanaged=delete"),
        (pod("bare", of=None, volumes=[{"name": "d", "emptyDir": {}}]), {"emptydir": "delete"}, "unmanaged=delete"),
        (pod("bare", of=None, volumes=[{"name": "d", "emptyDir": {}}]), {"unmanaged": "delete"}, "emptydir=delete"),
        (pod("orphan", of="DaemonSet/gone"), {}, "unmanaged=delete"),
        (pod("proxy", of="DaemonSet/kube-proxy", namespace="kube-system"), {"daemonsets": "fail"}, "daemonsets=ignore"),
    ],
)
def test_a_refusal_touches_nothing_and_names_pod_and_option(
    api: FakeApi, drain: Any, found: Any, wishes: Any, said: str
) -> None:
    api.add(found)
    result = drain(**wishes)
    foretold = drain(check=True, **wishes)
    assert result["failed"] and not result["changed"] and api.writes == 0
    assert foretold["failed"] and not foretold["changed"] and foretold["msg"] == result["msg"]
    assert found["metadata"]["name"] in result["msg"] and said in result["msg"]


def test_two_budgets_on_a_pod_are_found_before_anything_is_evicted(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.add(pod("b", of="ReplicaSet/other"))
    api.add(budget("one", 0, app="web"))
    api.add(budget("two", 0, app="web"))
    result = drain()
    assert result["failed"] and api.writes == 0
    assert "shop/one and shop/two" in result["msg"] and "shop/b" not in result["msg"]


def test_a_budget_of_one_at_a_time_is_kept_without_a_single_refusal(api: FakeApi, drain: Any) -> None:
    for name in "abcd":
        api.add(pod(name))
    api.add(budget("web", 3, app="web"))
    result = drain()
    assert result["counts"] == {"evicted": 4}
    assert result["api_calls"]["create"] == 4, "an eviction was asked for while the budget had no room"
    assert {entry["budget"] for entry in result["pods"]} == {"shop/web"}


def test_a_closed_budget_is_named_with_its_numbers_when_the_time_is_over(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.add(pod("free", of="ReplicaSet/free"))
    api.add(budget("web", 1, app="web"))
    result = drain(timeout=1)
    assert result["failed"] and result["changed"] and result["timed_out"]
    assert actions(result) == {"a": "remaining", "free": "evicted"}
    assert "shop/a (budget shop/web (needs 1 healthy, has 1, allows 0))" in result["msg"]
    assert "option timeout" in result["msg"] and "stays cordoned" in result["msg"]
    (blocked,) = result["blocked_by"]
    assert blocked == {
        "budget": "shop/web", "allowed": 0, "current": 1, "desired": 1, "expected": 1, "pods": ["shop/a"]
    }  # fmt: skip
    assert cordoned(api)


def test_on_failure_restore_lifts_the_cordon_again(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))
    result = drain(timeout=0.5, on_failure="restore")
    assert result["failed"] and result["changed"] and not cordoned(api)
    assert _cordon.ANNOTATION not in api.nodes["w1"]["metadata"]["annotations"]
    assert "uncordoned again" in result["msg"] and result["cordon"]["after"]["cordoned"] is False


def test_restore_leaves_a_foreign_cordon(api: FakeApi, drain: Any) -> None:
    api.nodes["w1"]["spec"]["unschedulable"] = True
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))
    result = drain(timeout=0.5, on_failure="restore")
    assert cordoned(api) and api.counted["PATCH"] == 0
    assert any("already cordoned by somebody else" in warning for warning in result["warnings"])


def test_a_budget_that_opens_late_lets_the_pod_go(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))

    def open_it() -> None:
        api.budgets.clear()

    api.inject("GET", "/namespaces/shop/poddisruptionbudgets", open_it, after=2)
    assert actions(drain()) == {"a": "evicted"}


def test_a_budget_made_meanwhile_is_named(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))

    def close_it() -> None:
        api.add(budget("new", 1, app="web"))
        api._live()

    api.inject("POST", "/eviction", close_it)
    result = drain(timeout=1)
    assert result["failed"] and "budget shop/new (needs 1 healthy, has 1, allows 0)" in result["msg"]


@pytest.mark.parametrize(
    "trouble",
    [
        lambda: status(500, "etcdserver: leader changed"),
        lambda: status(503, "apiserver is shutting down"),
        lambda: "drop",
        lambda: (*status(429, "too many requests, please try again later"), {"Retry-After": "0"}),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "fieldSelector"), ("POST", "/eviction"), ("PATCH", "/nodes/")])
def test_trouble_of_the_server_is_outlived(api: FakeApi, drain: Any, trouble: Any, method: str, path: str) -> None:
    api.add(pod("a"))
    api.add(pod("b"))
    api.inject(method, path, trouble, times=2, after=1 if method == "GET" else 0)
    result = drain()
    assert not result.get("failed"), result
    assert actions(result) == {"a": "evicted", "b": "evicted"} and cordoned(api)


def test_a_server_that_does_not_come_back_in_time_is_told_with_what_is_left(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.inject("GET", "fieldSelector", lambda: "drop", times=999, after=2)
    result = drain(timeout=1)
    assert result["failed"] and result["changed"] and result["timed_out"]
    assert "no good answer within 1 s (option timeout)" in result["msg"] and "left on w1: shop/a" in result["msg"]


def test_an_eviction_whose_answer_was_lost_is_still_ours(api: FakeApi, drain: Any) -> None:
    victim = pod("a")
    api.add(victim)

    def take_it() -> str:
        api.answer("POST", "/api/v1/namespaces/shop/pods/a/eviction", {}, api.bodies[-1])
        return "drop"

    api.inject("POST", "/eviction", take_it)
    result = drain()
    assert actions(result) == {"a": "evicted"} and result["changed"]


def test_no_right_to_evict_fails_at_once(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    said = 'pods "a" is forbidden: User "x" cannot create resource "pods/eviction" in API group ""'
    api.inject("POST", "/eviction", lambda: status(403, said, "Forbidden"), times=99)
    result = drain(timeout=60)
    assert result["failed"] and result["elapsed"] < 5 and said in result["msg"] and result["changed"]


def test_a_pod_of_a_terminating_namespace_is_waited_for(api: FakeApi, drain: Any) -> None:
    doomed = pod("a")
    api.add(doomed)

    def refuse() -> Any:
        api.pods.pop(doomed["metadata"]["uid"], None)
        cause = [{"reason": "NamespaceTerminating"}]
        return status(403, "unable to create new content in namespace shop", "Forbidden", cause)

    api.inject("POST", "/eviction", refuse)
    result = drain()
    assert not result.get("failed") and actions(result) == {"a": "already_gone"}


def test_a_statefulset_pod_that_came_back_elsewhere_is_left_alone(api: FakeApi, drain: Any) -> None:
    old = pod("db-0", of="StatefulSet/db")
    api.add(old)

    def moved() -> None:
        del api.pods[old["metadata"]["uid"]]
        api.add(pod("db-0", of="StatefulSet/db", on="w2"))

    api.inject("POST", "/eviction", moved)
    result = drain()
    assert not result.get("failed"), result
    (still,) = [p for p in api.pods.values() if p["metadata"]["name"] == "db-0"]
    assert "deletionTimestamp" not in still["metadata"], "the new pod on the other node was evicted too"


def test_a_pod_that_does_not_end_is_named_with_its_finalizer(api: FakeApi, drain: Any) -> None:
    api.add(pod("a", finalizers=["example.org/keep"]))
    result = drain(timeout=1)
    assert result["failed"] and "kept by finalizer example.org/keep" in result["msg"]
    assert actions(result) == {"a": "evicting"}


def test_many_pods_with_one_cause_are_one_clause(api: FakeApi, drain: Any) -> None:
    api.termination = 1000
    for number in range(8):
        api.add(pod(f"a{number}"))
    api.nodes["w1"]["status"]["conditions"][0]["status"] = "False"
    result = drain(timeout=2, last_replica_wait=0)
    assert result["msg"].count("its node is not Ready") == 1 and "and 3 more" in result["msg"]
    assert len(result["remaining"]) == 8 and result["counts"] == {"evicting": 8}


def test_one_of_the_last_replicas_stays_until_another_serves(api: FakeApi, drain: Any) -> None:
    api.start = 0.4
    first, second = pod("dns-1", of="ReplicaSet/dns"), pod("dns-2", of="ReplicaSet/dns")
    api.add(first)
    api.add(second)
    seen: list[int] = []

    def look() -> None:
        conditions = (p["status"]["conditions"][0]["status"] for p in api.pods.values() if alive(p))
        seen.append(sum(status == "True" for status in conditions))

    def alive(p: Any) -> bool:
        return "deletionTimestamp" not in p["metadata"]

    api.inject("GET", "/pods", look, times=999)
    result = drain()
    assert result["counts"] == {"evicted": 2} and api.evictions == ["dns-2", "dns-1"]
    assert min(seen) >= 1, "there was a moment without a Ready replica"
    assert result["at_risk"] == []


def test_the_last_replica_goes_and_is_named_when_no_other_becomes_ready(api: FakeApi, drain: Any) -> None:
    api.start = 1000
    api.add(pod("dns-1", of="ReplicaSet/dns"))
    api.add(pod("dns-2", of="ReplicaSet/dns"))
    result = drain(last_replica_wait=0.5)
    assert result["counts"] == {"evicted": 2}
    (risk,) = result["at_risk"]
    assert "no other was Ready within 0.5 s (option last_replica_wait)" in risk["risks"][0]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("single", "the only replica of ReplicaSet/dns"),
        ("no place", "no other node can take one"),
    ],
)
def test_nobody_waits_in_vain(api: FakeApi, drain: Any, setting: str, said: str) -> None:
    api.add(pod("dns-1", of="ReplicaSet/dns"))
    if setting == "no place":
        api.add(pod("dns-2", of="ReplicaSet/dns"))
        api.nodes["w2"]["spec"]["unschedulable"] = True
    result = drain(last_replica_wait=30)
    assert not result.get("failed") and result["elapsed"] < 5
    assert said in result["at_risk"][0]["risks"][0]


def test_a_replacement_counts_only_once_its_service_knows_it(api: FakeApi, drain: Any) -> None:
    first, second = pod("dns-1", of="ReplicaSet/dns"), pod("dns-2", of="ReplicaSet/dns")
    uids = [p["metadata"]["uid"] for p in (first, second)]
    slice_: Any = {
        "metadata": {"name": "dns-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "dns"}},
        "endpoints": [{"targetRef": {"uid": uid}, "conditions": {"ready": True}} for uid in uids],
    }
    for item in (first, second, slice_):
        api.add(item)
    asked_early: list[str] = []

    def publish() -> None:
        new = [uid for uid in api.pods if uid not in uids]
        if new and not asked_early:
            asked_early.extend(api.evictions)
            slice_["endpoints"].extend({"targetRef": {"uid": uid}, "conditions": {"ready": True}} for uid in new)

    api.inject("GET", "/endpointslices", publish, times=1000, after=3)
    result = drain()
    assert result["counts"] == {"evicted": 2} and asked_early == api.evictions[:1]


def test_a_pod_that_tolerates_the_cordon_is_not_chased(api: FakeApi, drain: Any) -> None:
    api.nodes["w2"]["spec"]["unschedulable"] = True
    stubborn = pod("op-1", of="ReplicaSet/op", tolerations=[{"operator": "Exists"}])
    api.add(stubborn)

    def come_back() -> None:
        again = pod("op-2", of="ReplicaSet/op", tolerations=[{"operator": "Exists"}])
        api.add(again)

    api.inject("POST", "/eviction", come_back)
    result = drain()
    assert not result.get("failed") and api.evictions == ["op-1"]
    assert any("op-2" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    ("annotation", "setter", "lifted"),
    [
        ('{"owner": "upgrade", "run": "dead"}', "clustercare.kubeadm", True),
        ('{"owner": "maintenance"}', "clustercare.kubeadm", False),
        (None, "kubectl-cordon", False),
        # Uncordoned and cordoned again by hand: our note is stale, the server knows who set the field.
        ('{"owner": "upgrade"}', "kubectl-cordon", False),
    ],
)
def test_only_our_own_cordon_is_lifted(
    api: FakeApi, drain: Any, annotation: str | None, setter: str, lifted: bool
) -> None:
    metadata = api.nodes["w1"]["metadata"]
    api.nodes["w1"]["spec"]["unschedulable"] = True
    metadata["managedFields"] = [{"manager": setter, "fieldsV1": {"f:spec": {"f:unschedulable": {}}}}]
    if annotation:
        metadata["annotations"][_cordon.ANNOTATION] = annotation
    result = drain(state="uncordoned", owner="upgrade")
    assert result["changed"] == lifted and cordoned(api) != lifted and api.writes == int(lifted)
    if not lifted:
        assert "stays cordoned" in result["warnings"][0] and "force_uncordon" in result["warnings"][0]


def test_an_unknown_node_is_named_beside_those_that_exist(api: FakeApi, drain: Any) -> None:
    result = drain(name="w9")
    assert result["failed"] and "w9" in result["msg"] and "w1" in result["msg"] and "w2" in result["msg"]
