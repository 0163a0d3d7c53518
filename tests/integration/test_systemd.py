# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lost cluster comes back where systemd runs its control plane, or its etcd alone."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import pytest
from harness import Lab, playing, wait_for
from test_restore import COMPONENTS, STEPS, Cluster, began, with_accident

pytestmark = pytest.mark.long

_STOP_ETCD, _SWAP, _START_ETCD = STEPS[2:5]
# Many a cluster runs etcd as a user of its own, and starts it again whatever happens.
AS_A_USER = """
set -e
useradd --system --no-create-home etcd
mkdir -p /etc/systemd/system/etcd.service.d
printf '[Service]\\nUser=etcd\\nGroup=etcd\\nRestart=always\\n' > /etc/systemd/system/etcd.service.d/10-user.conf
systemctl daemon-reload
systemctl stop etcd
chown -R etcd:etcd /var/lib/etcd /etc/kubernetes/pki/etcd
systemctl start etcd
"""


def made(lab: Lab, folder: Path, *kind: str, masters: int = 1) -> Cluster:
    lab.run("down")
    lab.run("up", *kind, "--masters", str(masters), "--workers", "1")
    return with_accident(lab, folder)


@pytest.fixture(scope="module")
def one(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    cluster = made(lab, tmp_path_factory.mktemp("backup"), "--control-plane", "systemd")
    lab.ssh("cp1", f"echo {base64.b64encode(AS_A_USER.encode()).decode()} | base64 -d | sudo bash")
    wait_for("the API answers", lambda: lab.run("kubectl", "get", "nodes", check=False).returncode == 0)
    return cluster


def is_clean(cluster: Cluster) -> None:
    """Nothing of a restore is left on the masters but what was kept."""
    for master in cluster.masters:
        assert cluster.units(master) == ""
        assert cluster.lab.ssh(master, "sudo find /etc/systemd/system -name '*clustercare*'") == ""


def is_restored(cluster: Cluster) -> None:
    wait_for("nginx answers again", cluster.serves)
    assert "web" in cluster.deployments()
    assert "later" not in cluster.lab.kubectl("get", "configmaps")
    assert cluster.lab.not_ready() == []
    hashes = cluster.hashes()
    assert len(hashes) == len(cluster.masters)
    assert len(set(hashes)) == 1
    is_clean(cluster)


def owners(cluster: Cluster) -> set[str]:
    """Whose etcd's data is, and which mode its directory has."""
    everything = cluster.lab.ssh("cp1", "sudo find /var/lib/etcd/member -printf '%u:%g\\n'").split()
    return {*everything, cluster.lab.ssh("cp1", "sudo stat -c %a /var/lib/etcd/member").strip()}


def killed_when(cluster: Cluster, step: str, log: Path) -> None:
    """A restore whose controller dies when a step begins."""
    with playing("restore-etcd.yml", cluster.inventory, log, **again(cluster)) as process:
        wait_for(f"'{step}' begins", lambda: began(step, log) or process.poll() is not None, 300)
        assert process.poll() is None, log.read_text()
        os.killpg(process.pid, signal.SIGKILL)


def again(cluster: Cluster) -> dict[str, object]:
    return cluster.variables(etcd_restore_again=True)


def running(cluster: Cluster, master: str) -> list[str]:
    programs = {os.path.basename(line.split()[0]) for line in cluster.lab.ssh(master, "ps -eo args=").splitlines()}
    return sorted(programs & set(COMPONENTS))


def test_the_deployment_and_its_pods_come_back(one: Cluster) -> None:
    before = owners(one)
    assert before == {"etcd:etcd", "700"}
    played = one.restore()
    assert played.rc == 0, played.output
    is_restored(one)
    assert owners(one) == before
    assert one.lab.ssh("cp1", "sudo find /var/lib/clustercare -name db -path '*previous/member/snap/db'").strip()


def test_a_second_run_changes_nothing(one: Cluster) -> None:
    before = one.processes("cp1")
    assert sorted(before) == sorted(COMPONENTS)
    played = one.restore()
    assert (played.rc, played.changed) == (0, 0), played.output
    assert one.processes("cp1") == before


def test_a_rollback_brings_the_time_before_the_restore_back(one: Cluster) -> None:
    played = one.restore(etcd_restore_rollback=True)
    assert played.rc == 0, played.output
    assert "later" in one.lab.kubectl("get", "configmaps")
    assert one.deployments() == []
    assert owners(one) == {"etcd:etcd", "700"}
    is_clean(one)


def test_after_a_power_cut_in_the_swap_nothing_starts_by_itself(one: Cluster, tmp_path: Path) -> None:
    one.accident()
    killed_when(one, _SWAP, tmp_path / "log")
    one.lab.run("power-off", "cp1")
    one.lab.run("power-on", "cp1")
    booted = "systemctl is-system-running --wait"
    wait_for("cp1 is back", lambda: one.lab.ssh("cp1", booted, check=False).strip() in ("running", "degraded"))
    # All four units are enabled. None may come up on data that nobody has agreed on.
    assert running(one, "cp1") == []
    assert one.lab.ssh("cp1", "sudo systemctl start etcd; systemctl is-active etcd", check=False).strip() == "inactive"
    played = one.restore(**again(one))
    assert played.rc == 0, played.output
    is_restored(one)


def test_a_master_gives_itself_the_old_data_back(one: Cluster, tmp_path: Path) -> None:
    one.accident()
    killed_when(one, _START_ETCD, tmp_path / "log")
    one.lab.ssh("cp1", "sudo systemctl start clustercare-undo-restore.service")
    assert one.phase("cp1") == "rolled_back"
    wait_for("the API answers", lambda: one.lab.run("kubectl", "get", "nodes", check=False).returncode == 0)
    assert "later" in one.lab.kubectl("get", "configmaps")
    played = one.restore(**again(one))
    assert played.rc == 0, played.output
    is_restored(one)


def test_a_killed_run_on_three_masters_is_finished_by_the_same_command(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    three = made(lab, tmp_path_factory.mktemp("backup"), "--control-plane", "systemd", masters=3)
    killed_when(three, _STOP_ETCD, tmp_path / "log")
    played = three.restore(**again(three))
    assert played.rc == 0, played.output
    is_restored(three)
    played = three.restore()
    assert (played.rc, played.changed) == (0, 0), played.output


def test_external_etcd_comes_back(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    cluster = made(lab, tmp_path_factory.mktemp("backup"), "--etcd", "external")
    played = cluster.restore()
    assert played.rc == 0, played.output
    is_restored(cluster)
    played = cluster.restore()
    assert (played.rc, played.changed) == (0, 0), played.output
    played = cluster.restore(etcd_restore_rollback=True)
    assert played.rc == 0, played.output
    assert "later" in cluster.lab.kubectl("get", "configmaps")
    is_clean(cluster)
