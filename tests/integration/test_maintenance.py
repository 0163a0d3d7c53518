# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nodes are taken out of service, patched, rebooted and given back: one master and five workers, then three masters.

The tests share their cluster and leave it as they found it: every node Ready, in service and unlocked.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from harness import LAB, Lab, Played, budget, controlled, play, playing, sleeper, task, wait_for

from lab.cluster import is_ready

pytestmark = pytest.mark.long

WORKERS = ["w1", "w2", "w3", "w4", "w5"]
LEASE = """
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: clustercare
  namespace: kube-system
  annotations:
    clustercare.io/purpose: upgrade
    clustercare.io/run: r-elsewhere
    clustercare.io/hostname: elsewhere
    clustercare.io/since: "2026-11-22T03:15:00Z"
spec: {holderIdentity: upgrade/r-elsewhere, leaseDurationSeconds: 86400, renewTime: "2099-01-01T00:00:00.000000Z"}
"""
# A package of an operating system that asks for a reboot, and a kubectl that is not to be installed.
REPOSITORY = r"""
set -e
sudo mkdir -p /srv/repo
make() {
  sudo mkdir -p /srv/build/DEBIAN
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: test\nDescription: test\n' "$1" "$2" |
    sudo tee /srv/build/DEBIAN/control > /dev/null
  printf '#!/bin/sh\n%s\n' "$4" | sudo tee /srv/build/DEBIAN/postinst > /dev/null
  sudo chmod 755 /srv/build/DEBIAN/postinst
  sudo dpkg-deb -Znone --build /srv/build "$3/$1_$2_all.deb" > /dev/null
  sudo rm -r /srv/build
}
make demo-os 1.0 /srv true
sudo dpkg --install /srv/demo-os_1.0_all.deb > /dev/null
make demo-os 2.0 /srv/repo 'POSTINST'
make kubectl 9.9.9-1.1 /srv/repo true
cd /srv/repo
for file in *.deb; do
  dpkg-deb --field "$file"
  sum=$(sha256sum "$file" | cut -d' ' -f1)
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$sum"
done | sudo tee Packages > /dev/null
echo 'deb [trusted=yes] file:/srv/repo ./' | sudo tee /etc/apt/sources.list.d/demo.list > /dev/null
sudo apt-mark unhold kubectl > /dev/null
"""
NEEDS_REBOOT = "touch /var/run/reboot-required; echo demo-os > /var/run/reboot-required.pkgs"


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Lab:
    lab.up(masters=1, workers=5)
    return lab


@pytest.fixture
def inventory(cluster: Lab) -> Iterator[Path]:
    """The lab's inventory, and afterwards the proof that nothing is left behind."""
    yield Path(cluster.status()["inventory"])
    nothing_is_left(cluster)


def nothing_is_left(cluster: Lab) -> None:
    assert cluster.cordoned() == [] and cluster.not_ready() == []
    assert holder(cluster) is None


def maintain(inventory: Path, *more: str, **variables: Any) -> Played:
    return play("maintain-node.yml", inventory, *more, **variables)


def words(played: Played) -> str:
    return " ".join(played.output.split())


def boot(lab: Lab, node: str) -> str:
    """The host's own word, not that of the API."""
    return lab.ssh(node, "cat /proc/sys/kernel/random/boot_id", check=False).strip()


def told_boot(lab: Lab, node: str) -> str:
    """What its kubelet has told the API."""
    return lab.kubectl("get", "node", node, "-o", "jsonpath={.status.nodeInfo.bootID}", check=False)


def record(lab: Lab, node: str) -> Any:
    return json.loads(lab.ssh(node, "sudo cat /var/lib/clustercare/maintenance.json"))


def holder(lab: Lab) -> str | None:
    """Who holds the cluster's lock."""
    found = json.loads(lab.kubectl("get", "lease", "-n", "kube-system", "-o", "json"))["items"]
    return next((item["spec"]["holderIdentity"] for item in found if item["metadata"]["name"] == "clustercare"), None)


