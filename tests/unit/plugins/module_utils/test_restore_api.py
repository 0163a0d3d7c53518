# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_api import (
    is_ours,
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
    since = renewed("2026-01-01T00:00:00Z")
    assert not_ready(nodes, leases, since) == ["sick", "silent", "unknown"]
    assert not_ready(nodes, leases, since, ["silent", "gone"]) == ["sick", "unknown"]


@pytest.mark.parametrize("written", [None, "", "yesterday"])
def test_a_lease_that_was_never_renewed(written: str | None) -> None:
    assert renewed(written) == 0.0
