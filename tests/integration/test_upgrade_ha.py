# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clusters of three and five masters go one minor up under load, while their runs are killed, cut off and made to fail.

Each class is one cluster's life: its tests stand in order, and each starts where the one before it ended. The sample
service and its name are asked from the first kill to the end, and not one answer may be missing. The seven machines of
the second class share the cores of one: an answer may take its time there, but it has to come.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness import (
    Lab,
    Played,
    Watch,
    command_of,
    kill,
    kubeadm_upgrades,
    led_astray,
    machine_of,
    play,
    playing,
    wait_for,
)

from lab.images import NGINX
from lab.processes import Process, identify

BEFORE, TARGET = "1.34.4", "1.35.4"
UPGRADE = "upgrade-cluster.yml"

pytestmark = pytest.mark.long

# Two pods that may not go until the test says so, one on each worker.
HELD_LABELS = {"app": "held"}
HELD = [
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "held"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": HELD_LABELS},
            "template": {
                "metadata": {"labels": HELD_LABELS},
                "spec": {
                    "containers": [{"name": "nginx", "image": NGINX, "imagePullPolicy": "IfNotPresent"}],
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": HELD_LABELS},
                        }
                    ],
                },
            },
        },
    },
    {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "held"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": HELD_LABELS}},
    },
]