@contextmanager
def watched(lab: Lab) -> Iterator[list[set[str]]]:
    """Every set of nodes that was seen out of service at one moment."""
    seen: list[set[str]] = [set()]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            # An answer is lost when the API server that gives it goes down; what is looked at comes again.
            with suppress(AssertionError):
                out = {
                    name
                    for name, node in lab.nodes().items()
                    if node["spec"].get("unschedulable") or not is_ready(node)
                }
                if out not in seen:
                    seen.append(out)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def test_a_worker_is_rebooted_under_load_and_nobody_notices(cluster: Lab, inventory: Path) -> None:
    cluster.run("workload", "start", "--rate", "10")
    pods = cluster.get("pods", "-A", "-o", "wide")["items"]
    node = next(p["spec"]["nodeName"] for p in pods if p["metadata"]["namespace"] not in ("kube-system",))
    before = boot(cluster, node)
    played = maintain(inventory, maintenance_nodes=node, maintenance_reboot="always")
    probe = json.loads(cluster.run("workload", "stop", check=False).stdout)
    assert played.rc == 0, played.output
    assert boot(cluster, node) not in ("", before)
    assert probe["problems"] == []
    assert cluster.nodes()[node]["status"]["nodeInfo"]["bootID"] == boot(cluster, node)


def test_nothing_needed_is_nothing_done(cluster: Lab, inventory: Path) -> None:
    writes = cluster.writes_by_administrators()
    played = maintain(inventory, maintenance_nodes="workers")
    assert played.rc == 0 and played.changed == 0, played.output
    assert "nothing to do: w1, w2, w3, w4, w5" in words(played)
    new = cluster.writes_by_administrators()[len(writes) :]
    assert new and all("/leases" in write for write in new), "only the lock was taken and given back"


def test_never_more_than_two_of_five_workers_are_out_of_service(cluster: Lab, inventory: Path) -> None:
    before = {node: boot(cluster, node) for node in WORKERS}
    with watched(cluster) as seen:
        played = maintain(
            inventory, maintenance_nodes="workers", maintenance_reboot="always", maintenance_max_unavailable="2"
        )
    assert played.rc == 0, played.output
    assert all(boot(cluster, node) not in ("", before[node]) for node in WORKERS)
    assert max(len(out) for out in seen) == 2, seen
    assert set().union(*seen) == set(WORKERS)


def test_a_node_that_somebody_else_cordoned_stays_cordoned(cluster: Lab, inventory: Path, tmp_path: Path) -> None:
    (tmp_path / "work.yml").write_text(
        "- name: Do something\n  ansible.builtin.command: {argv: [touch, /srv/worked]}\n  become: true\n"
    )
    cluster.kubectl("cordon", "w3")
    try:
        played = maintain(inventory, maintenance_nodes="w3", maintenance_tasks=[str(tmp_path / "work.yml")])
        assert played.rc == 0, played.output
        assert "is cordoned by kubectl" in words(played)
        assert cluster.cordoned() == ["w3"]
        assert cluster.ssh("w3", "ls /srv/worked").strip() == "/srv/worked"
    finally:
        cluster.kubectl("uncordon", "w3")


def test_a_killed_run_is_finished_by_the_same_command_without_a_second_reboot(
    cluster: Lab, inventory: Path, tmp_path: Path
) -> None:
    wish = {"maintenance_nodes": "w1,w2", "maintenance_reboot": "always"}
    before = {node: boot(cluster, node) for node in ("w1", "w2")}
    with playing("maintain-node.yml", inventory, tmp_path / "log", **wish) as run:
        wait_for("w1 reboots", lambda: boot(cluster, "w1") != before["w1"], 300)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    wait_for("w1 is back", lambda: boot(cluster, "w1") not in ("", before["w1"]))
    rebooted = boot(cluster, "w1")
    assert boot(cluster, "w2") == before["w2"] and cluster.cordoned() == ["w1"]
    assert str(holder(cluster)).startswith("maintenance/")

    again = maintain(inventory, **wish)
    assert again.rc == 0, again.output
    assert "The lock was taken over from run" in words(again) and "is gone" in words(again)
    assert boot(cluster, "w1") == rebooted, "rebooted a second time"
    assert boot(cluster, "w2") not in ("", before["w2"])
    assert record(cluster, "w1")["maintenance"] == record(cluster, "w2")["maintenance"]


