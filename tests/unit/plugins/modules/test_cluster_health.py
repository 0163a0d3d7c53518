# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""cluster_health whole, against an API server that comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import FakeApi, node, status

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi(node("w1"), node("w2"))
    yield fake
    fake.close()


@pytest.fixture
def health(api: FakeApi, run_module: Any) -> Any:
    def run(**options: Any) -> dict[str, Any]:
        given = {"host": api.url, "api_key": "not-a-secret", "interval": 0.02, "timeout": 10, **options}
        result: dict[str, Any] = run_module("cluster_health", given)
        return result

    return run


def test_a_healthy_cluster_is_seen_three_times(api: FakeApi, health: Any) -> None:
    result = health(scope="cluster")
    assert result["healthy"] and result["missing"] == [] and not result["changed"]
    assert [found["name"] for found in result["nodes"]] == ["w1", "w2"]
    assert api.asked.count(("GET", "/api/v1/nodes")) == 3 and api.writes == 0


def test_a_look_that_was_spoilt_begins_the_count_again(api: FakeApi, health: Any) -> None:
    api.inject("GET", "/nodes", lambda: status(503, "shutting down"), after=2)
    assert health(scope="cluster")["healthy"]
    assert api.asked.count(("GET", "/api/v1/nodes")) == 6


def test_all_that_is_missing_is_told_when_the_time_is_over(api: FakeApi, health: Any) -> None:
    api.add(node("w3", ready=False))
    api.add(node("w4", ready=False))
    result = health(scope="cluster", timeout=0.2)
    assert result["failed"] and result["timed_out"] and not result["healthy"]
    assert len(result["missing"]) == 2 and "option timeout" in result["msg"]
    assert "node w3 is not Ready" in result["msg"] and "node w4 is not Ready" in result["msg"]


def test_without_waiting_it_tells_instead_of_failing(api: FakeApi, health: Any) -> None:
    api.add(node("w3", ready=False))
    result = health(scope="cluster", wait=False)
    assert not result.get("failed") and not result["healthy"] and len(result["missing"]) == 1


def test_a_heartbeat_seen_to_change_is_proof_whatever_the_clocks_say(api: FakeApi, health: Any) -> None:
    beat = {"spec": {"renewTime": "2026-11-22T03:00:00.000000Z", "holderIdentity": "w1"}}
    api.objects[LEASES + "w1"] = beat
    api.objects["/api/v1/nodes/w1"] = api.nodes["w1"]

    def renew() -> None:
        beat["spec"]["renewTime"] = "2026-11-22T03:00:10.000000Z"

    api.inject("GET", LEASES, renew, after=3)
    result = health(scope="node", node="w1", since="9999999999")
    assert result["healthy"] and api.asked.count(("GET", LEASES + "w1")) == 6


def test_several_scopes_are_well_in_one_look(api: FakeApi, health: Any) -> None:
    api.objects["/api/v1/nodes/w1"] = api.nodes["w1"]
    result = health(scope=["node", "control_plane"], node="w1", timeout=0.2)
    assert result["failed"] and "Waiting for node w1 and the control plane" in result["msg"]
    assert "kube-apiserver has no pod on w1" in result["msg"] and [found["name"] for found in result["nodes"]] == ["w1"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scope": ["control_plane", "node"]}, "no node is named (option node)"),
        ({"scope": ["cluster", "node"], "node": "w1"}, "cluster stands alone (option scope)"),
    ],
)
def test_scopes_that_cannot_be(api: FakeApi, health: Any, options: dict[str, Any], said: str) -> None:
    result = health(**options)
    assert result["failed"] and said in result["msg"] and not api.asked


def test_an_api_server_is_asked_past_the_load_balancer(api: FakeApi, health: Any) -> None:
    other = FakeApi()
    other.objects["/readyz"] = {}
    other.objects["/version"] = {"gitVersion": "v1.35.4"}
    api.objects["/version"] = {"gitVersion": "v1.34.4"}
    try:
        result = health(scope="cluster", version="1.35.4", api_servers=[other.url], wait=False)
    finally:
        other.close()
    assert result["api_servers"] == [{"server": other.url, "ready": True, "version": "v1.35.4"}]
    assert ("GET", "/readyz") not in api.asked and other.counted["GET"] == 2


def test_no_right_to_look_fails_at_once(api: FakeApi, health: Any) -> None:
    api.inject("GET", "/nodes", lambda: status(403, "nodes is forbidden"), times=99)
    result = health(scope="cluster", timeout=60)
    assert result["failed"] and "nodes is forbidden" in result["msg"] and result["elapsed"] < 5
