# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lost cluster comes back from its snapshot, and a restore that cannot work leaves it as it is."""

from __future__ import annotations

import base64
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import Lab, Played, play, playing, wait_for

from lab.images import NGINX
from lab.state import require

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
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
# An etcd of its own, in which the cluster's CA certificate is another one.
FOREIGN = """
set -e
root=/proc/$(pgrep -o -x etcd)/root/usr/local/bin
dir=$(mktemp -d)
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=kubernetes -keyout $dir/key -out $dir/ca.crt 2>/dev/null
$root/etcd --data-dir $dir/data --listen-client-urls http://127.0.0.1:12379 --listen-peer-urls http://127.0.0.1:12380 \\
  --advertise-client-urls http://127.0.0.1:12379 >/dev/null 2>&1 &
etcd=$!
export ETCDCTL_ENDPOINTS=http://127.0.0.1:12379
until $root/etcdctl endpoint health >/dev/null 2>&1; do kill -0 $etcd; done
python3 -c "import json; print(json.dumps({'data': {'ca.crt': open('$dir/ca.crt').read()}}))" \\
  | $root/etcdctl put /registry/configmaps/kube-system/kube-root-ca.crt >/dev/null
$root/etcdctl snapshot save $dir/snapshot.db >/dev/null 2>&1
kill $etcd
base64 -w 0 $dir/snapshot.db
rm -r $dir
"""


@dataclass
class Cluster:
    """A lab in which the accident has happened: nginx was there when the snapshot was taken, and is gone."""

    lab: Lab
    inventory: Path
    snapshot: Path
    web: str

    @property
    def masters(self) -> list[str]:
        return [name for name, machine in self.lab.status()["machines"].items() if machine["role"] == "master"]

    def restore(self, *more: str, **variables: Any) -> Played:
        return play("restore-etcd.yml", self.inventory, *more, **self.variables(**variables))

    def variables(self, **more: Any) -> dict[str, Any]:
        return {
            "etcd_restore_snapshot": str(self.snapshot),
            "etcd_restore_confirm": "kubernetes",
            "etcd_restore_backup_dir": str(self.snapshot.parent / "after"),
            **more,
        }

    def deployments(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.lab.get("deployments")["items"]]

    def serves(self) -> bool:
        ask = f"curl -fsS --max-time 2 http://{self.web}/ | grep -c nginx"
        return self.lab.ssh(next(iter(self.lab.nodes())), ask, check=False).strip() not in ("", "0")

    def accident(self) -> None:
        self.lab.kubectl("delete", "deployment", "web", "--ignore-not-found")
        wait_for("no pod of nginx is left", lambda: not self.lab.get("pods")["items"])
        self.lab.kubectl("create", "configmap", "later", "--from-literal=word=later", check=False)

    def processes(self, master: str) -> dict[str, str]:
        """The pid of each component: another one means that it was restarted."""
        return {name: self.lab.ssh(master, f"pgrep -o -f '^(/usr/local/bin/)?{name} '").strip() for name in COMPONENTS}

    def units(self, master: str) -> str:
        return self.lab.ssh(master, "ls /etc/systemd/system | grep clustercare", check=False).strip()

    def phase(self, master: str) -> str:
        """How far the restore is on a master, read from its disk: also while nothing reaches it."""
        disk = require(self.lab.name).root(master)
        state = json.loads((disk / "var/lib/clustercare/restore/state.json").read_text())
        return str(state["phase"])

    def hashes(self) -> list[tuple[int, int]]:
        """Each member's revision and hash of all its data, asked member by member."""
        ask = (
            "sudo env ETCDCTL_API=3 ETCDCTL_CACERT=/etc/kubernetes/pki/etcd/ca.crt "
            "ETCDCTL_CERT=/etc/kubernetes/pki/etcd/healthcheck-client.crt "
            "ETCDCTL_KEY=/etc/kubernetes/pki/etcd/healthcheck-client.key "
            "etcdctl endpoint hashkv --cluster --rev {} -w json"
        )
        first = json.loads(self.lab.ssh("cp1", ask.format(0)))
        revision = min(one["HashKV"]["header"]["revision"] for one in first)
        found = json.loads(self.lab.ssh("cp1", ask.format(revision)))
        return [(revision, one["HashKV"]["hash"]) for one in found]


def with_accident(lab: Lab, folder: Path) -> Cluster:
    inventory = Path(lab.status()["inventory"])
    lab.kubectl("create", "deployment", "web", f"--image={NGINX}", "--replicas=2")
    lab.kubectl("expose", "deployment", "web", "--port=80")
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=110s")
    web = lab.get("service", "web")["spec"]["clusterIP"]
    backup = play("backup-etcd.yml", inventory, etcd_backup_dir=str(folder))
    assert backup.rc == 0, backup.output
    (snapshot,) = folder.glob("*.db")
    cluster = Cluster(lab, inventory, snapshot, web)
    wait_for("nginx answers", cluster.serves)
    cluster.accident()
    return cluster