def test_a_second_run_beside_a_running_one_is_refused_and_a_late_hook_ends_the_first(
    cluster: Lab, inventory: Path, tmp_path: Path
) -> None:
    sign = tmp_path / "all-is-well"
    hook = {"name": "all is well", "command": ["test", "-e", str(sign)], "timeout": 600, "interval": 0.5}
    (tmp_path / "work.yml").write_text("- name: Do nothing\n  ansible.builtin.meta: noop\n")
    wish = {
        "maintenance_nodes": "w4",
        "maintenance_tasks": [str(tmp_path / "work.yml")],
        "maintenance_hooks": [hook],
    }
    log = tmp_path / "log"
    with playing("maintain-node.yml", inventory, log, **wish) as run:
        wait_for("the first run waits for its hook", lambda: "Wait for what has to become true" in log.read_text(), 300)
        held = str(holder(cluster)).partition("/")[2]
        before = boot(cluster, "w5")
        second = maintain(inventory, maintenance_nodes="w5", maintenance_reboot="always")
        assert second.rc != 0 and second.changed == 0
        assert f"The cluster is locked by run {held} for 'maintenance'" in words(second)
        assert f"cluster_lock_takeover={held}" in words(second)
        assert boot(cluster, "w5") == before and str(holder(cluster)).endswith(held)
        sign.touch()
        assert run.wait(timeout=120) == 0, log.read_text()
    assert "Back in service: w4." in log.read_text()


def test_a_hook_that_never_becomes_true_stops_before_the_next_node(cluster: Lab, inventory: Path) -> None:
    def wish(code: int) -> dict[str, Any]:
        hook = {"name": "Ceph is well", "command": ["sh", "-c", f"echo HEALTH_WARN; exit {code}"], "timeout": 3}
        return {"maintenance_nodes": ["w1", "w2"], "maintenance_reboot": "always", "maintenance_hooks": [hook]}

    before = {node: boot(cluster, node) for node in ("w1", "w2")}
    played = maintain(inventory, **wish(1))
    said = words(played)
    assert played.rc != 0
    assert "Waiting until Ceph is well: not so after 3 s" in said and "sh ended with 1: HEALTH_WARN" in said
    assert "Left to do: w1, w2" in said and "the same command goes on" in said
    assert boot(cluster, "w2") == before["w2"] and cluster.cordoned() == []
    rebooted = boot(cluster, "w1")
    assert rebooted not in ("", before["w1"])

    again = maintain(inventory, **wish(0))
    assert again.rc == 0, again.output
    assert boot(cluster, "w1") == rebooted and boot(cluster, "w2") not in ("", before["w2"])
    assert again.output.count("TASK [clustercare.kubeadm.node_maintenance : Drain the node]") == 1, "w1 drained again"


def test_a_lock_held_elsewhere_is_taken_over_by_its_name_only(cluster: Lab, inventory: Path, tmp_path: Path) -> None:
    (tmp_path / "lease.yml").write_text(LEASE)
    cluster.kubectl("create", "-f", str(tmp_path / "lease.yml"))
    try:
        refused = maintain(inventory, maintenance_nodes="w1")
        said = words(refused)
        assert refused.rc != 0 and "run r-elsewhere for 'upgrade' on elsewhere, since 2026-11-22T03:15:00Z" in said
        assert "cluster_lock_takeover=r-elsewhere" in said and holder(cluster) == "upgrade/r-elsewhere"
        taken = maintain(inventory, maintenance_nodes="w1", cluster_lock_takeover="r-elsewhere")
        assert taken.rc == 0 and "taken over from run r-elsewhere" in words(taken), taken.output
    finally:
        cluster.kubectl("delete", "lease", "-n", "kube-system", "clustercare", "--ignore-not-found")


