# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pods that come while a node is drained, and those that are on their way out already."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _drain_node, _drain_pods
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import (
    FakeApi,
    actions,
    budget,
    daemonset,
    pod,
)

LONG_AGO = "2026-01-01T00:00:00Z"


# --- pods that come ---------------------------------------------------------------------------------------------


def test_a_daemonset_made_meanwhile_is_known(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))

    def install() -> None:
        api.add(daemonset("agent"))
        api.add(pod("agent-1", of="DaemonSet/agent", namespace="kube-system"))

    api.inject("POST", "/eviction", install)
    result = drain()
    assert not result.get("failed"), result
    assert actions(result) == {"a": "evicted", "agent-1": "skipped"}
    assert sum(path == "/apis/apps/v1/daemonsets" for _method, path in api.asked) == 2


def test_known_daemonsets_are_read_once(api: FakeApi, drain: Any) -> None:
    api.add(pod("proxy", of="DaemonSet/kube-proxy", namespace="kube-system"))
    api.add(pod("a"))
    drain()
    assert sum(path == "/apis/apps/v1/daemonsets" for _method, path in api.asked) == 1


@pytest.mark.parametrize("foreign", [True, False])
def test_a_pod_that_its_controller_puts_here_past_the_scheduler_is_not_chased(
    api: FakeApi, drain: Any, foreign: bool
) -> None:
    if foreign:
        api.nodes["w1"]["spec"]["unschedulable"] = True
    api.termination = 0.12
    api.respawn = False
    api.add(pod("fixed-0", of="ReplicaSet/fixed"))

    def come_back() -> None:
        api.add(pod(f"fixed-{len(api.evictions)}", of="ReplicaSet/fixed"))

    api.inject("POST", "/eviction", come_back, times=9999)
    result = drain(last_replica_wait=0)
    assert not result.get("failed"), result
    assert len(api.evictions) <= 8, "it was evicted as often as it came"
    (warning,) = (said for said in result["warnings"] if "runs on w1 again after an eviction" in said)
    assert "past the scheduler" in warning
    assert list(actions(result).values()).count("skipped") == 1


