# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Three masters are restored together, whenever the run is killed and whichever master is cut off."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harness import Lab, playing, wait_for
from test_restore import Cluster, with_accident

pytestmark = pytest.mark.long

STEPS = (
    "Let each master help itself, should nobody else do",
    "Stop the API servers, controller managers and schedulers",
    "Stop etcd",
    "Put the restored data in its place",
    "Start etcd, until all members agree",
    "Mark that all members agree",
    "Start the API servers, until a write works through each",
    "Start the controller managers and schedulers",
)


@pytest.fixture(scope="module")
def cluster(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    lab.up(masters=3, workers=1)
    return with_accident(lab, tmp_path_factory.mktemp("backup"))


def is_restored(cluster: Cluster) -> None:
    """The Deployment is back, and all members hold the same data."""
    wait_for("nginx answers again", cluster.serves)
    assert "web" in cluster.deployments()
    assert cluster.lab.not_ready() == []
    hashes = cluster.hashes()
    assert len(hashes) == 3
    assert len(set(hashes)) == 1
    assert [cluster.units(master) for master in cluster.masters] == ["", "", ""]


def began(step: str, log: Path) -> bool:
    return f": {step}]" in log.read_text(errors="replace").replace("\n", " ")


def test_all_members_come_back_with_the_same_data(cluster: Cluster) -> None:
    played = cluster.restore()
    assert played.rc == 0, played.output
    is_restored(cluster)
    again = cluster.restore()
    assert (again.rc, again.changed) == (0, 0), again.output


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_run_is_finished_by_the_same_command(cluster: Cluster, step: str, tmp_path: Path) -> None:
    cluster.accident()
    log = tmp_path / "log"
    variables = cluster.variables()
    with playing("restore-etcd.yml", cluster.inventory, log, **variables) as process:
        wait_for(f"'{step}' begins", lambda: began(step, log) or process.poll() is not None, 300)
        assert process.poll() is None, log.read_text()
        os.killpg(process.pid, signal.SIGKILL)
    played = cluster.restore(**variables)
    assert played.rc == 0, played.output
    is_restored(cluster)


@pytest.mark.parametrize("step", [STEPS[2], STEPS[3], STEPS[4]])
def test_a_master_that_is_cut_off_never_returns_with_other_data(cluster: Cluster, step: str, tmp_path: Path) -> None:
    cluster.accident()
    log = tmp_path / "log"
    variables = cluster.variables(etcd_restore_dead_man_after=240)
    with playing("restore-etcd.yml", cluster.inventory, log, **variables) as process:
        wait_for(f"'{step}' begins", lambda: began(step, log) or process.poll() is not None, 300)
        cluster.lab.run("cut-network", "cp3")
        try:
            assert process.wait(400) != 0, log.read_text()
            # Those that could be asked have gone back together, and serve.
            assert cluster.deployments() == []
            assert "Nothing was restored" in " ".join(log.read_text().split())
            wait_for("cp3 has gone back by itself", lambda: cluster.phase("cp3") == "rolled_back", 400)
        finally:
            cluster.lab.run("mend-network", "cp3")
    wait_for("all nodes are Ready", lambda: cluster.lab.not_ready() == [], 240)
    wait_for("all members agree", lambda: len(cluster.hashes()) == 3 and len(set(cluster.hashes())) == 1, 120)
    assert cluster.deployments() == []
    played = cluster.restore(**variables)
    assert played.rc == 0, played.output
    is_restored(cluster)