@dataclass
class Scene:
    """A cluster that is upgraded by one command, again and again."""

    lab: Lab
    directory: Path
    everything: bool  # whether a kill takes all processes of the run, or the main one alone
    watch: Watch
    disks: dict[str, Path]
    left: list[Process] = field(default_factory=list)  # what lives on of killed runs
    failures: list[dict[str, Any]] = field(default_factory=list)  # of the sample service and its name, told already
    log: Path = Path()
    runs: int = 0

    @property
    def inventory(self) -> Path:
        return Path(self.lab.status()["inventory"])

    def variables(self, **more: Any) -> dict[str, Any]:
        return {"kubernetes_version": TARGET, "run_dir": str(self.directory / "run"), **more}

    @contextmanager
    def running(self, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
        self.runs += 1
        self.log = self.directory / f"run-{self.runs}.log"
        print(f"{time.strftime('%H:%M:%S')} run {self.runs} begins")
        with playing(UPGRADE, self.inventory, self.log, **self.variables(**more)) as process:
            yield process

    def run(self, **more: Any) -> Played:
        """The command to its end."""
        self.runs += 1
        played = play(UPGRADE, self.inventory, **self.variables(**more))
        print(f"{time.strftime('%H:%M:%S')} run {self.runs} ended with {played.rc} after {played.seconds:.0f} s")
        (self.directory / f"run-{self.runs}.log").write_text(played.output)
        return played

    def await_in(self, process: subprocess.Popen[bytes], moment: str, look: Callable[[], bool], seconds: float) -> None:
        """Wait for a moment of a run that goes on meanwhile."""
        wait_for(moment, lambda: look() or process.poll() is not None, seconds, 0.1)
        assert process.poll() is None, f"the run ended before this: {moment}\n{self.log.read_text()}"
        print(f"{time.strftime('%H:%M:%S')} {moment}")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        self.left += kill(process, self.everything)
        self.check_service()

    def kill_when(self, moment: str, look: Callable[[], bool], seconds: float = 900) -> None:
        """The command, killed at a moment; whatever comes next comes at once."""
        with self.running() as process:
            self.await_in(process, moment, look, seconds)
            self.kill(process)

    def check_service(self) -> None:
        """Since the last look no request and no name has failed, and kubeadm was nowhere where it must not be."""
        probe = json.loads(self.lab.run("workload", "result", check=False).stdout)
        failures = [*probe["requests"]["failures"], *probe["names"]["failures"]]
        problems = [failure for failure in failures if failure not in self.failures] + self.watch.take_problems()
        self.failures = failures
        assert problems == []

    def kubeadm(self, machine: str, *said: str) -> bool:
        """Whether kubeadm upgrades this machine just now, and has said these words."""
        output = self.kubeadm_output(machine) if said else ""
        return all(words in output for words in said) and machine in kubeadm_upgrades(self.lab.name).values()

    def kubeadm_output(self, machine: str) -> str:
        with suppress(FileNotFoundError):
            return (self.disks[machine] / "var/lib/clustercare/kubeadm/output").read_text(errors="replace")
        return ""

    def record(self, machine: str) -> dict[str, Any] | None:
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((self.disks[machine] / "var/lib/clustercare/upgrade.json").read_text())
            return found
        return None

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "run" / "report.json").read_text())
        return found

    def phase(self, machine: str, name: str) -> dict[str, Any]:
        (node,) = [node for node in self.report()["nodes"] if node["name"] == machine]
        (phase,) = [phase for phase in node["phases"] if phase["phase"] == name]
        found: dict[str, Any] = phase
        return found

    def pods(self, label: str, machine: str, *where: str) -> list[str]:
        """Pods of a label on a machine that are not on their way out."""
        found = self.lab.get("pods", "-l", label, f"--field-selector=spec.nodeName={machine}", *where)["items"]
        return [pod["metadata"]["name"] for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def half_drained(self, machine: str) -> bool:
        """One pod of the worker is evicted, and one is not."""
        with suppress(AssertionError):  # an API server on its way
            return (
                machine in self.lab.cordoned()
                and not self.pods("app=web", machine, "-n", "lab-workload")
                and bool(self.pods("app=held", machine))
            )
        return False

    def budget(self, unavailable: int) -> None:
        patch = json.dumps({"spec": {"maxUnavailable": unavailable}})
        self.lab.kubectl("patch", "poddisruptionbudget", "held", "--type=merge", "-p", patch)

    def kubelet(self, machine: str) -> str:
        return self.lab.kubelet_versions()[machine]

    def starts_of_kubeadm(self, machine: str) -> int:
        """systemd's own word for each start; what kubeadm says goes to a file, not to the journal."""
        command = "sudo journalctl -o cat -u clustercare-kubeadm.service | grep -c ^Started"
        return int(self.lab.ssh(machine, command, check=False))


@contextmanager
def cluster(lab: Lab, directory: Path, masters: int, workers: int, everything: bool) -> Iterator[Scene]:
    """A cluster with two pods that are held, under the eyes of a watch."""
    lab.up(masters, workers)
    lab.apply("default", *HELD)
    lab.kubectl("rollout", "status", "deployment/held", "--timeout=110s")

    def look_closer(machine: str) -> list[str]:
        """Before kubeadm touches a master, it leads no etcd and carries no DNS."""
        if not machine.startswith("cp"):
            return []
        problems = []
        if "etcd_server_is_leader 1" in lab.ssh(machine, "curl -s http://127.0.0.1:2381/metrics"):
            problems.append(f"kubeadm began on {machine} while it led etcd")
        if names := scene.pods("k8s-app=kube-dns", machine, "-n", "kube-system"):
            problems.append(f"kubeadm began on {machine} while {names} were there")
        return problems

    with Watch(lab, look_closer) as watch:
        scene = Scene(lab, directory, everything, watch, lab.disks())
        yield scene
    for process in scene.left:
        process.signal(signal.SIGKILL)


def one_line(played: Played) -> str:
    """What was printed, without the line breaks of a narrow screen."""
    return " ".join(played.output.split())


# --- moments that are met in both clusters


def killed_with_a_new_etcd(scene: Scene, limit: float = 1.0) -> None:
    scene.lab.run("workload", "start", "--rate", "10", "--limit", f"{limit:g}")
    for worker in ("w1", "w2"):
        assert scene.pods("app=web", worker, "-n", "lab-workload") and scene.pods("app=held", worker)
    scene.kill_when(
        "kubeadm runs on cp1, and its etcd is new",
        lambda: scene.kubeadm("cp1", 'Component "etcd" upgraded successfully!'),
    )


def killed_between_control_plane_and_upload_config(scene: Scene) -> None:
    assert led_astray(scene.lab.name) == ["cp1"], "the dead run's kubeadm goes on, and with it the kubelet's detour"
    with scene.running() as process:
        moment = "kubeadm comes to the scheduler of cp1, the last of its static pods"
        scene.await_in(process, moment, lambda: scene.kubeadm("cp1", 'Preparing for "kube-scheduler" upgrade'), 600)
        (pid,) = [pid for pid, machine in kubeadm_upgrades(scene.lab.name).items() if machine == "cp1"]
        with frozen_after(pid, "The control plane instance for this node", lambda: scene.kubeadm_output("cp1")):
            told = scene.lab.kubectl("get", "configmap", "kubeadm-config", "-n", "kube-system", "-o", "yaml")
            assert f"kubernetesVersion: v{BEFORE}" in told, "kubeadm had got beyond its upload of the configuration"
            scene.kill(process)


@contextmanager
def frozen_after(pid: int, words: str, said: Callable[[], str]) -> Iterator[None]:
    """Let a process go on in slices until it has said these words, and stand still for the length of the block."""
    os.setpriority(os.PRIO_PROCESS, 0, -15)  # a busy machine must not make a slice longer
    try:
        while words not in said():
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.003)
            os.kill(pid, signal.SIGSTOP)
        print(f"{time.strftime('%H:%M:%S')} process {pid} stands still after: {words}")
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        os.kill(pid, signal.SIGCONT)