def test_packages_are_upgraded_but_not_those_of_kubernetes_and_the_reboot_they_need_is_made(
    cluster: Lab, inventory: Path
) -> None:
    cluster.ssh("w2", REPOSITORY.replace("POSTINST", NEEDS_REBOOT))
    kubectl = cluster.ssh("w2", "dpkg-query -W kubectl")
    before = boot(cluster, "w2")
    checked = maintain(inventory, "--check", maintenance_nodes="w2", maintenance_packages="true")
    assert checked.rc == 0 and "w2: 1 package to upgrade" in words(checked), checked.output
    assert "1.0" in cluster.ssh("w2", "dpkg-query -W demo-os") and boot(cluster, "w2") == before

    played = maintain(inventory, maintenance_nodes="w2", maintenance_packages="true")
    assert played.rc == 0, played.output
    assert "2.0" in cluster.ssh("w2", "dpkg-query -W demo-os")
    assert cluster.ssh("w2", "dpkg-query -W kubectl") == kubectl
    assert "kubectl" not in cluster.ssh("w2", "apt-mark showhold")
    assert boot(cluster, "w2") not in ("", before)

    again = maintain(inventory, maintenance_nodes="w2", maintenance_packages="true")
    assert again.rc == 0 and again.changed == 0 and "nothing to do: w2" in words(again), again.output


def test_the_only_master_is_rebooted_when_its_outage_is_allowed(cluster: Lab, inventory: Path) -> None:
    before = boot(cluster, "cp1")
    refused = maintain(inventory, maintenance_nodes="masters", maintenance_reboot="always")
    assert refused.rc != 0 and "maintenance_allow_outage=true" in words(refused) and boot(cluster, "cp1") == before
    played = maintain(
        inventory, maintenance_nodes="masters", maintenance_reboot="always", maintenance_allow_outage="true"
    )
    assert played.rc == 0, played.output
    assert boot(cluster, "cp1") not in ("", before)


def test_a_drain_that_fails_gives_its_node_back_while_the_other_of_the_batch_is_finished(
    cluster: Lab, inventory: Path, tmp_path: Path
) -> None:
    (tmp_path / "work.yml").write_text("- name: Do nothing\n  ansible.builtin.meta: noop\n")
    guarded = controlled("Deployment", "guarded", sleeper(node="w1"))
    wish = {
        "maintenance_nodes": "w1,w2,w3",
        "maintenance_tasks": [str(tmp_path / "work.yml")],
        "maintenance_max_unavailable": "2",
        "maintenance_drain_timeout": 10,
    }
    cluster.apply("default", guarded, budget("guarded", "guarded", minAvailable=1))
    try:
        cluster.kubectl("rollout", "status", "deployment/guarded", "--timeout=120s")
        checked = maintain(inventory, "--check", **wish)
        assert "default/guarded" in words(checked) and "the only replica of" in words(checked), checked.output
        assert cluster.cordoned() == []

        played = maintain(inventory, **wish)
        said = words(played)
        assert played.rc != 0 and "stopped at w1" in said and "budget default/guarded" in said, played.output
        assert "option maintenance_drain_timeout" in said and "Left to do: w1, w3." in said
        assert cluster.cordoned() == [] and holder(cluster) is None
        assert record(cluster, "w2")["steps"]["finished"] and "drained" not in record(cluster, "w3")["steps"]
    finally:
        cluster.kubectl("delete", "deployment,poddisruptionbudget", "guarded")
    again = maintain(inventory, **{**wish, "maintenance_drain_timeout": 120})
    assert again.rc == 0 and "done already" in words(again) and "Back in service: w1, w3." in words(again), again.output


