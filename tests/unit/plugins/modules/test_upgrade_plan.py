# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""upgrade_plan whole, against an API server that counts what it is asked."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import FakeApi, budget, node, pod

CA = hashlib.sha256(b"ca").hexdigest()
UID = "uid-of-kube-system"
SYSTEM = "/api/v1/namespaces/kube-system"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def config_map(key: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": key, "namespace": "kube-system"}, "data": {key: yaml.safe_dump(content)}}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    master = {"node-role.kubernetes.io/control-plane": ""}
    fake = FakeApi(node("cp1", labels=master), node("w1"), node("w2"))
    for item in fake.nodes.values():
        item["status"]["nodeInfo"] = {"kubeletVersion": "v1.34.4"}
    kubeadm = {"apiVersion": "kubeadm.k8s.io/v1beta4", "clusterName": "kubernetes", "kubernetesVersion": "v1.34.4"}
    fake.objects = {
        SYSTEM: {"metadata": {"name": "kube-system", "uid": UID}},
        "/version": {"gitVersion": "v1.34.4"},
        f"{SYSTEM}/configmaps/kubeadm-config": config_map("ClusterConfiguration", kubeadm),
        f"{SYSTEM}/configmaps/kubelet-config": config_map("kubelet", {"failCgroupV1": False}),
    }
    yield fake
    fake.close()


def facts(name: str) -> dict[str, Any]:
    """What kubeadm_host_info tells of a host, as far as it matters here."""
    master = name == "cp1"
    return {
        "node_name": name,
        "role": "master" if master else "worker",
        "cgroup": 2,
        "kubelet": {"installed": "1.34.4", "running": "1.34.4", "stale": False, "flags": []},
        "packages": {"manager": "apt", "installed": {"kubeadm": "1.34.4-1.1", "kubelet": "1.34.4-1.1"}},
        "static_pods": {c: {"version": "1.34.4", "running": True, "flags": []} for c in COMPONENTS if master},
        "ca_sha256": CA,
        "api": {"address": "192.0.2.1", "port": 6443, "reachable": True, "version": "v1.34.4", "kube_system_uid": UID}
        if master
        else None,
    }


@pytest.fixture
def plan(api: FakeApi, run_module: Any) -> Any:
    def run(ca: bytes = b"ca", check: bool = False, **options: Any) -> dict[str, Any]:
        pem = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(ca).decode()}\n-----END CERTIFICATE-----\n"
        cluster = {"server": api.url, "certificate-authority-data": base64.b64encode(pem.encode()).decode()}
        kubeconfig = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": "not-a-secret"}}],
        }
        names = ("cp1", "w1", "w2")
        address, _colon, port = api.url.rpartition(":")
        reached = {**(facts("cp1")["api"] or {}), "address": address, "port": int(port)}
        given = {
            "kubeconfig": kubeconfig,
            "version": "1.35",
            "masters": ["cp1"],
            "workers": ["w1", "w2"],
            "hosts": {name: {**facts(name), **({"api": reached} if name == "cp1" else {})} for name in names},
            "packages": {name: {"available": ["1.35.3-1.1", "1.35.4-1.1"]} for name in names},
            "timeout": 5,
        }
        result: dict[str, Any] = run_module("upgrade_plan", {**given, **options}, check=check)
        return result

    return run


@pytest.mark.parametrize("check", [False, True])
def test_a_plan_only_reads(api: FakeApi, plan: Any, check: bool) -> None:
    api.add(pod("web-1"))
    api.add(budget("web", 1, app="web"))
    result = plan(check=check)

    assert not result["changed"] and result["plan"]["refusals"] == []
    assert result["plan"]["target"] == "1.35.4"
    assert [blocker["budget"] for blocker in result["plan"]["blockers"]] == ["shop/web"]
    assert set(api.counted) == {"GET"} and sum(api.counted.values()) <= 9


def test_a_kubeconfig_of_another_cluster_is_asked_for_nothing_but_its_name(api: FakeApi, plan: Any) -> None:
    (refusal,) = plan(ca=b"another")["plan"]["refusals"]

    assert refusal["rule"] == "identity"
    assert api.url in refusal["message"] and UID in refusal["message"] and CA[:12] in refusal["message"]
    assert {path for _method, path in api.asked} == {SYSTEM}


def test_an_api_that_does_not_answer_is_a_refusal_in_words(api: FakeApi, plan: Any) -> None:
    api.inject("GET", "/api/v1/nodes", lambda: (403, {"kind": "Status", "message": "nodes is forbidden"}), times=99)
    (refusal,) = plan()["plan"]["refusals"]

    assert refusal["rule"] == "api" and "nodes is forbidden" in refusal["message"]


def test_an_api_server_that_only_its_own_host_reaches_is_found_before_anything_is_changed(plan: Any) -> None:
    hosts = {name: facts(name) for name in ("cp1", "w1", "w2")}
    hosts["cp1"]["api"].update(address="127.0.0.1", port=9)
    (refusal,) = plan(hosts=hosts)["plan"]["refusals"]

    assert (refusal["host"], refusal["rule"]) == ("cp1", "unreached")
    assert "127.0.0.1:9" in refusal["message"] and "refused" in refusal["message"]


def test_without_a_kubeconfig_nobody_is_asked(api: FakeApi, plan: Any) -> None:
    hosts = {name: facts(name) for name in ("cp1", "w1", "w2")}
    hosts["cp1"]["api"].update(reachable=False, error="connection refused", version=None)
    refusals = plan(kubeconfig={}, hosts=hosts)["plan"]["refusals"]

    assert {refusal["rule"] for refusal in refusals} == {"api", "control_plane"}
    assert any("192.0.2.1:6443" in refusal["message"] for refusal in refusals)
    assert api.asked == []


def test_nonsense_is_a_failure(plan: Any) -> None:
    result = plan(max_unavailable="half")

    assert result["failed"] and "max_unavailable is 'half'" in result["msg"]


def test_secrets_do_not_come_back(plan: Any) -> None:
    assert "not-a-secret" not in str(plan())
