# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Figures taken out of a report."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.clustercare.kubeadm.plugins.filter.report_query import report_query

REPORT = {
    "outcome": "failed",
    "nodes": [
        {"name": "cp1", "outcome": "upgraded", "seconds": 190.5},
        {"name": "w1", "outcome": "upgraded", "seconds": 47.0},
        {"name": "w2", "outcome": "failed", "seconds": 12.0},
    ],
    "snapshot": {"sha256": "ab" * 32},
}


def test_figures() -> None:
    figures = {
        "outcome": "outcome",
        "upgraded": "length(nodes[?outcome == 'upgraded'])",
        "slowest": "max_by(nodes, &seconds).name",
        "sha256": "snapshot.sha256",
        "nothing": "no.such.thing",
    }

    assert report_query(REPORT, figures) == {
        "outcome": "failed",
        "upgraded": 2,
        "slowest": "cp1",
        "sha256": "ab" * 32,
        "nothing": None,
    }


def test_a_wrong_expression_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match=r"slowest.*nodes\["):
        report_query(REPORT, {"slowest": "nodes["})
