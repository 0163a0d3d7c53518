# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Three masters and two workers go one minor up under load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import Lab, play

TARGET = "1.35.4"

pytestmark = pytest.mark.long


def test_upgrades_three_masters_under_load(lab: Lab, tmp_path: Path) -> None:
    lab.up(masters=3, workers=2)
    inventory = Path(lab.status()["inventory"])
    lab.run("workload", "start", "--rate", "10")
    played = play("upgrade-cluster.yml", inventory, kubernetes_version=TARGET, run_dir=str(tmp_path / "run"))
    assert played.rc == 0, played.output
    probe = json.loads(lab.run("workload", "stop", check=False).stdout)
    assert probe["problems"] == []
    assert set(lab.kubelet_versions().values()) == {f"v{TARGET}"}
    assert lab.not_ready() == []
    assert lab.cordoned() == []
    assert played.results("cp2") <= 20
    assert played.results("w2") <= 15

    again = play("upgrade-cluster.yml", inventory, kubernetes_version=TARGET, run_dir=str(tmp_path / "again"))
    assert again.rc == 0, again.output
    assert again.changed == 0
