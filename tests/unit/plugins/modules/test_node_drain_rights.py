# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rights that docs/draining.md lists are those that node_drain uses: enough of them, and not one more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _lock
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import FakeApi, budget, node, pod, status

PAGE = Path(__file__).resolve().parents[4] / "docs" / "draining.md"
PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/v1)(?:/namespaces/[^/]+(?=/))?/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?P<sub>/.+)?"
)
Right = tuple[str, str, str]


def documented() -> list[set[Right]]:
    """What is needed, what helps, and what single options need, as (verb, group, resource)."""
    chapter = PAGE.read_text(encoding="utf-8").split("\n## Rights\n")[1].split("\n## ")[0]
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", chapter, re.DOTALL)]
    return [
        {
            (verb, group, resource)
            for rule in block["rules"]
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }
        for block in blocks
    ]


def right(method: str, path: str) -> Right:
    """The right that a request takes."""
    found = PATH.fullmatch(path.partition("?")[0])
    assert found, path
    verb = {"GET": "get" if found["name"] else "list", "POST": "create", "PATCH": "patch", "DELETE": "delete"}[method]
    return verb, found["group"] or "", found["resource"] + (found["sub"] or "")


def only(api: FakeApi, rights: set[Right], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is not allowed is forbidden, as a real API server says it."""

    def guard(method: str, path: str) -> Any:
        verb, group, resource = right(method, path)
        if (verb, group, resource) in rights:
            return None
        said = f'User "drain" cannot {verb} resource "{resource}" in API group "{group}"'
        return status(403, f"{resource} is forbidden: {said}", "Forbidden")

    monkeypatch.setattr(api, "_injected", guard)


def furnish(api: FakeApi) -> None:
    """A node with one of each kind: replicas to hold, a single one, budgets, local volumes, a Job, a DaemonSet."""
    api.add(node("w3"))
    uses = [{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}]
    for name in ("dns-1", "dns-2"):
        api.add(pod(name, of="ReplicaSet/dns"))
    api.add(pod("db-0", of="StatefulSet/db", volumes=uses))
    api.add(pod("leaving", of="ReplicaSet/pair", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x"]))
    api.add(pod("stays", of="ReplicaSet/pair"))
    api.add(pod("guarded"))
    api.add(budget("web", 0, app="web"))
    api.add(pod("proxy", of="DaemonSet/kube-proxy", namespace="kube-system", volumes=uses))
    attached = {"metadata": {"name": "x"}, "spec": {"nodeName": "w1", "source": {"persistentVolumeName": "pv"}}}
    api.others["volumeattachments"] = [attached]
    claims = [("kube-system", "disk"), ("shop", "disk")]
    api.others["persistentvolumeclaims"] = [
        {"metadata": {"namespace": namespace, "name": name}, "spec": {"volumeName": "pv"}} for namespace, name in claims
    ]
    api.others["namespaces"] = [{"metadata": {"name": "shop"}}]


def test_what_every_drain_needs_is_enough(api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish(api)
    only(api, documented()[0], monkeypatch)
    result = drain(skip_terminating_older_than=1, last_replica_wait=1)
    assert not result.get("failed"), result["msg"]
    assert {entry["name"] for entry in result["pods"] if entry["action"] == "evicted"} >= {"dns-1", "dns-2", "guarded"}
    said = " ".join(result["warnings"])
    assert "Nodes may not be listed" in said and "endpointslices may not be listed" in said


@pytest.mark.parametrize("state", ["cordoned", "uncordoned"])
def test_cordons_need_the_first_rule_only(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    if state == "uncordoned":
        drain(state="cordoned")
    only(api, {("get", "", "nodes"), ("patch", "", "nodes")}, monkeypatch)
    assert not drain(state=state).get("failed")


def test_each_right_of_the_page_is_used_and_none_is_missing(api: FakeApi, drain: Any) -> None:
    furnish(api)
    api.objects[_lock.PATH] = {
        "metadata": {"name": "x", "resourceVersion": "1", "uid": "u"},
        "spec": {"holderIdentity": "r1", "renewTime": "2026-11-22T03:00:00.000000Z", "leaseDurationSeconds": 900},
    }
    rules = [{"namespace_selector": "kind=batch", "behavior": "skip"}]
    asked: list[Right] = []
    for options in (
        {"capacity_check": "warn", "rules": rules, "wait_for_volume_detach": True, "skip_terminating_older_than": 1,
         "last_replica_wait": 1},
        {"eviction": "delete", "name": "w2"},
        {"state": "uncordoned", "lock_run": "r1"},
    ):  # fmt: skip
        assert not drain(**options).get("failed")
        asked.extend(right(method, path) for method, path in api.asked)
        api.asked.clear()
        api.add(pod("again", on="w2", of="ReplicaSet/again"))
    needed, helpful, single = documented()
    assert set(asked) == needed | helpful | single
