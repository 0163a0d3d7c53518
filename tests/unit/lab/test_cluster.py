# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from lab import cluster, paths, remote
from lab.errors import LabError
from lab.shell import Result
from lab.state import Lab, Machine

NO_SOCKET = Result(1, "", "\t[ERROR CRI]: could not connect: dial unix containerd.sock: no such file or directory\n")
NOT_SERVING = Result(1, "", "rpc error: code = Unknown desc = server is not initialized yet\n")
NO_PORT = Result(1, "", "\t[ERROR Port-6443]: Port 6443 is in use\n")
DONE = Result(0, "", "")


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run ``kubeadm init``, which ends so and so, one time after the other; returns what it would end as next."""
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr(paths, "labs", lambda: tmp_path / "labs")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    lab, machine = Lab("demo", 1, "1.34.4", "boot"), Machine("cp1", "master", 11)
    lab.log("x").parent.mkdir(parents=True)

    def run(*ends: Result) -> list[Result]:
        left = list(ends)
        monkeypatch.setattr(remote, "run", lambda *words, **options: left.pop(0))
        cluster.run_kubeadm(lab, machine, "init", "{}")
        assert not (lab.root("cp1") / "root/kubeadm.json").exists()
        return left

    return run


def test_kubeadm_is_asked_again_until_containerd_serves(init: Any) -> None:
    assert init(NO_SOCKET, NOT_SERVING, DONE, NO_PORT) == [NO_PORT]


def test_kubeadm_is_asked_once_when_it_fails_for_another_reason(init: Any) -> None:
    with pytest.raises(LabError, match="Port 6443 is in use"):
        init(NO_PORT, DONE)


def test_a_containerd_that_never_serves_is_said(init: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "RUNTIME_LIMIT", -1.0)
    with pytest.raises(LabError, match="no such file or directory"):
        init(NO_SOCKET, DONE)