def test_one_that_came_back_is_looked_for_once_more_when_it_is_gone(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A StatefulSet makes its next pod only then, a moment after nobody was left."""
    monkeypatch.setattr(_drain_pods, "_SCHEDULER_LAG", 9.0)
    monkeypatch.setattr(_drain_pods, "_LATE_ARRIVALS", 0.6)
    api.termination = 0.8
    api.respawn = False
    api.add(pod("fixed", of="StatefulSet/fixed"))
    after = [0.0, api.termination + 0.3]

    def come_back() -> None:
        if after:
            threading.Timer(after.pop(0), api.add, [pod(f"fixed-{len(after)}", of="StatefulSet/fixed")]).start()

    api.inject("POST", "/eviction", come_back, times=9999)
    result = drain(last_replica_wait=0)
    assert not result.get("failed") and len(api.evictions) == 3 and not api.pods, result


def test_a_pod_that_a_scheduler_far_behind_puts_here_still_goes(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_drain_pods, "_SCHEDULER_LAG", 5.0)
    api.termination = 0.5
    api.respawn = False
    api.add(pod("a-1"))
    api.inject("POST", "/eviction", lambda: threading.Timer(0.3, api.add, [pod("a-2")]).start())
    result = drain(last_replica_wait=0)
    assert not result.get("failed") and actions(result) == {"a-1": "evicted", "a-2": "evicted"}


def test_a_pod_that_comes_while_volumes_are_awaited_costs_no_hurry(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_drain_node, "_LOOK_AT_VOLUMES_EVERY", 0.3)
    api.termination = 0.8
    api.add(pod("a"))
    api.others["volumeattachments"] = attached = [
        {"metadata": {"name": "x"}, "spec": {"nodeName": "w1", "source": {"persistentVolumeName": "pv"}}}
    ]
    naps: list[float] = []
    nap = _drain_node.NodeDrain.due_in

    def due_in(self: Any, now: float) -> float:
        naps.append(nap(self, now))
        return naps[-1]

    monkeypatch.setattr(_drain_node.NodeDrain, "due_in", due_in)

    api.inject("GET", "/volumeattachments", lambda: api.add(pod("late", of="ReplicaSet/late")))
    api.inject("GET", "/volumeattachments", attached.clear, after=2)
    result = drain(wait_for_volume_detach=True)
    assert not result.get("failed") and actions(result) == {"a": "evicted", "late": "evicted"}
    # On a slow machine some are late; without a rest it would be nearly all of them.
    assert sum(seconds <= 0 for seconds in naps) < len(naps) / 2, naps


# --- pods on their way out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("patience", [None, 30])
def test_a_finished_pod_that_a_finalizer_keeps_is_treated_as_at_the_first_time(
    api: FakeApi, drain: Any, patience: int | None
) -> None:
    api.add(pod("kept", phase="Failed", ready=False, finalizers=["example.org/keep"], deletionTimestamp=LONG_AGO))
    options = {"skip_terminating_older_than": patience} if patience else {}
    result = drain(timeout=0.5, **options)
    assert result.get("failed", False) == (patience is None)
    assert actions(result) == {"kept": "left_terminating" if patience else "remaining"}
    if patience is None:
        assert "kept by finalizer example.org/keep" in result["msg"]


@pytest.mark.parametrize(
    ("fate", "action"), [("completed", "finished"), ("deleted", "already_gone"), ("terminating", "waited")]
)
def test_the_end_of_a_pod_that_should_complete(api: FakeApi, drain: Any, fate: str, action: str) -> None:
    job = pod("job", of="Job/night")
    api.add(job)

    def end() -> None:
        if fate == "completed":
            job["status"]["phase"] = "Succeeded"
        elif fate == "deleted":
            api.pods.clear()
        else:
            api._let_go(job)

    api.inject("GET", "fieldSelector", end, after=3)
    result = drain(rules=[{"behavior": "wait_completed"}])
    assert not result.get("failed") and actions(result) == {"job": action} and api.evictions == []


def test_pods_of_daemonsets_stay_while_others_still_complete(api: FakeApi, drain: Any) -> None:
    everything = [{"operator": "Exists"}]
    job = pod("job", of="Job/night")
    api.add(pod("cni", of="DaemonSet/kube-proxy", namespace="kube-system", tolerations=everything))
    api.add(job)
    api.add(pod("web"))
    asked: list[str] = []

    def complete() -> None:
        asked.extend(api.evictions)
        job["status"]["phase"] = "Succeeded"

    api.inject("GET", "fieldSelector", complete, after=12)
    result = drain(daemonsets="evict", rules=[{"selector": "app=night", "behavior": "wait_completed"}])
    assert not result.get("failed"), result
    assert asked == ["web"] and api.evictions == ["web", "cni"]


# --- volumes of those that stay ---------------------------------------------------------------------------------


def claimed(name: str, volume: str) -> Any:
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"volumeName": volume}}


@pytest.mark.parametrize("kept_by", ["pod_selector", "skip_terminating_older_than"])
def test_volumes_of_pods_that_stay_are_not_awaited(api: FakeApi, drain: Any, kept_by: str) -> None:
    uses = [{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}]
    options: dict[str, Any] = {"pod_selector": "app=web"}
    stays: dict[str, Any] = {}
    if kept_by == "skip_terminating_older_than":
        options, stays = {kept_by: 30}, {"deletionTimestamp": LONG_AGO, "finalizers": ["x"]}
    api.add(pod("a"))
    api.add(pod("db-0", of="StatefulSet/db", volumes=uses, **stays))
    api.others["persistentvolumeclaims"] = [claimed("disk", "pv-disk")]
    api.others["volumeattachments"] = [
        {"metadata": {"name": "x"}, "spec": {"nodeName": "w1", "source": {"persistentVolumeName": "pv-disk"}}}
    ]
    result = drain(wait_for_volume_detach=True, timeout=2, **options)
    assert not result.get("failed"), result["msg"]
    assert result["volumes_attached"] == []


# --- who is named -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
def test_single_replicas_are_named_whoever_guards_them_and_whenever_they_go(
    api: FakeApi, drain: Any, check: bool
) -> None:
    single = "the only replica of StatefulSet/"
    api.add(pod("guarded-0", of="StatefulSet/guarded"))
    api.add(budget("guarded", 0, app="guarded"))
    api.add(pod("last-0", of="StatefulSet/last"))
    api.add(pod("shared-0", of="StatefulSet/shared"))
    api.add(pod("shared-1", of="StatefulSet/shared", on="w2"))
    api.add(budget("shared", 0, app="shared"))
    result = drain(check=check, rules=[{"selector": "app=last", "order": 7}])
    risks = {entry["pod"]: entry["risks"] for entry in result["at_risk"]}
    assert risks == {"shop/guarded-0": [f"{single}guarded"], "shop/last-0": [f"{single}last"]}


def test_pods_under_a_budget_that_have_siblings_here_cost_no_look_elsewhere(api: FakeApi, drain: Any) -> None:
    for name in "abcd":
        api.add(pod(name))
    api.add(budget("web", 3, app="web"))
    assert not drain().get("failed")
    paths = {path for _method, path in api.asked}
    assert "/api/v1/nodes" not in paths and "/api/v1/namespaces/shop/pods" not in paths


def test_a_drain_of_guarded_replicas_costs_one_look_at_their_namespace(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.add(pod("b", on="w2"))
    api.add(budget("web", 1, app="web"))
    assert not drain().get("failed")
    asked = [path for _method, path in api.asked]
    assert asked.count("/api/v1/namespaces/shop/pods") == 1 and "/api/v1/nodes" not in asked
