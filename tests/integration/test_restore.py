# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lost cluster comes back from its snapshot, and a restore that cannot work leaves it as it is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import ETCDCTL, PROJECT, Lab, Played, kill, play, playing, wait_for

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
# While it ends it removes files of its own, and rm would miss them.
wait $etcd || true
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
        played = play("restore-etcd.yml", self.inventory, *more, **self.variables(**variables))
        if played.rc == 0:
            # The load balancer looks once a second, so it learns a moment later that an API server is back.
            wait_for("the API answers", lambda: self.lab.kubectl("get", "--raw", "/readyz", check=False) == "ok", 10)
        return played

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
        return self.lab.ssh(master, "ls /etc/systemd/system | grep clustercare; true").strip()

    def left(self, master: str, run: str) -> str:
        """What there is on a master of a run, or of anything that was begun and not ended."""
        names = " -o ".join(f"-name '{name}'" for name in (f"*{run}*", "*.part*", ".new-*"))
        folders = "/var/lib/clustercare /var/lib/etcd /etc/kubernetes/manifests /etc/systemd/system"
        return self.lab.ssh(master, f"sudo find {folders} {names} 2>/dev/null; true").strip()

    def phase(self, master: str) -> str:
        """How far the restore is on a master, read from its disk: also while nothing reaches it."""
        disk = require(self.lab.name).root(master)
        state = json.loads((disk / "var/lib/clustercare/restore/state.json").read_text())
        return str(state["phase"])

    def hashes(self) -> list[tuple[int, int]]:
        """The revision and hash of all its data of each member that answers, asked member by member."""

        def ask(revision: int) -> list[dict[str, Any]]:
            command = f"{ETCDCTL} endpoint hashkv --cluster --rev {revision} -w json"
            said = self.lab.ssh("cp1", command, check=False)
            return [one["HashKV"] for one in json.loads(said)] if said.strip() else []

        revision = min((one["header"]["revision"] for one in ask(0)), default=0)
        found = ask(revision)
        # What is compacted between two answers makes the same data look different; minutes pass until the next time.
        if len({one.get("compact_revision") for one in found}) > 1:
            found = ask(revision)
        return [(revision, one["hash"]) for one in found]

    def agree(self) -> bool:
        """Whether all members answer, and hold the same data."""
        hashes = self.hashes()
        return len(hashes) == len(self.masters) and len(set(hashes)) == 1


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


# An etcd and a Kubernetes of the minor before.
OLDER = {"clusterVersion": "3.6 3.5", "storageVersion": "3.6 3.5", "kubernetesVersion: ": "v1.34 v1.33"}


def rewritten(snapshot: bytes, **words: str) -> bytes:
    """A snapshot that says another version, all else the same: whole, and with the SHA-256 that belongs to it."""
    data = snapshot[:-32]
    for name, (old, new) in {name: word.split() for name, word in words.items()}.items():
        said = f"{name}{old}".encode()
        assert said in data
        data = data.replace(said, f"{name}{new}".encode())
    return data + hashlib.sha256(data).digest()


