# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""node_drain's options, each against an API server in this process."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _cordon, _drain_node
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import FakeApi, actions, budget, pod

EMPTY_DIR = [{"name": "d", "emptyDir": {}}]


def reasons(result: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["reason"] for entry in result["pods"]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 0}, "Option timeout is 0"),
        ({"grace_period": -1}, "Option grace_period is -1"),
        ({"max_concurrent": 0}, "Option max_concurrent is 0"),
        ({"names": []}, "No node was named"),
        ({"namespaces": []}, "Option namespaces names no namespace"),
        ({"namespaces": ""}, "Option namespaces names no namespace"),
        ({"rules": [{"namespaces": [], "behavior": "skip"}]}, "Option rules[0].namespaces names no namespace"),
        ({"pod_selector": "app in web"}, "'app in web' in 'app in web' is no label selector (option pod_selector)"),
        ({"rules": [{"selector": "="}]}, "option rules[0].selector"),
        ({"rules": [{}, {"namespaces": ["a"], "namespace_selector": "b"}]}, "Option rules[1] has both"),
        ({"rules": [{"behavior": "skip", "order": 3}]}, "Option rules[0] has an order"),
        ({"name": "w1", "names": ["w2"]}, "mutually exclusive"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_asked(
    api: FakeApi, drain: Any, options: dict[str, Any], said: str
) -> None:
    result = drain(**options)
    assert result["failed"] and said in result["msg"] and sum(api.counted.values()) == 0


def test_no_grace_is_honoured_and_warned_of(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    result = drain(grace_period=0)
    assert [b["deleteOptions"]["gracePeriodSeconds"] for b in api.bodies if "deleteOptions" in b] == [0]
    assert any("grace_period=0" in warning for warning in result["warnings"])


def test_a_pod_selector_is_left_to_the_server(api: FakeApi, drain: Any) -> None:
    api.add(pod("a", labels={"app": "a"}))
    api.add(pod("b", labels={"app": "b"}))
    result = drain(pod_selector="app in (a,c)")
    assert actions(result) == {"a": "evicted"} and api.evictions == ["a"]


@pytest.mark.parametrize(
    ("options", "gone", "said"),
    [
        ({"namespaces": ["shop"]}, ["a"], "option namespaces"),
        ({"exclude_namespaces": ["other"]}, ["a"], "option exclude_namespaces"),
    ],
)
def test_namespaces(api: FakeApi, drain: Any, options: Any, gone: list[str], said: str) -> None:
    api.add(pod("a"))
    api.add(pod("b", namespace="other", of=None))
    result = drain(**options)
    assert api.evictions == gone and said in reasons(result)["b"]


def test_rules_skip_wait_and_order(api: FakeApi, drain: Any) -> None:
    api.others["namespaces"] = [
        {"metadata": {"name": "batch", "labels": {"kind": "batch"}}},
        {"metadata": {"name": "shop", "labels": {}}},
    ]
    database = pod("db", of="StatefulSet/db", labels={"app": "db"})
    job = pod("job", of="Job/night", namespace="batch")
    for item in (database, job, pod("web"), pod("kept", of=None, labels={"keep": "yes"})):
        api.add(item)
    finished: list[list[str]] = []

    def finish() -> None:
        finished.append(list(api.evictions))
        job["status"]["phase"] = "Succeeded"

    api.inject("GET", "fieldSelector", finish, after=12)
    rules = [
        {"selector": "keep", "behavior": "skip"},
        {"selector": "app=db", "namespaces": ["shop"], "order": 5},
        {"namespace_selector": "kind=batch", "behavior": "wait_completed"},
    ]
    result = drain(rules=rules)
    assert not result.get("failed"), result
    assert actions(result) == {"db": "evicted", "job": "finished", "web": "evicted", "kept": "skipped"}
    assert api.evictions == ["web", "db"] and finished == [["web", "db"]]
    assert result["plan"]["waves"] == [["shop/web"], ["shop/db"]]


def test_a_pod_that_has_to_complete_is_named_when_the_time_is_over(api: FakeApi, drain: Any) -> None:
    api.add(pod("job", of="Job/night"))
    result = drain(timeout=0.5, rules=[{"behavior": "wait_completed"}])
    assert result["failed"] and "shop/job (works until it has completed (option rules))" in result["msg"]
    assert api.evictions == []


def test_pods_of_daemonsets_go_last_and_are_not_chased(api: FakeApi, drain: Any) -> None:
    everything = [{"operator": "Exists"}]

    def proxy(name: str) -> Any:
        return pod(name, of="DaemonSet/kube-proxy", namespace="kube-system", tolerations=everything)

    api.add(proxy("proxy-1"))
    api.add(pod("web"))

    def come_back() -> None:
        api.add(proxy("proxy-2"))

    api.inject("POST", "proxy-1/eviction", come_back)
    result = drain(daemonsets="evict")
    assert api.evictions == ["web", "proxy-1"]
    assert actions(result) == {"web": "evicted", "proxy-1": "evicted", "proxy-2": "skipped"}
    assert result["warnings"] == []


def test_plain_deletion_asks_no_budget_but_keeps_the_last_replica(api: FakeApi, drain: Any) -> None:
    for name in ("a", "b"):
        api.add(pod(name))
    api.add(budget("one", 2, app="web"))
    api.add(budget("two", 2, app="web"))
    result = drain(eviction="delete", grace_period=3)
    assert not result.get("failed"), result
    assert result["counts"] == {"deleted": 2} and api.evictions == []
    assert {body["gracePeriodSeconds"] for body in api.bodies if "preconditions" in body} == {3}
    assert result["plan"]["never"] == [] and len(result["plan"]["waves"]) == 2


def test_a_budget_that_stays_closed_ends_the_drain_early(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))
    result = drain(pdb_timeout=0.3, timeout=60)
    assert result["failed"] and not result["timed_out"] and result["elapsed"] < 5
    assert "let nobody go for 0.3 s (option pdb_timeout)" in result["msg"]
    assert "budget shop/web (needs 1 healthy, has 1, allows 0)" in result["msg"]


def test_a_budget_that_stays_closed_is_passed_by_on_request_and_named(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))
    result = drain(pdb_timeout=0.3, on_pdb_timeout="delete")
    assert actions(result) == {"a": "deleted"} and api.deletions == ["a"] and api.evictions == []
    (risk,) = result["at_risk"]
    assert any("deleted past its budget shop/web" in said for said in risk["risks"])
    assert any("option on_pdb_timeout" in warning for warning in result["warnings"])