def test_a_node_that_is_lost_in_its_work_stops_the_run_and_is_finished_by_the_same_command(
    cluster: Lab, inventory: Path, tmp_path: Path
) -> None:
    # The work takes the node's network away, once.
    cut = tmp_path / "cut"
    argv = ["sh", "-c", f"test -e {cut} || (touch {cut}; LAB_NAME={cluster.name} {LAB} cut-network w1)"]
    step: dict[str, Any] = {
        "name": "Do the work",
        "ansible.builtin.command": {"argv": argv},
        "delegate_to": "localhost",
    }
    (tmp_path / "work.yml").write_text(json.dumps([{**step, "become": False}]))
    wish = {
        "maintenance_nodes": "w1,w2",
        "maintenance_tasks": [str(tmp_path / "work.yml")],
        "maintenance_connect_timeout": 15,
    }
    try:
        played = maintain(inventory, **wish)
        said = words(played)
        assert played.rc != 0 and "stopped at w1" in said and "did not come back within 15 s" in said, played.output
        assert "Left to do: w1, w2." in said and holder(cluster) is None
        assert cluster.cordoned() == ["w1"] and "drained" not in record(cluster, "w2")["steps"]

        wait_for("w1 is not Ready", lambda: cluster.not_ready() == ["w1"], 180)
        refused = maintain(
            inventory, maintenance_nodes="w3", maintenance_reboot="always", maintenance_min_healthy="100%"
        )
        assert refused.rc != 0 and refused.changed == 0, refused.output
        assert "Only 5 of 6 nodes are Ready, and 100 % have to be" in words(refused)
        assert "Node w1 is out of service for 'maintenance'" in words(refused)
    finally:
        cluster.run("mend-network", "w1")
    wait_for("w1 is Ready", lambda: cluster.not_ready() == [], 180)
    again = maintain(inventory, **wish)
    assert again.rc == 0 and "Back in service: w1, w2." in words(again), again.output


def test_no_more_workers_than_allowed_are_out_of_service_when_one_is_down_already(
    cluster: Lab, inventory: Path
) -> None:
    before = boot(cluster, "w2")
    cluster.kubectl("cordon", "w5")
    try:
        refused = maintain(inventory, maintenance_nodes="w2", maintenance_reboot="always")
        said = words(refused)
        assert refused.rc != 0 and refused.changed == 0, refused.output
        assert "Out of service already: w5 (cordoned by kubectl" in said and "maintenance_max_unavailable" in said
        assert boot(cluster, "w2") == before and cluster.cordoned() == ["w5"]
    finally:
        cluster.kubectl("uncordon", "w5")


def test_packages_whose_upgrade_was_cut_off_are_finished_by_the_same_command(cluster: Lab, inventory: Path) -> None:
    # Its script hangs the first time, and is ended in the middle.
    cluster.ssh("w3", REPOSITORY.replace("POSTINST", "test -e /srv/hung || { touch /srv/hung; sleep 600; }"))
    wish = {"maintenance_nodes": "w3", "maintenance_packages": "true", "maintenance_reboot": "never"}
    cut = maintain(inventory, maintenance_work_timeout=20, **wish)
    assert cut.rc != 0 and "did not end within" in words(cut) and cluster.cordoned() == ["w3"], cut.output
    assert "ok installed" not in cluster.ssh("w3", "dpkg-query -W -f '${Status}' demo-os")
    again = maintain(inventory, **wish)
    assert again.rc == 0 and "w3: 1 package to upgrade" in words(again), again.output
    assert cluster.ssh("w3", "dpkg-query -W -f '${Status} ${Version}' demo-os") == "install ok installed 2.0"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        pytest.param({"maintenance_nodes": "w9"}, "w9 is in no inventory group and is no host", id="unknown"),
        pytest.param({"maintenance_nodes": ""}, "It names no host", id="none"),
        pytest.param(
            {"maintenance_nodes": "w1", "maintenance_min_healthy": "most"}, "min_healthy is 'most'", id="share"
        ),
        pytest.param(
            {"maintenance_nodes": "w1", "maintenance_reboot": "maybe"}, "value of maintenance_reboot", id="word"
        ),
        pytest.param({}, "maintenance_nodes", id="nothing said"),
    ],
)
def test_refuses_what_it_does_not_understand(
    cluster: Lab, inventory: Path, variables: dict[str, Any], sentence: str
) -> None:
    played = maintain(inventory, **variables)
    assert played.rc != 0 and played.changed == 0 and sentence in words(played), played.output