def killed_in_node(scene: Scene, machine: str) -> None:
    scene.kill_when(
        f"kubeadm upgrade node runs on {machine}, and its API server is new",
        lambda: scene.kubeadm(machine, 'Component "kube-apiserver" upgraded successfully!'),
    )


def arrives(scene: Scene) -> None:
    """The same command a last time; the budget opens while the drain waits for it."""
    with scene.running() as process:
        scene.await_in(process, "the drain of w1 waits for the budget", lambda: scene.half_drained("w1"), 300)
        scene.budget(1)
        assert process.wait(900) == 0, scene.log.read_text()
    print(f"{time.strftime('%H:%M:%S')} arrived\n{scene.log.read_text()[-6000:]}")
    assert set(scene.lab.kubelet_versions().values()) == {f"v{TARGET}"}
    assert scene.lab.not_ready() == []
    assert scene.lab.cordoned() == []
    assert scene.report()["outcome"] == "upgraded"
    assert scene.lab.evicted_twice() == []
    assert led_astray(scene.lab.name) == []
    assert not any(process.alive() for process in scene.left), "something of a killed run is still at work"
    holder = ["get", "lease", "clustercare", "-n", "kube-system", "--ignore-not-found"]
    assert scene.lab.kubectl(*holder, "-o", "jsonpath={.spec.holderIdentity}") == ""
    # Through both kills on it, kubeadm was started once.
    assert scene.starts_of_kubeadm("cp1") == 1
    scene.check_service()
    assert json.loads(scene.lab.run("workload", "stop", check=False).stdout)["problems"] == []


def second_run_changes_nothing(scene: Scene) -> None:
    before = scene.lab.writes_by_administrators()
    played = scene.run()
    assert played.rc == 0, played.output
    assert played.changed == 0
    assert scene.lab.writes_by_administrators() == before


