# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lost cluster comes back where systemd runs its control plane, or its etcd alone."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from harness import Lab, wait_for
from test_restore import COMPONENTS, STEPS, Cluster, killed_when, with_accident
from test_restore import is_restored as serves_again

from lab.images import NGINX
from tests.integration.test_restore_modes import JOIN_STEPS, has_the_newest, lose_all_disks_but, salvage, seed

pytestmark = pytest.mark.long

_STOP_ETCD, _SWAP, _START_ETCD = STEPS[2:5]
_JOIN = JOIN_STEPS[2]
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

# The lab's unit has all settings as flags; etcd also takes them from its environment, or from a file alone.
_READ = r"""
import os, pathlib, re, shutil
unit = pathlib.Path("/etc/systemd/system/etcd.service")
text = unit.read_text()
flags = dict(re.findall(r"--([a-z-]+)=(\S+)", text))
os.mkdir("/etc/etcd")
def start_with(words):
    unit.write_text(re.sub(r"( \\\n  --\S+)+", words, text))
"""
_WRITE_ENVIRONMENT = r"""
start_with("\nEnvironmentFile=/etc/etcd/etcd.env")
lines = [f"ETCD_{name.upper().replace('-', '_')}={value}\n" for name, value in flags.items()]
pathlib.Path("/etc/etcd/etcd.env").write_text("".join(lines))
"""
_WRITE_CONFIG = r"""
start_with(" --config-file=/etc/etcd/etcd.yml\nUser=etcd\nGroup=etcd")
lines, sections = ["# written by hand", "log-outputs:", "- stderr"], {"peer-": [], "": []}
for name, value in flags.items():
    section, plain = re.fullmatch("(peer-)?(.*)", name).groups(default="")
    if plain in ("cert-file", "key-file", "trusted-ca-file", "client-cert-auth"):
        sections[section].append(f"  {plain}: {value}")
    else:
        lines.append(f"{name}: {value}")
for section, found in sections.items():
    lines += [f"{section or 'client-'}transport-security:", *found]
path = pathlib.Path("/etc/etcd/etcd.yml")
path.write_text("\n".join(lines) + "\n")
path.chmod(0o640)
os.system("useradd --system --no-create-home etcd; systemctl stop etcd; chown root:etcd /etc/etcd/etcd.yml")
os.system("chown -R etcd:etcd /var/lib/etcd /etc/kubernetes/pki/etcd")
"""
AS_ENVIRONMENT, AS_CONFIG = _READ + _WRITE_ENVIRONMENT, _READ + _WRITE_CONFIG


def made(lab: Lab, folder: Path, *kind: str, masters: int = 1) -> Cluster:
    lab.run("down")
    lab.run("up", *kind, "--masters", str(masters), "--workers", "1")
    return with_accident(lab, folder)


def run_on(cluster: Cluster, master: str, program: str, script: str) -> None:
    cluster.lab.ssh(master, f"echo {base64.b64encode(script.encode()).decode()} | base64 -d | sudo {program}")


