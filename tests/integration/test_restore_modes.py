# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A cluster without a majority comes back from the one disk that is left, and one seed becomes three members."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from harness import ETCDCTL, Lab, Played, play, wait_for
from test_restore import Cluster, is_restored, killed_when, with_accident

from lab.images import NGINX

pytestmark = pytest.mark.long

STEPS = (
    "Take a proven snapshot of the best data that is left",
    "Stop etcd",
    "Put the restored data in its place",
)
JOIN_STEPS = (
    "Put the restored data in its place",
    "Mark that all members agree",
    "Let the other masters join, one after the other",
    "See all members agree",
    "Start the API servers of those that joined, until a write works through each",
)


@pytest.fixture(scope="module")
def three(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    lab.up(masters=3, workers=1)
    return with_accident(lab, tmp_path_factory.mktemp("backup"))


def killed_and_finished(cluster: Cluster, step: str, folder: Path, variables: dict[str, Any]) -> Played:
    """Kill a run's main process as soon as a step begins, and give the same command once more."""
    killed_when(cluster, step, folder / "log", everything=False, **variables)
    played = play("restore-etcd.yml", cluster.inventory, **variables)
    assert played.rc == 0, played.output
    return played


# --- seed_and_join


def seed(cluster: Cluster, **more: Any) -> dict[str, Any]:
    # The first master's manifest names only itself, as if it was alone: it must join all the same.
    asked = {"etcd_restore_mode": "seed_and_join", "etcd_restore_seed": "cp2", "etcd_restore_again": True}
    return cluster.variables(**{**asked, **more})


def test_the_others_join_the_seed(three: Cluster) -> None:
    played = play("restore-etcd.yml", three.inventory, **seed(three))
    assert played.rc == 0, played.output
    is_restored(three)
    # Only the seed was sent the snapshot, and nobody's old data is gone.
    sent = [
        three.lab.ssh(master, "sudo find /var/lib/clustercare/restore -name snapshot.db") for master in three.masters
    ]
    assert [bool(found.strip()) for found in sent] == [False, True, False]
    for master in three.masters:
        kept = "sudo find /var/lib/clustercare/restore -path '*previous/member/snap/db'"
        assert three.lab.ssh(master, kept).strip(), master
    again = play("restore-etcd.yml", three.inventory, **seed(three, etcd_restore_again=False))
    assert (again.rc, again.changed) == (0, 0), again.output


@pytest.mark.parametrize("step", JOIN_STEPS)
def test_a_join_that_was_killed_is_finished_by_the_same_command(three: Cluster, step: str, tmp_path: Path) -> None:
    three.accident()
    killed_and_finished(three, step, tmp_path, seed(three))
    is_restored(three)


def test_a_master_that_cannot_join_leaves_a_cluster_that_serves(three: Cluster) -> None:
    three.accident()
    # A wrong certificate of its peers: it never becomes more than a learner.
    peer = "/etc/kubernetes/pki/etcd/peer.crt"
    three.lab.ssh("cp3", f"sudo cp {peer} /root/peer.crt && sudo cp /etc/kubernetes/pki/apiserver.crt {peer}")
    try:
        played = play("restore-etcd.yml", three.inventory, **seed(three, etcd_restore_timeout=60))
        assert played.rc != 0
        assert "cp3 has not joined" in " ".join(played.output.split()), played.output
        assert "web" in three.deployments()
    finally:
        three.lab.ssh("cp3", f"sudo cp /root/peer.crt {peer}")
    finished = play("restore-etcd.yml", three.inventory, **seed(three))
    assert finished.rc == 0, finished.output
    is_restored(three)


# --- salvage


def as_kubeadm_made_it(manifest: Path, master: str) -> None:
    """The manifest of the first master as kubeadm init writes it: its etcd, empty, is a new cluster of its own."""
    if master != "cp1":
        return
    lines = [line for line in manifest.read_text().splitlines() if "--initial-cluster-state=" not in line]
    urls = next(line.partition("=")[2] for line in lines if "--initial-advertise-peer-urls=" in line)
    alone = [f"    - --initial-cluster=cp1={urls}" if "--initial-cluster=" in line else line for line in lines]
    manifest.write_text("\n".join(alone) + "\n")


def lose_all_disks_but(cluster: Cluster, survivor: str) -> None:
    """Two of three masters lose their power, and come back with a disk that is empty, or broken (cp3's)."""
    if "web" not in cluster.deployments():
        cluster.lab.kubectl("create", "deployment", "web", f"--image={NGINX}", "--replicas=2")
        wait_for("nginx answers", cluster.serves)
    cluster.lab.kubectl("delete", "configmap", "newest", "--ignore-not-found")
    cluster.lab.kubectl("create", "configmap", "newest", "--from-literal=word=newest")
    wait_for("all members have it", cluster.agree, 60)
    disks = cluster.lab.disks()
    lost = [master for master in cluster.masters if master != survivor]
    for master in lost:
        cluster.lab.run("power-off", master)
    for master in lost:
        member = disks[master] / "var/lib/etcd/member"
        if master == "cp3":
            (member / "snap/db").write_bytes(bytes(1 << 20))
        else:
            shutil.rmtree(member)
            as_kubeadm_made_it(disks[master] / "etc/kubernetes/manifests/etcd.yaml", master)
    for master in lost:
        cluster.lab.run("power-on", master)


def salvage(cluster: Cluster, **more: Any) -> dict[str, Any]:
    asked = {"etcd_restore_mode": "salvage", "etcd_restore_snapshot": "", "etcd_restore_confirm": ""}
    return cluster.variables(**{**asked, **more})


def members_of(cluster: Cluster, master: str) -> int:
    return len(cluster.lab.ssh(master, f"{ETCDCTL} member list", check=False).splitlines())


def has_the_newest(cluster: Cluster) -> None:
    is_restored(cluster)
    assert cluster.lab.get("configmap", "newest")["data"] == {"word": "newest"}


def test_nothing_is_salvaged_from_a_cluster_that_works(three: Cluster) -> None:
    before = {master: three.processes(master) for master in three.masters}
    played = play("restore-etcd.yml", three.inventory, **salvage(three))
    assert played.rc != 0
    assert "There is nothing to salvage" in " ".join(played.output.split())
    assert played.changed == 0
    assert {master: three.processes(master) for master in three.masters} == before


def test_the_disk_that_is_left_becomes_the_cluster(three: Cluster) -> None:
    lose_all_disks_but(three, "cp2")
    variables = salvage(three, etcd_restore_from="cp2", etcd_restore_confirm="kubernetes")
    # The first master, empty, has become a cluster of its own: which one is meant has to be said.
    wait_for("cp1 is a cluster of its own", lambda: members_of(three, "cp1") == 1, 240)
    unsure = play("restore-etcd.yml", three.inventory, **salvage(three, etcd_restore_confirm="kubernetes"))
    assert unsure.rc != 0
    assert "etcd_restore_from=" in unsure.output
    played = play("restore-etcd.yml", three.inventory, **variables)
    assert played.rc == 0, played.output
    has_the_newest(three)


@pytest.mark.parametrize("step", STEPS)
def test_a_salvage_that_was_killed_is_finished_by_the_same_command(three: Cluster, step: str, tmp_path: Path) -> None:
    lose_all_disks_but(three, "cp1")
    killed_and_finished(three, step, tmp_path, salvage(three))
    has_the_newest(three)
    again = play("restore-etcd.yml", three.inventory, **salvage(three))
    assert (again.rc, again.changed) == (0, 0), again.output


# --- a master that is gone for good


def test_a_master_that_is_gone_is_left_out_by_name(three: Cluster) -> None:
    three.accident()
    three.lab.run("power-off", "cp3")
    others = ("--limit", "masters:!cp3")
    for said, limit in (("so nothing is begun: cp3", ()), ("etcd_restore_without=cp3", others)):
        played = three.restore(*limit, etcd_restore_again=True)
        assert (played.rc != 0, played.changed) == (True, 0), played.output
        assert said in " ".join(played.output.split()), played.output
    played = three.restore(*others, etcd_restore_again=True, etcd_restore_without="cp3")
    assert played.rc == 0, played.output
    assert "Its old data must never serve again" in " ".join(played.output.split())
    wait_for("nginx answers again", three.serves)
    assert "web" in three.deployments()
    assert members_of(three, "cp1") == 2
    hashes = three.hashes()
    assert len(hashes) == 2 and len(set(hashes)) == 1
    wait_for("the Node of cp3 is no longer Ready", lambda: three.lab.not_ready() == ["cp3"], 120)
    again = three.restore(*others, etcd_restore_without="cp3")
    assert (again.rc, again.changed) == (0, 0), again.output