def test_a_budget_that_moves_on_is_not_lost_patience_with(api: FakeApi, drain: Any) -> None:
    api.termination = 0.6
    for name in "abcdef":
        api.add(pod(name))
    api.add(budget("web", 5, app="web"))
    result = drain(pdb_timeout=3.0, on_pdb_timeout="delete")
    assert result["counts"] == {"evicted": 6}, "six after another take longer than pdb_timeout, none is stuck"


def test_pods_that_have_been_terminating_for_long_are_left(api: FakeApi, drain: Any) -> None:
    api.add(pod("old", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x"]))
    api.add(pod("web"))
    result = drain(skip_terminating_older_than=30)
    assert not result.get("failed") and actions(result) == {"old": "left_terminating", "web": "evicted"}


def test_check_mode_tells_of_pods_that_would_be_left(api: FakeApi, drain: Any) -> None:
    api.add(pod("old", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x"]))
    api.add(pod("web"))
    result = drain(skip_terminating_older_than=30, check=True)
    assert actions(result) == {"old": "left_terminating", "web": "would_evict"}


@pytest.mark.parametrize(("ahead", "action"), [(-3600, "remaining"), (3600, "left_terminating")])
def test_how_long_a_pod_terminates_is_told_by_the_servers_clock(
    api: FakeApi, drain: Any, ahead: float, action: str
) -> None:
    api.ahead = ahead
    asked = time.gmtime(time.time() + min(ahead, 0) - 2)
    api.add(pod("old", deletionTimestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", asked), finalizers=["x"]))
    assert actions(drain(skip_terminating_older_than=60, timeout=1)) == {"old": action}


def test_a_silent_node_is_refused(api: FakeApi, drain: Any) -> None:
    api.nodes["w1"]["status"]["conditions"][0]["status"] = "Unknown"
    api.add(pod("a"))
    result = drain()
    assert result["failed"] and not result["changed"] and api.writes == 0
    assert "kubelet is silent" in result["msg"] and "unreachable=best_effort" in result["msg"]


def test_a_silent_node_with_nobody_on_it_is_drained(api: FakeApi, drain: Any) -> None:
    api.nodes["w1"]["status"]["conditions"][0]["status"] = "Unknown"
    assert not drain().get("failed")


def test_best_effort_asks_and_does_not_wait_for_a_silent_node(api: FakeApi, drain: Any) -> None:
    api.nodes["w1"]["status"]["conditions"][0]["status"] = "Unknown"
    api.termination = 1000
    api.add(pod("a"))
    result = drain(unreachable="best_effort", timeout=20)
    assert not result.get("failed") and actions(result) == {"a": "left_terminating"} and result["changed"]
    assert [b["deleteOptions"]["gracePeriodSeconds"] for b in api.bodies if "deleteOptions" in b] == [1]
    assert any("containers may still run" in warning for warning in result["warnings"])


def test_best_effort_waits_as_usual_once_the_node_speaks_again(api: FakeApi, drain: Any) -> None:
    api.nodes["w1"]["status"]["conditions"][0]["status"] = "Unknown"
    api.termination = 2
    api.add(pod("a"))

    def speak() -> None:
        api.nodes["w1"]["status"]["conditions"][0]["status"] = "True"

    api.inject("POST", "/eviction", speak)
    result = drain(unreachable="best_effort", timeout=20)
    assert actions(result) == {"a": "evicted"}


def test_a_node_that_falls_silent_stops_the_drain(api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drain_node, "_SILENT_FOR", 0.3)
    api.termination = 1000
    api.add(pod("a"))

    def power_cut() -> None:
        api.nodes["w1"]["status"]["conditions"][0]["status"] = "Unknown"

    api.inject("POST", "/eviction", power_cut)
    result = drain(timeout=60)
    assert result["failed"] and result["elapsed"] < 10 and not result["timed_out"]
    assert "fell silent" in result["msg"] and "shop/a" in result["msg"]


def attachment(volume: str, on: str = "w1") -> Any:
    return {"metadata": {"name": f"csi-{volume}"}, "spec": {"nodeName": on, "source": {"persistentVolumeName": volume}}}


def test_volumes_are_waited_for_except_those_of_pods_that_stay(api: FakeApi, drain: Any) -> None:
    claim = [{"name": "v", "persistentVolumeClaim": {"claimName": "kept"}}]
    api.add(pod("agent", of="DaemonSet/kube-proxy", namespace="kube-system", volumes=claim))
    api.others["persistentvolumeclaims"] = [
        {"metadata": {"namespace": "kube-system", "name": "kept"}, "spec": {"volumeName": "pv-kept"}}
    ]
    attached = [attachment("pv-kept"), attachment("pv-1"), attachment("pv-2", on="w2")]
    api.others["volumeattachments"] = attached

    def detach() -> None:
        attached[:] = [item for item in attached if item["metadata"]["name"] != "csi-pv-1"]

    api.inject("GET", "/volumeattachments", detach, after=3)
    result = drain(wait_for_volume_detach=True)
    assert not result.get("failed") and len(attached) == 2 and result["volumes_attached"] == []
    assert "volumes" in result["seconds"]


def test_a_volume_that_stays_attached_is_named(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.others["volumeattachments"] = [attachment("pv-1")]
    result = drain(wait_for_volume_detach=True, timeout=1)
    assert result["failed"] and result["timed_out"] and result["volumes_attached"] == ["pv-1"]
    assert "its pods are gone, but volumes are still attached: pv-1" in result["msg"]


def big(name: str, **more: Any) -> Any:
    requests = {"resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}
    return pod(name, of=f"ReplicaSet/{name}", containers=[{"name": "c", **requests}], **more)


@pytest.mark.parametrize("wish", ["off", "warn", "fail"])
def test_pods_that_find_no_place(api: FakeApi, drain: Any, wish: str) -> None:
    api.add(big("one"))
    api.add(big("two"))
    result = drain(capacity_check=wish)
    said = "too little cpu free on w2"
    assert result.get("failed", False) == (wish == "fail") and bool(api.writes) == (wish != "fail")
    assert any(said in warning for warning in result["warnings"]) == (wish == "warn")
    assert (said in result.get("msg", "")) == (wish == "fail")


def test_check_mode_tells_of_pods_without_a_place(api: FakeApi, drain: Any) -> None:
    api.add(big("one"))
    api.add(big("two"))
    api.add(big("there", on="w2"))
    api.add(pod("fussy", of="ReplicaSet/fussy", nodeSelector={"disk": "ssd"}))
    lost = {entry["pod"]: entry["reason"] for entry in drain(check=True)["plan"]["no_place"]}
    assert lost == {
        "shop/one": "too little cpu free on w2",
        "shop/two": "too little cpu free on w2",
        "shop/fussy": "no other node takes it (taints, selectors, Ready)",
    }
    assert api.writes == 0


def test_local_data_is_named(api: FakeApi, drain: Any) -> None:
    volumes = [
        {"name": "l", "persistentVolumeClaim": {"claimName": "disk"}},
        {"name": "h", "hostPath": {"path": "/srv/data"}},
        {"name": "r", "hostPath": {"path": "/etc/ssl"}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
    ]
    mounts = [{"name": "h"}, {"name": "r", "readOnly": True}]
    api.add(pod("db-0", of="StatefulSet/db", volumes=volumes, containers=[{"name": "c", "volumeMounts": mounts}]))
    api.add(pod("cache", volumes=EMPTY_DIR))
    api.others["persistentvolumeclaims"] = [
        {"metadata": {"namespace": "shop", "name": "disk"}, "spec": {"volumeName": "pv-disk"}}
    ]
    api.others["persistentvolumes"] = [{"metadata": {"name": "pv-disk"}, "spec": {"local": {"path": "/mnt"}}}]
    result = drain(check=True, emptydir="delete")
    risks = {entry["pod"]: entry["risks"] for entry in result["at_risk"]}
    assert risks["shop/db-0"] == [
        "data in ephemeral volume e",
        "data in hostPath /srv/data stays on this node",
        "its local PersistentVolume pv-disk stays on this node",
        "the only replica of StatefulSet/db",
    ]
    assert "local data in emptyDir d" in risks["shop/cache"]


def test_the_reason_stands_on_the_node(api: FakeApi, drain: Any) -> None:
    drain(state="cordoned", cordon_reason="new disks")
    assert '"reason": "new disks"' in api.nodes["w1"]["metadata"]["annotations"][_cordon.ANNOTATION]
    again = drain(state="uncordoned", owner="somebody")
    assert "new disks" in again["warnings"][-1]


def test_110_pods_cost_few_calls_and_never_a_get_of_one(api: FakeApi, drain: Any) -> None:
    for number in range(110):
        api.add(pod(f"a{number}"))
    api.add(pod("there", on="w2"))
    began = time.monotonic()
    result = drain()
    seconds = time.monotonic() - began
    assert result["counts"] == {"evicted": 110}
    calls = result["api_calls"]
    assert calls["create"] == 110 and calls["patch"] == 1
    # In this test a LIST may go out every 0.05 s instead of every second, a look at the node every 0.1 s.
    assert calls["list"] <= 10 + seconds / 0.05 and calls["get"] <= 5 + seconds / 0.1
    assert not any(method == "GET" and path.split("/")[-2] == "pods" for method, path in api.asked)
