# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is away on a host for a moment is waited for before it is told."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _host_look
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import Process

SCHEDULER = Process(7, "/usr/local/bin/kube-scheduler", ["kube-scheduler"], 0.0)


class NoJobs:
    def look(self) -> None:
        return None


def a_master(scheduler: bool) -> dict[str, Any]:
    return {
        "role": "master",
        "api": {"reachable": True},
        "open_run": None,
        "static_pods": {"kube-scheduler": {"running": scheduler}},
    }


@pytest.mark.parametrize(
    ("patience", "tables", "told"),
    [
        (5, [[], [SCHEDULER]], True),  # it was being started again
        (1, [[]], False),  # it stays away, and that is told
        (0, [], False),  # nobody waits
    ],
)
def test_a_static_pod_that_is_being_started_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, patience: int, tables: list[list[Process]], told: bool
) -> None:
    seen: list[list[Process]] = [[]]

    def processes() -> list[Process]:
        assert patience, "nobody asked to wait"
        seen[0] = tables.pop(0) if tables else seen[0]
        return seen[0]

    monkeypatch.setattr(_host_look, "Jobs", NoJobs)
    monkeypatch.setattr(_host_look, "gather", lambda _params: a_master(SCHEDULER in seen[0]))
    monkeypatch.setattr(_host_look, "processes", processes)
    params = {"job_timeout": 0, "api_timeout": patience, "only_master": False}
    assert _host_look.look(params)["static_pods"]["kube-scheduler"]["running"] is told