class TestThreeMastersAndAllProcessesKilled:
    @pytest.fixture(scope="class")
    @classmethod
    def scene(cls, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
        with cluster(lab, tmp_path_factory.mktemp("three"), 3, 2, everything=True) as scene:
            yield scene

    def test_refuses_while_the_first_master_is_down(self, scene: Scene) -> None:
        lab, others = scene.lab, ("cp2", "cp3", "w1", "w2")
        before = lab.fingerprints(*others)
        lab.run("power-off", "cp1")
        try:
            writes = lab.writes_by_administrators()
            played = scene.run()
            assert lab.writes_by_administrators() == writes
        finally:
            on = time.time()
            lab.run("power-on", "cp1")
        assert played.rc != 0
        assert played.changed == 0
        printed = one_line(played)
        assert "Refused, and nothing is changed." in printed
        assert "cp1" in printed and "cannot be reached" in printed
        assert lab.fingerprints(*others) == before
        wait_for("every pod of cp1 is Ready again", lambda: not lab.unready_pods(on, "cp1"), 180)
        wait_for("every pod is Ready", lambda: not lab.unready_pods() and not lab.not_ready())

    def test_killed_with_a_new_etcd(self, scene: Scene) -> None:
        killed_with_a_new_etcd(scene)

    def test_killed_between_control_plane_and_upload_config(self, scene: Scene) -> None:
        killed_between_control_plane_and_upload_config(scene)

    def test_kubeadm_fails_on_the_second_master(self, scene: Scene) -> None:
        """The new certificate of its controller manager cannot be written, when its etcd and API server are new."""
        unwritable = scene.disks["cp2"] / "etc/kubernetes/controller-manager.conf"
        manifests = scene.disks["cp2"] / "etc/kubernetes/manifests"
        subprocess.run(["chattr", "+i", unwritable], check=True)
        try:
            played = scene.run()
        finally:
            subprocess.run(["chattr", "-i", unwritable], check=True)
        assert played.rc != 0
        printed = one_line(played)
        for words in ("stopped at cp2", "controller-manager.conf", "operation not permitted", "the same command"):
            assert words in printed
        report = scene.report()
        assert report["outcome"] == "failed"
        assert report["failure"]["host"] == "cp2"
        outcomes = {node["name"]: node["outcome"] for node in report["nodes"]}
        assert outcomes["cp2"] == "failed"
        assert {outcomes[name] for name in ("cp3", "w1", "w2")} == {"not reached"}
        # kubeadm has put the old API server back, and it answers.
        for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            assert f":v{BEFORE}" in (manifests / f"{component}.yaml").read_text()
        ready = ["cp2", "curl -sk https://127.0.0.1:6443/readyz"]
        wait_for("the old API server of cp2 is ready", lambda: scene.lab.ssh(*ready, check=False) == "ok", 120)
        assert scene.lab.kubelet_versions()["cp1"] == f"v{TARGET}"
        assert scene.lab.not_ready() == []
        assert led_astray(scene.lab.name) == []
        scene.check_service()

    def test_killed_in_node(self, scene: Scene) -> None:
        killed_in_node(scene, "cp2")

    def test_a_second_upgrade_is_refused_and_a_shut_budget_ends_the_first(self, scene: Scene) -> None:
        with scene.running(upgrade_drain_timeout=40) as process:
            scene.await_in(process, "kubeadm runs on cp3", lambda: scene.kubeadm("cp3"), 600)
            lease = scene.lab.get("lease", "clustercare", "-n", "kube-system")
            second = play(UPGRADE, scene.inventory, **scene.variables(run_dir=str(scene.directory / "second")))
            assert process.poll() is None
            assert second.rc != 0
            assert second.changed == 0
            printed = one_line(second)
            takeover = re.search(r"cluster_lock_takeover=['\"]?([\w.:-]+\w)", printed)
            assert takeover and takeover[1] in json.dumps(lease), printed
            process.wait(900)
        printed = " ".join(scene.log.read_text().split())
        assert process.returncode != 0
        assert "stopped at w1" in printed
        (pod,) = scene.pods("app=held", "w1")
        assert pod in printed and "default/held" in printed and "upgrade_drain_timeout" in printed
        assert 40 <= scene.phase("w1", "drain")["seconds"] <= 50
        assert scene.lab.cordoned() == []
        assert [scene.kubelet(name) for name in ("w1", "w2")] == [f"v{BEFORE}"] * 2
        assert scene.pods("app=held", "w2")
        nodes = {node["name"]: node for node in scene.report()["nodes"]}
        assert [nodes[name]["outcome"] for name in ("cp2", "cp3", "w1", "w2")] == [
            "upgraded",
            "upgraded",
            "failed",
            "not reached",
        ]
        assert "drain" not in [phase["phase"] for phase in nodes["w2"]["phases"]]
        scene.check_service()

    def test_killed_in_a_drain(self, scene: Scene) -> None:
        # The drain that failed has moved the service's pod; it comes back as a rollout would bring it.
        scene.lab.kubectl("delete", "pod", scene.pods("app=web", "w2", "-n", "lab-workload")[0], "-n", "lab-workload")
        wait_for("a pod of the service is on w1", lambda: bool(scene.pods("app=web", "w1", "-n", "lab-workload")))
        scene.lab.kubectl("rollout", "status", "deployment/web", "-n", "lab-workload", "--timeout=60s")
        scene.kill_when("one pod of w1 is evicted and one is not", lambda: scene.half_drained("w1"))

    def test_arrives(self, scene: Scene) -> None:
        arrives(scene)

    def test_second_run_changes_nothing(self, scene: Scene) -> None:
        second_run_changes_nothing(scene)


class TestFiveMastersAndTheMainProcessKilled:
    @pytest.fixture(scope="class")
    @classmethod
    def scene(cls, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
        with cluster(lab, tmp_path_factory.mktemp("five"), 5, 2, everything=False) as scene:
            yield scene

    def test_killed_with_a_new_etcd(self, scene: Scene) -> None:
        killed_with_a_new_etcd(scene, limit=3)

    def test_killed_between_control_plane_and_upload_config(self, scene: Scene) -> None:
        killed_between_control_plane_and_upload_config(scene)

    def test_killed_in_node(self, scene: Scene) -> None:
        killed_in_node(scene, "cp2")

    def test_ssh_is_cut_for_a_while_and_then_a_master_stays_away(self, scene: Scene) -> None:
        with scene.running(upgrade_api_timeout=45) as process:
            scene.await_in(
                process,
                "kubeadm runs on cp3, and its etcd is new",
                lambda: scene.kubeadm("cp3", 'Component "etcd" upgraded successfully!'),
                600,
            )
            with ssh_refused(scene.lab, "cp3"):
                time.sleep(25)  # how long the cut lasts
            scene.await_in(
                process,
                "the same run has come to cp4, and its etcd is new",
                lambda: scene.kubeadm("cp4", 'Component "etcd" upgraded successfully!'),
                600,
            )
            assert scene.kubelet("cp3") == f"v{TARGET}"
            began = time.monotonic()
            scene.lab.run("cut-network", "cp4")
            try:
                process.wait(300)
            finally:
                scene.lab.run("mend-network", "cp4")
        # 45 s of patience, the time in which a silent connection is noticed, and the report.
        assert time.monotonic() - began < 120
        assert process.returncode != 0
        printed = " ".join(scene.log.read_text().split())
        assert "stopped at cp4" in printed and "upgrade_api_timeout" in printed
        report = scene.report()
        assert report["outcome"] == "failed" and report["failure"]["host"] == "cp4"
        outcomes = {node["name"]: node["outcome"] for node in report["nodes"]}
        assert outcomes["cp3"] == "upgraded" and outcomes["cp5"] == "not reached"
        scene.check_service()

    def test_killed_in_a_drain_and_taken_over(self, scene: Scene) -> None:
        """The drain of the dead run lives on until the next run takes its node over."""
        scene.kill_when("one pod of w1 is evicted and one is not", lambda: scene.half_drained("w1"), 1200)
        orphans = [process for process in scene.left if process.alive()]
        assert orphans, "nothing of the killed run lives on: there is nothing to take over"
        with scene.running() as process:
            scene.await_in(
                process, "the dead run's drain has ended", lambda: not any(one.alive() for one in orphans), 120
            )
            wait_for("w1 is still half drained", lambda: scene.half_drained("w1"), 10)
            scene.kill(process)

    def test_another_target_is_refused_until_the_open_run_is_given_up(self, scene: Scene) -> None:
        run = (scene.record("w1") or {})["run"]
        played = scene.run(kubernetes_version=BEFORE)
        assert played.rc != 0
        assert played.changed == 0
        printed = one_line(played)
        for words in (BEFORE, TARGET, run, "upgrade_abort=true"):
            assert words in printed

        played = scene.run(upgrade_abort=True)
        assert played.rc == 0, played.output
        assert scene.lab.cordoned() == []
        # What was done stays on record; nothing is open any more.
        assert {(scene.record(name) or {"phase": "none"})["phase"] for name in scene.disks} == {"none", "done"}
        wait_for("the dead run's drain has ended", lambda: not any(one.alive() for one in scene.left), 60)
        assert scene.pods("app=held", "w1") and scene.lab.cordoned() == []

        played = scene.run(kubernetes_version=BEFORE)
        assert played.rc != 0
        printed = one_line(played)
        assert "downgrade" in printed and "upgrade_abort" not in printed
        scene.check_service()

    def test_arrives(self, scene: Scene) -> None:
        arrives(scene)

    def test_second_run_changes_nothing(self, scene: Scene) -> None:
        second_run_changes_nothing(scene)


@contextmanager
def ssh_refused(lab: Lab, machine: str) -> Iterator[None]:
    """End the SSH connections to a machine, and let no new one come about."""
    address = lab.status()["machines"][machine]["address"]
    rule = ["-d", address, "-p", "tcp", "--dport", "22", "-j", "REJECT", "--reject-with", "tcp-reset"]
    subprocess.run(["iptables", "-w", "-I", "OUTPUT", *rule], check=True)
    try:
        for path in Path("/proc").glob("[0-9]*"):
            pid = int(path.name)
            if machine_of(pid) == f"{lab.name}/{machine}" and command_of(pid).startswith("sshd: lab"):
                identify(pid).signal(signal.SIGKILL)  # it may have gone with its parent
        yield
    finally:
        subprocess.run(["iptables", "-w", "-D", "OUTPUT", *rule], check=True)