@pytest.fixture(scope="module")
def cluster(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    lab.up(masters=1, workers=1)
    return with_accident(lab, tmp_path_factory.mktemp("backup"))


def test_refuses_before_any_damage(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.processes("cp1")
    data = cluster.snapshot.read_bytes()

    def snapshot(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    foreign = cluster.lab.ssh("cp1", f"echo {base64.b64encode(FOREIGN.encode()).decode()} | base64 -d | sudo bash")
    attempts: dict[str, dict[str, Any]] = {
        "etcd_restore_confirm=kubernetes": {"etcd_restore_confirm": ""},
        "no whole snapshot": {"etcd_restore_snapshot": snapshot("short.db", data[:-100])},
        "is damaged": {"etcd_restore_snapshot": snapshot("flipped.db", bytes(flipped))},
        "is of another cluster": {"etcd_restore_snapshot": snapshot("foreign.db", base64.b64decode(foreign))},
        "old, and etcd_restore_max_age": {"etcd_restore_max_age": 1},
        "makes its snapshot itself": {"etcd_restore_mode": "salvage"},
        "There is nothing to salvage": {
            "etcd_restore_mode": "salvage",
            "etcd_restore_snapshot": "",
            "etcd_restore_confirm": "",
        },
        "is none of the masters": {"etcd_restore_mode": "seed_and_join", "etcd_restore_seed": "w1"},
    }
    for said, variables in attempts.items():
        played = cluster.restore(**variables)
        assert played.rc != 0, said
        assert said in " ".join(played.output.split()), played.output
        assert played.changed == 0
    assert cluster.processes("cp1") == before
    assert cluster.deployments() == []


def test_brings_the_deployment_and_its_pods_back(cluster: Cluster) -> None:
    played = cluster.restore()
    assert played.rc == 0, played.output
    assert "web" in cluster.deployments()
    wait_for("nginx answers again", cluster.serves)
    assert "later" not in cluster.lab.kubectl("get", "configmaps")
    assert cluster.lab.not_ready() == []
    assert cluster.units("cp1") == ""
    fresh = list((cluster.snapshot.parent / "after").glob("after-restore-*.db"))
    assert len(fresh) == 1
    kept = cluster.lab.ssh("cp1", "sudo find /var/lib/clustercare -name db -path '*previous/member/snap/db'")
    assert kept.strip()


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    before = cluster.processes("cp1")
    again = cluster.restore()
    assert again.rc == 0, again.output
    assert again.changed == 0
    assert cluster.processes("cp1") == before


def test_a_rollback_brings_the_time_before_the_restore_back(cluster: Cluster) -> None:
    played = cluster.restore(etcd_restore_rollback=True)
    assert played.rc == 0, played.output
    assert "later" in cluster.lab.kubectl("get", "configmaps")
    assert cluster.deployments() == []
    assert cluster.units("cp1") == ""


# --- three masters


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


@pytest.fixture(scope="module")
def three(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    lab.up(masters=3, workers=1)
    return with_accident(lab, tmp_path_factory.mktemp("backup"))


@pytest.mark.long
def test_all_members_come_back_with_the_same_data(three: Cluster) -> None:
    played = three.restore()
    assert played.rc == 0, played.output
    is_restored(three)
    again = three.restore()
    assert (again.rc, again.changed) == (0, 0), again.output


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_run_is_finished_by_the_same_command(three: Cluster, step: str, tmp_path: Path) -> None:
    three.accident()
    log = tmp_path / "log"
    variables = three.variables(etcd_restore_again=True)
    with playing("restore-etcd.yml", three.inventory, log, **variables) as process:
        wait_for(f"'{step}' begins", lambda: began(step, log) or process.poll() is not None, 300)
        assert process.poll() is None, log.read_text()
        os.killpg(process.pid, signal.SIGKILL)
    played = three.restore(**variables)
    assert played.rc == 0, played.output
    is_restored(three)


@pytest.mark.long
@pytest.mark.parametrize("step", [STEPS[2], STEPS[3], STEPS[4]])
def test_a_master_that_is_cut_off_never_returns_with_other_data(three: Cluster, step: str, tmp_path: Path) -> None:
    three.accident()
    log = tmp_path / "log"
    variables = three.variables(etcd_restore_again=True, etcd_restore_dead_man_after=180)
    with playing("restore-etcd.yml", three.inventory, log, **variables) as process:
        wait_for(f"'{step}' begins", lambda: began(step, log) or process.poll() is not None, 300)
        three.lab.run("cut-network", "cp3")
        try:
            assert process.wait(400) != 0, log.read_text()
            # Those that could be asked have gone back together, and serve.
            assert three.deployments() == []
            assert "Nothing was restored" in " ".join(log.read_text().split())
            wait_for("cp3 has gone back by itself", lambda: three.phase("cp3") == "rolled_back", 400)
        finally:
            three.lab.run("mend-network", "cp3")
    wait_for("all nodes are Ready", lambda: three.lab.not_ready() == [], 240)
    wait_for("all members agree", lambda: len(three.hashes()) == 3 and len(set(three.hashes())) == 1, 120)
    assert three.deployments() == []
    played = three.restore(**variables)
    assert played.rc == 0, played.output
    is_restored(three)
