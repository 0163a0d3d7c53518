# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_tidy
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_api import (
    is_ours,
    nodes_now,
    not_ready,
    renewed,
    without_ours,
)


@pytest.mark.parametrize(
    ("metadata", "ours"),
    [
        ({"name": "clustercare"}, True),
        ({"name": "other", "annotations": {"clustercare.io/run": "r1"}}, True),
        ({"name": "other", "labels": {"clustercare.io/purpose": "drain"}}, True),
        ({"name": "kube-scheduler", "annotations": {"example.org/clustercare.io": "x"}}, False),
    ],
)
def test_only_our_own_leases_are_removed(metadata: dict[str, Any], ours: bool) -> None:
    assert is_ours({"metadata": metadata}) is ours


def node(annotations: dict[str, str], cordoned: bool) -> dict[str, Any]:
    return {"metadata": {"name": "w1", "annotations": annotations}, "spec": {"unschedulable": cordoned}}


@pytest.mark.parametrize(
    ("annotations", "cordoned", "patch"),
    [
        ({"example.org/x": "y"}, True, None),
        ({"clustercare.io/run": "r"}, True, {"metadata": {"annotations": {"clustercare.io/run": None}}}),
        (
            {"clustercare.io/cordon": "{}", "example.org/x": "y"},
            True,
            {"metadata": {"annotations": {"clustercare.io/cordon": None}}, "spec": {"unschedulable": None}},
        ),
        ({"clustercare.io/cordon": "{}"}, False, {"metadata": {"annotations": {"clustercare.io/cordon": None}}}),
    ],
)
def test_only_our_own_cordon_is_lifted(annotations: dict[str, str], cordoned: bool, patch: Any) -> None:
    assert without_ours(node(annotations, cordoned)) == patch


def test_a_stored_ready_is_no_proof() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    nodes = [
        {"metadata": {"name": "heard"}, "status": ready},
        {"metadata": {"name": "silent"}, "status": ready},
        {"metadata": {"name": "sick"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        {"metadata": {"name": "unknown"}, "status": ready},
    ]
    leases = [
        {"metadata": {"name": "heard"}, "spec": {"renewTime": "2026-01-01T00:01:00.123456Z"}},
        {"metadata": {"name": "silent"}, "spec": {"renewTime": "2025-12-31T23:59:59.000000Z"}},
        {"metadata": {"name": "sick"}, "spec": {"renewTime": "2026-01-01T00:01:00Z"}},
    ]
    found = not_ready(nodes, leases, renewed("2026-01-01T00:00:00Z"))
    assert found == {"sick": True, "silent": False, "unknown": False}


@pytest.mark.parametrize("written", [None, "", "yesterday"])
def test_a_lease_that_was_never_renewed(written: str | None) -> None:
    assert renewed(written) == 0.0


class Answers:
    """An API server with these objects."""

    def __init__(self, objects: dict[str, list[dict[str, Any]]]) -> None:
        self.objects = objects

    def get(self, path: str) -> dict[str, Any]:
        return {"items": self.objects[path.rpartition("/")[2]]}


def a_node(name: str, ready: str, heard: str) -> tuple[dict[str, Any], dict[str, Any]]:
    status = {"conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": name}, "status": status}, {"metadata": {"name": name}, "spec": {"renewTime": heard}}


def test_who_is_silent_while_nobody_can_be_heard_of() -> None:
    # etcd is full since midnight: no Lease has been renewed after that.
    pairs = [
        a_node("cp1", "True", "2026-01-01T00:00:00.000000Z"),
        a_node("w1", "True", "2025-12-31T23:59:51.000000Z"),
        a_node("w2", "True", "2025-12-31T20:00:00.000000Z"),
        a_node("w3", "Unknown", "2025-12-31T23:59:00.000000Z"),
        a_node("w4", "False", "2026-01-01T00:00:00.000000Z"),
    ]
    server: Any = Answers({"nodes": [node for node, _lease in pairs], "leases": [lease for _node, lease in pairs]})
    assert nodes_now(server) == (["cp1", "w1", "w2", "w3", "w4"], ["w2", "w3", "w4"])


@pytest.mark.parametrize(
    ("plan", "nodes", "patient", "waits_for"),
    [
        # It was well before, so it has to come back.
        ({"unready_nodes": []}, {"w1": False}, False, ["w1"]),
        ({"unready_nodes": ["w1"]}, {"w1": False, "w2": True}, True, ["w2"]),
        # The Node of a master that was left out is in the data.
        ({"unready_nodes": [], "without": ["cp3"]}, {"cp3": False}, True, []),
        # No API server could be asked before: a silent one is given up, one that is heard of is not.
        ({"unready_nodes": None}, {"w1": False, "w2": True}, True, ["w1", "w2"]),
        ({"unready_nodes": None}, {"w1": False, "w2": True}, False, ["w2"]),
        ({}, {"w1": False}, False, []),
    ],
)
def test_nodes_that_were_not_well_before_are_not_awaited(
    plan: dict[str, Any], nodes: dict[str, bool], patient: bool, waits_for: list[str]
) -> None:
    assert _restore_tidy.awaited(nodes, _restore_tidy.expected(plan), patient) == waits_for