def test_refuses_before_any_damage(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.processes("cp1")
    data = cluster.snapshot.read_bytes()

    def snapshot(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    foreign = base64.b64decode(
        cluster.lab.ssh("cp1", f"echo {base64.b64encode(FOREIGN.encode()).decode()} | base64 -d | sudo bash")
    )
    # What was written beside it belongs to another snapshot, one of this very cluster.
    shutil.copy(f"{cluster.snapshot}.json", snapshot("swapped.db", foreign) + ".json")
    newer = {name: word.replace("3.5", "3.7") for name, word in OLDER.items()}
    attempts: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (
            ("etcd_restore_confirm=kubernetes", "old, and etcd_restore_max_age"),
            {"etcd_restore_confirm": "", "etcd_restore_max_age": 1},
        ),
        (("no whole snapshot",), {"etcd_restore_snapshot": snapshot("short.db", data[:-100])}),
        (("is damaged",), {"etcd_restore_snapshot": snapshot("flipped.db", bytes(flipped))}),
        (("is of another cluster",), {"etcd_restore_snapshot": snapshot("foreign.db", foreign)}),
        (("is not the snapshot that",), {"etcd_restore_snapshot": str(tmp_path / "swapped.db")}),
        (
            (
                *("The snapshot is of etcd 3.5", "The snapshot is of Kubernetes 1.33.4", "allow_version_change=true"),
                "etcd_restore_seed=w1 is none of the masters",
            ),
            {
                "etcd_restore_snapshot": snapshot("older.db", rewritten(data, **OLDER)),
                "etcd_restore_mode": "seed_and_join",
                "etcd_restore_seed": "w1",
            },
        ),
        (
            ("no etcd starts on the data of a newer one",),
            {
                "etcd_restore_snapshot": snapshot("newer.db", rewritten(data, **newer)),
                "etcd_restore_allow_version_change": True,
            },
        ),
        (("makes its snapshot itself",), {"etcd_restore_mode": "salvage"}),
        (
            ("There is nothing to salvage",),
            {"etcd_restore_mode": "salvage", "etcd_restore_snapshot": "", "etcd_restore_confirm": ""},
        ),
    ]
    for said, variables in attempts:
        played = cluster.restore(**variables)
        assert played.rc != 0, said
        for words in said:
            assert words in " ".join(played.output.split()), played.output
        assert played.changed == 0
    assert cluster.processes("cp1") == before
    assert cluster.deployments() == []
    assert cluster.lab.ssh("cp1", "sudo ls -A /var/lib/clustercare/restore; true") == ""


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
    assert cluster.agree(), cluster.hashes()
    assert {cluster.units(master) for master in cluster.masters} == {""}


def steps_of_the_role() -> list[str]:
    """Every step that runs on the masters, in order, as the role names them."""
    found: list[str] = []

    def gather(tasks: list[dict[str, Any]]) -> None:
        for task in tasks:
            gather(task.get("block", []))
            found.extend(item["name"] for item in task.get("loop", []) if "hosts" not in item)
            if {"clustercare.kubeadm.etcd_restore", "clustercare.kubeadm.etcd_snapshot"} & set(task):
                found.append(str(task["name"]))

    gather(yaml.safe_load((PROJECT / "roles/etcd_restore/tasks/restore.yml").read_text()))
    assert set(STEPS) < set(found)
    return found


def began(step: str, log: Path) -> bool:
    return f": {step}]" in log.read_text(errors="replace").replace("\n", " ")


def killed_when(cluster: Cluster, step: str, log: Path, everything: bool, **variables: Any) -> None:
    """Kill a restore when a step begins.

    :param everything: with all that it has started; else its workers end the task that they are at.
    """
    with playing("restore-etcd.yml", cluster.inventory, log, **variables) as process:
        wait_for(f"'{step}' begins", lambda: began(step, log) or process.poll() is not None, 300)
        assert process.poll() is None, log.read_text()
        kill(process, everything)


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
@pytest.mark.parametrize("step", steps_of_the_role())
def test_a_killed_run_is_finished_by_the_same_command(three: Cluster, step: str, tmp_path: Path) -> None:
    """Also that a snapshot from before an earlier restore is as good: it is the same one each time."""
    three.accident()
    variables = three.variables(etcd_restore_again=True)
    killed_when(three, step, tmp_path / "log", everything=True, **variables)
    played = three.restore(**variables)
    assert played.rc == 0, played.output
    is_restored(three)


def goes_back_and_then_on(cluster: Cluster, variables: dict[str, Any]) -> None:
    """All masters have gone back, and the same command restores them."""
    wait_for("all nodes are Ready", lambda: cluster.lab.not_ready() == [], 240)
    wait_for("all members agree", cluster.agree, 120)
    assert cluster.deployments() == []
    played = cluster.restore(**variables)
    assert played.rc == 0, played.output
    is_restored(cluster)


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
    goes_back_and_then_on(three, variables)


@pytest.mark.long
def test_an_api_server_that_does_not_come_back_undoes_nothing(three: Cluster, tmp_path: Path) -> None:
    three.accident()
    log = tmp_path / "log"
    variables = three.variables(etcd_restore_again=True, etcd_restore_timeout=90)
    disk = require(three.lab.name).root("cp3")
    parked = disk / "var/lib/clustercare/services/kube-apiserver/kube-apiserver.yaml"
    with playing("restore-etcd.yml", three.inventory, log, **variables) as process:
        wait_for("cp3 has swapped its data", lambda: began(STEPS[3], log) or process.poll() is not None, 300)
        good = parked.read_text()
        parked.write_text(good.replace("- kube-apiserver\n", "- kube-apiserver\n    - --no-such-flag\n"))
        assert process.wait(400) != 0, log.read_text()
    said = " ".join(log.read_text().split())
    assert "nothing is rolled back. Mend the cause" in said and "of cp1, cp2, so" in said, log.read_text()
    assert "web" in three.deployments()
    (disk / "etc/kubernetes/manifests/kube-apiserver.yaml").write_text(good)
    played = three.restore(**{**variables, "etcd_restore_timeout": 300})
    assert played.rc == 0, played.output
    is_restored(three)


@pytest.mark.long
def test_a_snapshot_of_older_minors_is_restored_when_that_is_said(three: Cluster, tmp_path: Path) -> None:
    three.accident()
    older = tmp_path / "older.db"
    older.write_bytes(rewritten(three.snapshot.read_bytes(), **OLDER))
    played = three.restore(etcd_restore_snapshot=str(older), etcd_restore_allow_version_change=True)
    assert played.rc == 0, played.output
    is_restored(three)


AGAIN: dict[str, Any] = {"etcd_restore_again": True}


@pytest.mark.long
def test_a_full_disk_is_noticed_before_the_outage(three: Cluster) -> None:
    three.accident()
    before = {master: three.processes(master) for master in three.masters}

    failed: list[str] = []

    def fails(said: str) -> None:
        played = three.restore(**AGAIN)
        assert played.rc != 0, played.output
        assert said in " ".join(played.output.split()), played.output
        run = re.search(r"\(run ([0-9TZ]+-[0-9a-f]+)\)", played.output)
        failed.append(run[1] if run else "no-run")
        assert three.left("cp2", failed[-1]) == ""
        assert {master: three.processes(master) for master in three.masters} == before
        assert three.deployments() == []

    room = "sudo mount -t tmpfs -o size=8m,mode=0700 none /var/lib/clustercare"
    three.lab.ssh("cp2", room)
    try:
        fails("cp2 has 8 MiB free in /var/lib/clustercare")
        # Room for bytes, but not for files, of which only a writer is told: first the snapshot, much later the state.
        for files in (3, 5):
            three.lab.ssh("cp2", f"{room.replace('8m', f'1g,nr_inodes={files}')} -o remount")
            fails("No space left on device")
        three.lab.ssh("cp2", f"{room.replace('8m', '1g,nr_inodes=10000')} -o remount")
        played = three.restore(**AGAIN)
        assert played.rc == 0, played.output
        is_restored(three)
        # What the failed runs had made ready on the others is gone, but for the snapshot that was taken first.
        left = {three.left(master, run) for master in three.masters for run in failed}
        assert not [path for found in left for path in found.split() if "before-restore-" not in path]
        aside = "sudo find /var/lib/etcd -path '/var/lib/etcd/.clustercare-restore-*/previous/member/snap/db'"
        assert three.lab.ssh("cp2", aside).strip(), "the old data is not kept beside the new, on its file system"
    finally:
        three.lab.ssh("cp2", "sudo umount --lazy /var/lib/clustercare")


def between_the_renames(disk: Path) -> None:
    """Make a disk one whose master lost its power in the swap: the old data is put aside, the new not in its place."""
    path = disk / "var/lib/clustercare/restore/state.json"
    state = json.loads(path.read_text())
    live, room = disk / "var/lib/etcd/member", disk / state["room"].lstrip("/")
    if (room / "new/member").exists():
        (room / "previous").mkdir(mode=0o700)
        live.rename(room / "previous/member")
    else:
        live.rename(room / "new/member")
    path.write_text(json.dumps({**state, "phase": "swapping"}))


@pytest.mark.long
def test_a_master_that_lost_its_power_in_the_swap_goes_back_with_the_others(three: Cluster, tmp_path: Path) -> None:
    three.accident()
    log = tmp_path / "log"
    disk = three.lab.disks()["cp3"]
    variables = three.variables(**AGAIN, etcd_restore_dead_man_after=240, etcd_restore_timeout=90)
    with playing("restore-etcd.yml", three.inventory, log, **variables) as process:
        wait_for(f"'{STEPS[3]}' begins", lambda: began(STEPS[3], log) or process.poll() is not None, 300)
        wait_for("cp3 is in the swap", lambda: three.phase("cp3") in ("swapping", "swapped", "starting"), 60, 0.02)
        three.lab.run("power-off", "cp3")
        between_the_renames(disk)
        assert process.wait(300) != 0, log.read_text()
    said = " ".join(log.read_text().split())
    assert "Nothing was restored" in said, said
    assert "These cannot be asked, and give themselves theirs back when their timer comes" in said, said
    assert "unless all had agreed: cp3 (" in said, said
    assert three.deployments() == []
    three.lab.run("power-on", "cp3")

    def went_back() -> bool:
        serves = three.lab.ssh("cp3", "pgrep -x 'etcd|kube-apiserver'", check=False).strip()
        phase = three.phase("cp3")
        assert not serves or phase in ("rolling_back", "rolled_back"), f"cp3 serves something in the phase {phase}"
        return phase == "rolled_back"

    wait_for("cp3 has gone back by itself", went_back, 400)
    goes_back_and_then_on(three, variables)
