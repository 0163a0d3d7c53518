# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""maintenance_plan whole: what it asks the API, and when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import FakeApi, node

MASTER = {"node-role.kubernetes.io/control-plane": ""}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi(node("cp1", labels=MASTER), node("cp2", labels=MASTER), node("w1"))
    fake.objects["/api/v1/namespaces/kube-system"] = {"metadata": {"name": "kube-system", "uid": "u1"}}
    yield fake
    fake.close()


@pytest.fixture
def second() -> Iterator[FakeApi]:
    """The other master's own API server."""
    fake = FakeApi()
    fake.objects["/readyz"] = {}
    yield fake
    fake.close()


@pytest.fixture
def plan(api: FakeApi, second: FakeApi, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    import urllib3

    # The fakes speak without TLS.
    monkeypatch.setattr(Api, "direct", lambda _self, server: Api(urllib3.PoolManager(), f"http://{server}", dict))

    def host(name: str, url: str) -> dict[str, Any]:
        address, _colon, port = url.rpartition("/")[2].rpartition(":")
        told = {"address": address, "port": int(port), "reachable": True, "kube_system_uid": "u1"}
        return {"node_name": name, "hostname": name, "static_pods": {}, "api": told}

    def run(check: bool = False, **options: Any) -> dict[str, Any]:
        given = {
            "host": api.url,
            "api_key": "not-a-secret",
            "run_id": "r1",
            "targets": ["cp1", "w1"],
            "masters": ["cp1", "cp2"],
            "wish": {"reboot": "always"},
            "hosts": {
                "cp1": host("cp1", api.url),
                "cp2": host("cp2", second.url),
                "w1": {"node_name": "w1", "hostname": "w1", "static_pods": {}},
            },
            "timeout": 5,
            **options,
        }
        result: dict[str, Any] = run_module("maintenance_plan", given, check=check)
        return result

    return run


def test_a_plan_is_made_without_a_write(api: FakeApi, plan: Any) -> None:
    made = plan()
    assert made["plan"]["refusals"] == [] and made["plan"]["order"]["masters"] == ["cp1"], made
    assert api.writes == 0 and not made["changed"]


def test_a_master_goes_only_while_another_api_server_answers_now(second: FakeApi, plan: Any) -> None:
    assert plan(batch=["cp1"])["refusals"] == []
    second.inject("GET", "/readyz", lambda: (500, {"message": "[-]etcd failed"}), times=9)
    refused = plan(batch=["cp1"])
    assert refused["failed"] and "cp1 cannot be taken out of service now" in refused["msg"]
    assert "No API server but that of cp1 answers" in refused["msg"] and len(refused["refusals"]) == 1
    assert plan(batch=["cp1"], allow_outage=True)["refusals"] == []


def test_a_worker_asks_no_master(second: FakeApi, plan: Any) -> None:
    assert plan(batch=["w1"])["refusals"] == [] and second.asked == []
