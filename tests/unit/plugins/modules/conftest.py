# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the tests of node_drain share: a fake cluster, in which time runs faster, and the module itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic

HURRY = (
    ("_drain_pods._LOOK_EVERY", 0.05),
    ("_drain_pods._LOOK_AT_MOST_EVERY", 0.05),
    ("_drain_pods._LATE_ARRIVALS", 0.05),
    ("_drain_pods._SCHEDULER_LAG", 0.2),
    ("_drain_node._LOOK_AT_NODE_EVERY", 0.1),
    ("_drain_node._LOOK_AT_VOLUMES_EVERY", 0.05),
    ("_drain_replicas._LOOK_EVERY", 0.05),
    ("_drain_replicas._PROXY_LAG", 0.05),
    ("_drain_replicas._SETTLE", 0.2),
    ("_drain_replicas._SETTLE_AS_OLDEST", 3.0),
)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    # Only here: the collection can be imported once pytest has begun to collect, which is after this file.
    from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import FakeApi, daemonset, node

    for name, seconds in HURRY:
        monkeypatch.setattr(f"ansible_collections.clustercare.kubeadm.plugins.module_utils.{name}", seconds)
    monkeypatch.setenv("HOME", str(tmp_path))
    fake = FakeApi(node("w1"), node("w2"), daemonset("kube-proxy"))
    yield fake
    fake.close()


@pytest.fixture
def drain(api: Any, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    # In this process Ansible would show a warning once instead of putting it into the result.
    warned: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda self, warning: warned.append(warning))

    def run(check: bool = False, **options: Any) -> dict[str, Any]:
        connection = {"host": api.url, "api_key": "not-a-secret"}
        names = {} if "names" in options else {"name": "w1"}
        result: dict[str, Any] = run_module(
            "node_drain", {**connection, "timeout": 10, **names, **options}, check=check, diff=True
        )
        return {**result, "warnings": warned}

    return run