@pytest.fixture(scope="module")
def one(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    cluster = made(lab, tmp_path_factory.mktemp("backup"), "--control-plane", "systemd")
    run_on(cluster, "cp1", "bash", AS_A_USER)
    wait_for("the API answers", lambda: lab.run("kubectl", "get", "nodes", check=False).returncode == 0)
    return cluster


def is_clean(cluster: Cluster) -> None:
    """Nothing of a restore is left on the masters but what was kept."""
    for master in cluster.masters:
        assert cluster.units(master) == ""
        assert cluster.lab.ssh(master, "sudo find /etc/systemd/system -name '*clustercare*'") == ""


def is_restored(cluster: Cluster) -> None:
    serves_again(cluster)
    assert "later" not in cluster.lab.kubectl("get", "configmaps")
    is_clean(cluster)


def owners(cluster: Cluster) -> set[str]:
    """Whose etcd's data is, and which mode its directory has."""
    everything = cluster.lab.ssh("cp1", "sudo find /var/lib/etcd/member -printf '%u:%g\\n'").split()
    return {*everything, cluster.lab.ssh("cp1", "sudo stat -c %a /var/lib/etcd/member").strip()}


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
    killed_when(one, _SWAP, tmp_path / "log", everything=True, **again(one))
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
    killed_when(one, _START_ETCD, tmp_path / "log", everything=True, **again(one))
    one.lab.ssh("cp1", "sudo systemctl start clustercare-undo-restore.service")
    assert one.phase("cp1") == "rolled_back"
    wait_for("the API answers", lambda: one.lab.run("kubectl", "get", "nodes", check=False).returncode == 0)
    assert "later" in one.lab.kubectl("get", "configmaps")
    played = one.restore(**again(one))
    assert played.rc == 0, played.output
    is_restored(one)


# --- three masters, each with its settings in another place


@pytest.fixture(scope="module")
def three(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    cluster = made(lab, tmp_path_factory.mktemp("backup"), "--control-plane", "systemd", masters=3)
    for master, script in (("cp2", AS_ENVIRONMENT), ("cp3", AS_CONFIG)):
        run_on(cluster, master, "python3", script)
        lab.ssh(master, "sudo systemctl daemon-reload && sudo systemctl restart etcd")
        wait_for(f"etcd of {master} is back", lambda: len(cluster.hashes()) == 3)
    return cluster


def own_files(cluster: Cluster) -> list[str]:
    """What the user wrote, and what systemd would do with it."""
    look = (
        "sudo sh -c 'find /etc/systemd/system /etc/etcd -type f -exec sha256sum {} +; "
        "systemctl show etcd -p DropInPaths,EnvironmentFiles,BindReadOnlyPaths,TimeoutStartUSec'"
    )
    return [cluster.lab.ssh(master, look, check=False) for master in cluster.masters]


def restarted(cluster: Cluster) -> None:
    """Each member comes back by what its own unit says."""
    for master in cluster.masters:
        cluster.lab.ssh(master, "sudo systemctl restart etcd")
        wait_for(f"all are members after a restart on {master}", lambda: len(cluster.hashes()) == 3)
    is_restored(cluster)


def test_a_killed_run_on_three_masters_is_finished_by_the_same_command(three: Cluster, tmp_path: Path) -> None:
    killed_when(three, _STOP_ETCD, tmp_path / "log", everything=True, **again(three))
    played = three.restore(**again(three))
    assert played.rc == 0, played.output
    is_restored(three)
    played = three.restore()
    assert (played.rc, played.changed) == (0, 0), played.output


def test_units_join_the_seed_by_files_and_are_as_they_were(three: Cluster) -> None:
    before = own_files(three)
    three.accident()
    played = three.restore(**{**seed(three), "etcd_restore_seed": "cp1"})
    assert played.rc == 0, played.output
    is_restored(three)
    assert own_files(three) == before
    restarted(three)


def test_units_join_the_seed_by_flags_also_after_a_kill(three: Cluster, tmp_path: Path) -> None:
    before = own_files(three)
    three.accident()
    killed_when(three, _JOIN, tmp_path / "log", everything=True, **seed(three))
    played = three.restore(**seed(three))
    assert played.rc == 0, played.output
    is_restored(three)
    assert own_files(three) == before
    restarted(three)
    played = three.restore(etcd_restore_rollback=True)
    assert played.rc == 0, played.output
    assert "later" in three.lab.kubectl("get", "configmaps")
    assert own_files(three) == before
    # As the run says: what has seen the higher revisions would take no notice of anything new.
    assert "restart the kubelets of all nodes" in " ".join(played.output.split())
    three.lab.ssh("w1", "sudo systemctl restart kubelet")
    three.lab.kubectl("-n", "kube-system", "delete", "pods", "--all")


def test_the_one_disk_that_is_left_becomes_the_cluster(three: Cluster) -> None:
    lab = three.lab
    lab.kubectl("create", "deployment", "web", f"--image={NGINX}", "--replicas=2")
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=110s")
    lose_all_disks_but(three, "cp1")
    played = three.restore(**salvage(three))
    assert played.rc == 0, played.output
    has_the_newest(three)
    is_clean(three)
    played = three.restore(**salvage(three))
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