# --- three masters; the last ones, because they have a cluster of their own -------------------------------------

MASTERS = ["cp1", "cp2", "cp3"]


@pytest.fixture(scope="module")
def three(lab: Lab) -> Lab:
    lab.up(masters=3, workers=1)
    return lab


def healthy_members(inventory: Path, host: str = "cp1") -> list[str]:
    found = task(inventory, host, "etcd_info")
    return sorted(m["name"] for m in found.get("etcd", {}).get("members", []) if m["healthy"] and not m["learner"])


def test_three_masters_are_rebooted_one_after_the_other_and_the_api_stays(three: Lab) -> None:
    inventory = Path(three.status()["inventory"])
    before = {node: boot(three, node) for node in MASTERS}
    with watched(three) as seen, asked(three) as answers:
        played = maintain(inventory, maintenance_nodes="masters", maintenance_reboot="always")
    assert played.rc == 0, played.output
    assert all(boot(three, node) not in ("", before[node]) for node in MASTERS)
    assert max(len(out) for out in seen) == 1 and set().union(*seen) == set(MASTERS), seen
    # Until the load balancer has noticed that an API server went down, it hands out some connections that fail.
    assert answers.longest_without < 30, f"the API was away for {answers.longest_without:.0f} s"
    assert healthy_members(inventory) == MASTERS
    nothing_is_left(three)


def test_a_master_stays_in_service_while_etcd_needs_it(three: Lab) -> None:
    inventory = Path(three.status()["inventory"])
    before, off = boot(three, "cp1"), told_boot(three, "cp3")
    three.run("power-off", "cp3")
    try:
        wait_for("etcd misses a member", lambda: healthy_members(inventory) == ["cp1", "cp2"])
        refused = maintain(inventory, maintenance_nodes="cp1", maintenance_reboot="always")
        said = words(refused)
        assert refused.rc != 0 and refused.changed == 0, refused.output
        assert "Without cp1, etcd would have 1 healthy of 3 members and lose its quorum, which needs 2" in said
        assert boot(three, "cp1") == before and "cp1" not in three.cordoned() and holder(three) is None
    finally:
        three.run("power-on", "cp3")
        # Until it speaks again, cp3 counts as Ready for a while, and then no longer.
        wait_for("cp3's kubelet speaks", lambda: told_boot(three, "cp3") not in ("", off), 300)
        wait_for("all nodes are Ready", lambda: three.not_ready() == [], 300)
    wait_for("etcd is whole again", lambda: healthy_members(inventory) == MASTERS, 180)
    nothing_is_left(three)


class Answers:
    """Whether the API answered at its load balancer, asked again and again."""

    def __init__(self) -> None:
        self.last_good = time.monotonic()
        self.longest_without = 0.0


@contextmanager
def asked(lab: Lab) -> Iterator[Answers]:
    answers, done = Answers(), threading.Event()

    def ask() -> None:
        while not done.wait(0.5):
            began = time.monotonic()
            good = lab.kubectl("get", "--raw", "/readyz", "--request-timeout=5s", check=False) == "ok"
            answers.longest_without = max(
                answers.longest_without, (began if good else time.monotonic()) - answers.last_good
            )
            answers.last_good = began if good else answers.last_good

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield answers
    finally:
        done.set()
        asker.join()
