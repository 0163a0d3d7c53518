# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Components of real nodes are stopped and started; whether they are is never asked of the module under test."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import ETCDCTL, PROJECT, Lab, environment, task, task_command, wait_for

SCHEDULER = "/etc/kubernetes/manifests/kube-scheduler.yaml"
STATIC = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
EVERY = (*STATIC, "kubelet", "container-runtime")
# How anybody who knows the component would ask whether it is well.
WELL = {
    "etcd": f"{ETCDCTL} --command-timeout=5s endpoint health",
    # By itself: the load balancer of the kubeconfig would ask any of them.
    "kube-apiserver": "sudo kubectl --kubeconfig /etc/kubernetes/admin.conf --server https://$(hostname):6443 "
    "get --raw /readyz",
    "kube-controller-manager": "curl -fsk https://127.0.0.1:10257/healthz",
    "kube-scheduler": "curl -fsk https://127.0.0.1:10259/healthz",
    "kubelet": "curl -fs http://127.0.0.1:10248/healthz",
    "container-runtime": "sudo ctr version",
}
PROGRAM = {"container-runtime": "containerd"}


def on(lab: Lab, host: str) -> tuple[Path, str]:
    return Path(lab.status()["inventory"]), host


def care(lab: Lab, name: str, state: str, *more: str, host: str = "cp1", **options: Any) -> dict[str, Any]:
    return task(*on(lab, host), "control_plane_service", *more, name=name.split(","), state=state, **options)


def info(lab: Lab, host: str = "cp1") -> dict[str, Any]:
    services: dict[str, Any] = task(*on(lab, host), "control_plane_service_info", name=list(EVERY))["services"]
    return services


def pids(lab: Lab, name: str, host: str = "cp1") -> set[int]:
    """Of all processes whose program has that name."""
    found = lab.ssh(
        host, f"sudo find /proc -maxdepth 2 -name exe -lname '*/{PROGRAM.get(name, name)}' 2>/dev/null; true"
    )
    return {int(path.split("/")[2]) for path in found.split() if path.split("/")[2].isdigit()}


def well(lab: Lab, name: str, host: str = "cp1") -> bool:
    return lab.run("ssh", host, WELL[name], check=False).returncode == 0


def files(lab: Lab, host: str = "cp1") -> str:
    """All that could have been moved, written or left behind, with its bytes."""
    where = "/etc/kubernetes /etc/systemd/system /var/lib/clustercare"
    look = f"find {where} -type f ! -name lock -exec sha256sum {{}} +; find {where} -type l"
    return lab.ssh(host, f"sudo sh -c '{look}' 2>/dev/null | sort")


def gone_by_itself(lab: Lab, name: str, host: str = "cp1") -> bool:
    """Whether a timer and all that belongs to it has removed itself."""
    return "clustercare-restore" not in lab.ssh(
        host,
        f"ls /etc/systemd/system /etc/systemd/system/timers.target.wants; sudo ls /var/lib/clustercare/restore; "
        f"systemctl list-units --all 'clustercare-restore-{name}*' --no-legend",
    )


@pytest.fixture(scope="module")
def small(lab: Lab) -> Lab:
    lab.up(masters=1, workers=0)
    return lab


def test_a_timer_puts_the_scheduler_back_and_a_master_that_stands_alone_keeps_what_it_needs(small: Lab) -> None:
    before = files(small)
    for name, state, words in (
        ("kube-apiserver", "restarted", "the cluster has no other one"),
        ("etcd", "stopped", "0 of 1 voting members"),
    ):
        refused = care(small, name, state)
        assert refused["failed"] and not refused["changed"]
        assert words in refused["msg"] and "allow_outage" in refused["msg"]
        assert well(small, name)
    assert files(small) == before

    manifest = small.ssh("cp1", f"sudo sha256sum {SCHEDULER}; sudo stat -c '%a %U %Y' {SCHEDULER}")
    # Time enough that a busy machine comes to the second try before the timer does.
    stopped = care(small, "kube-scheduler", "stopped", restore_after=60)
    assert stopped["changed"] and stopped["services"]["kube-scheduler"]["restore_at"]
    assert pids(small, "kube-scheduler") == set()
    assert not care(small, "kube-scheduler", "stopped", restore_after=60)["changed"]
    wait_for("the timer has put the scheduler back", lambda: well(small, "kube-scheduler"), 120)
    assert small.ssh("cp1", f"sudo sha256sum {SCHEDULER}; sudo stat -c '%a %U %Y' {SCHEDULER}") == manifest
    wait_for("nothing of the timer is left", lambda: gone_by_itself(small, "kube-scheduler"), 30)


@pytest.mark.long
class TestOneMaster:
    @pytest.mark.parametrize("name", EVERY)
    def test_stopped_is_gone_and_started_is_well(self, small: Lab, name: str) -> None:
        # The API server's own turn may have cost the controller manager its lease.
        wait_for(f"{name} is well", lambda: bool(pids(small, name)) and well(small, name), 120)
        before, running = files(small), pids(small, name)

        planned = care(small, name, "stopped", "--check", "--diff", allow_outage=True, restore_after=600)
        assert planned["changed"] and planned["services"][name]["state"] == "stopped"
        assert (files(small), pids(small, name)) == (before, running), "check mode changed something"

        stopped = care(small, name, "stopped", allow_outage=True, restore_after=600, grace_period=10)
        assert not stopped["failed"] and stopped["changed"], stopped
        assert pids(small, name) == set() and not well(small, name)
        again = care(small, name, "stopped", allow_outage=True, restore_after=600)
        assert not again["failed"] and not again["changed"], again
        assert info(small)[name]["state"] == "stopped"

        assert care(small, name, "started", "--check")["changed"]
        assert pids(small, name) == set(), "check mode started it"
        started = care(small, name, "started")
        assert not started["failed"] and started["changed"], started
        assert well(small, name) and pids(small, name) == {started["services"][name]["pid"]}
        assert gone_by_itself(small, name), "started did not take the timer away"
        assert not care(small, name, "started")["changed"]

        old = pids(small, name)
        # etcd alone takes much longer: the kubelet waits for the API server that has lost it
        together = "etcd,kube-apiserver" if name == "etcd" else name
        restarted = care(small, together, "restarted", allow_outage=True, grace_period=10)
        assert not restarted["failed"] and restarted["changed"], restarted
        assert well(small, name) and not pids(small, name) & old
        assert gone_by_itself(small, name)

    def test_a_whole_control_plane_stops_and_starts_in_one_task(self, small: Lab) -> None:
        every = ",".join(STATIC)
        stopped = care(small, every, "stopped", allow_outage=True, grace_period=5)
        assert not stopped["failed"], stopped
        assert [pids(small, name) for name in STATIC] == [set()] * 4
        started = care(small, every, "started")
        assert not started["failed"], started
        assert all(well(small, name) for name in STATIC)

    def test_a_restarted_kubelet_without_an_api_server_is_no_obstacle(self, small: Lab) -> None:
        care(small, "kube-apiserver", "stopped", allow_outage=True, grace_period=5)
        small.ssh("cp1", "sudo systemctl restart kubelet")
        wait_for("the kubelet is back", lambda: well(small, "kubelet"), 60)
        stopped = care(small, "kube-scheduler,etcd", "stopped", allow_outage=True)
        assert not stopped["failed"], stopped
        assert stopped["services"]["etcd"]["ended_by"] in ("SIGTERM", "SIGKILL"), "this kubelet ends nothing by itself"
        assert pids(small, "etcd") == set() == pids(small, "kube-scheduler")
        assert not care(small, "etcd,kube-apiserver,kube-scheduler", "started")["failed"]
        assert all(well(small, name) for name in STATIC)

    def test_a_process_that_ignores_sigterm_is_killed_also_without_a_kubelet(self, small: Lab) -> None:
        care(small, "kubelet", "stopped")
        (deaf,) = pids(small, "kube-scheduler")
        small.ssh("cp1", f"sudo kill -STOP {deaf}")
        refused = care(small, "kube-scheduler", "restarted")
        assert refused["failed"] and "start the kubelet first" in refused["msg"] and not refused["changed"]
        stopped = care(small, "kube-scheduler", "stopped", grace_period=3)
        assert stopped["services"]["kube-scheduler"]["ended_by"] == "SIGKILL"
        assert pids(small, "kube-scheduler") == set()
        assert not care(small, "kube-scheduler,kubelet", "started")["failed"]
        assert well(small, "kube-scheduler") and well(small, "kubelet")

    @pytest.mark.parametrize("name", ["kube-apiserver", "kubelet"])
    def test_the_timer_outlives_a_controller_that_was_killed(self, small: Lab, name: str) -> None:
        options = {"name": [name], "state": "stopped", "restore_after": 40, "allow_outage": True}
        controller = subprocess.Popen(
            task_command(*on(small, "cp1"), "control_plane_service", **options),
            cwd=PROJECT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for("it is on its way out", lambda: not well(small, name), 60)
        os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
        small.ssh("cp1", "sudo pkill -KILL -f [c]ontrol_plane_service; true")
        wait_for(f"the timer has put {name} back", lambda: well(small, name), 120)
        wait_for("nothing of the timer is left", lambda: gone_by_itself(small, name), 30)

    def test_a_kubelet_that_would_wait_before_it_starts_a_pod_again_is_restarted(self, small: Lab) -> None:
        for _again in range(10):
            done = care(small, "kube-scheduler", "restarted", allow_outage=True)
            assert not done["failed"], done
            if any(action.startswith("restart the kubelet") for action in done["actions"]):
                break
        else:
            pytest.fail("ten restarts, and the kubelet would never have waited")
        assert well(small, "kube-scheduler") and well(small, "kubelet")

    def test_the_timer_outlives_a_power_cut(self, small: Lab) -> None:
        # From before: the timer is set on the way, and need not wait for the end of the task.
        due = time.time() + 60
        stopped = care(small, "kube-scheduler", "stopped", restore_after=60)
        assert stopped["changed"]
        small.run("power-off", "cp1")
        small.run("power-on", "cp1")
        if time.time() < due - 10:
            wait_for("the API server is back", lambda: well(small, "kube-apiserver"), 120)
        wait_for("the timer has put the scheduler back", lambda: well(small, "kube-scheduler"), 180)
        assert time.time() >= due
        wait_for("nothing of the timer is left", lambda: gone_by_itself(small, "kube-scheduler"), 30)

    def test_the_timer_comes_at_once_when_its_time_passed_without_power(self, small: Lab) -> None:
        assert care(small, "kube-scheduler", "stopped", restore_after=10)["changed"]
        small.run("power-off", "cp1")
        due = time.time() + 11
        wait_for("its time has passed", lambda: time.time() > due, 30)
        small.run("power-on", "cp1")
        wait_for("the timer has put the scheduler back", lambda: well(small, "kube-scheduler"), 180)
        wait_for("nothing of the timer is left", lambda: gone_by_itself(small, "kube-scheduler"), 30)

    def test_what_is_known_of_each_component(self, small: Lab) -> None:
        # After a start of the machine the controller manager may end before the API server answers, and come again.
        wait_for("all are well", lambda: all(well(small, name) for name in EVERY), 180)
        services = info(small)
        for name in EVERY:
            row = services[name]
            assert (row["state"], row["healthy"], row["problem"]) == ("started", True, None), (name, row)
            assert {row["pid"]} == pids(small, name) and row["uptime"] >= 0 and row["restarts"] is not None
        assert {name: services[name]["kind"] for name in EVERY} == {
            **dict.fromkeys(STATIC, "static_pod"),
            "kubelet": "systemd",
            "container-runtime": "systemd",
        }
        assert services["kube-apiserver"]["version"] == services["kubelet"]["version"] == "1.34.4"
        assert services["etcd"]["leader"] is True and services["kube-apiserver"]["leader"] is None
        ends = {row["file"]: row["days_left"] for name in EVERY for row in services[name]["certificates"]}
        assert {"/etc/kubernetes/pki/apiserver.crt", "/etc/kubernetes/scheduler.conf"} <= set(ends)
        assert all(360 < days < 366 for days in ends.values())
        small.ssh("cp1", "sudo pkill -KILL -x kube-scheduler")
        wait_for("the scheduler is back", lambda: well(small, "kube-scheduler"), 120)

        def tells() -> bool:
            ended = info(small)["kube-scheduler"]["last_exit"]
            return bool(ended) and ended["code"] == 137

        wait_for("the exit by SIGKILL is told", tells, 60)


# The same programs as in the containers, with the same flags, as units; one under a name that nobody would guess.
MOVE = """
set -e
move() {
    pid=$(pgrep -xo $1)
    cp /proc/$pid/exe /usr/local/bin/$1
    flags=$(tr '\\0' ' ' </proc/$pid/cmdline | cut -d' ' -f2-)
    mv /etc/kubernetes/manifests/$1.yaml /root
    while pgrep -x $1; do sleep 0.2; done
    printf '%s\\n' '[Service]' "Type=$3" "ExecStart=/usr/local/bin/$1 $flags" TimeoutStopSec=5 \
        '[Install]' WantedBy=multi-user.target >/etc/systemd/system/$2
    systemctl daemon-reload
    systemctl enable --now $2
}
move kube-scheduler planner.service simple
move etcd etcd.service notify
"""
UNITS = {"etcd": "etcd.service", "kube-scheduler": "planner.service"}


@pytest.fixture(scope="module")
def units(lab: Lab) -> Lab:
    lab.up(masters=1, workers=0)
    lab.ssh("cp1", f"sudo bash -c {shlex.quote(MOVE)}")
    wait_for("etcd and the scheduler run as units", lambda: all(well(lab, name) for name in UNITS), 120)
    return lab


@pytest.mark.long
class TestUnits:
    @pytest.mark.parametrize("name", UNITS)
    def test_a_unit_is_found_stopped_and_started(self, units: Lab, name: str) -> None:
        row = info(units)[name]
        assert (row["state"], row["kind"], row["unit"], row["healthy"]) == ("started", "systemd", UNITS[name], True)
        if name == "etcd":
            assert "0 of 1 voting members" in care(units, name, "stopped")["msg"]
            assert well(units, name)
        stopped = care(units, name, "stopped", allow_outage=True)
        assert not stopped["failed"] and stopped["services"][name]["ended_by"] == "systemd", stopped
        assert pids(units, name) == set()
        assert not care(units, name, "stopped", allow_outage=True)["changed"]
        started = care(units, name, "started")
        assert not started["failed"] and started["changed"], started
        assert well(units, name) and pids(units, name) == {started["services"][name]["pid"]}
        assert not care(units, name, "started")["changed"]
        restarted = care(units, name, "restarted", allow_outage=True)
        assert not restarted["failed"], restarted
        assert well(units, name) and pids(units, name) == {restarted["services"][name]["pid"]}
        assert restarted["services"][name]["pid"] != started["services"][name]["pid"]
        if name == "etcd":
            # That long without etcd, a scheduler gives up, and this unit does not start it again.
            assert not care(units, "kube-scheduler", "started")["failed"]

    def test_a_unit_that_has_died_is_found_by_what_it_starts(self, units: Lab) -> None:
        units.ssh("cp1", "sudo systemctl kill --signal=SIGKILL planner")
        wait_for("no scheduler is left", lambda: pids(units, "kube-scheduler") == set(), 30)
        row = info(units)["kube-scheduler"]
        assert (row["state"], row["unit"]) == ("failed", "planner.service")
        started = care(units, "kube-scheduler", "started")
        assert not started["failed"] and started["changed"], started
        assert well(units, "kube-scheduler")

    def test_a_unit_that_ignores_sigterm_is_killed_and_put_back_in_time(self, units: Lab) -> None:
        (deaf,) = pids(units, "kube-scheduler")
        units.ssh("cp1", f"sudo kill -STOP {deaf}")
        assert not care(units, "kube-scheduler", "stopped", restore_after=45)["failed"]
        assert pids(units, "kube-scheduler") == set()
        wait_for("the timer has put the scheduler back", lambda: well(units, "kube-scheduler"), 90)
        wait_for("nothing of the timer is left", lambda: gone_by_itself(units, "kube-scheduler"), 30)

    def test_a_unit_that_cannot_start_says_why(self, units: Lab) -> None:
        care(units, "kube-scheduler", "stopped")
        units.ssh("cp1", "sudo mv /etc/kubernetes/scheduler.conf /root")
        failed = care(units, "kube-scheduler", "started", timeout=60)
        assert failed["failed"] and failed["changed"]
        assert "planner.service ended by itself" in failed["msg"] and "scheduler.conf" in failed["msg"]
        assert info(units)["kube-scheduler"]["state"] == "failed"
        units.ssh("cp1", "sudo mv /root/scheduler.conf /etc/kubernetes")
        assert not care(units, "kube-scheduler", "started")["failed"]
        assert well(units, "kube-scheduler")


@pytest.fixture(scope="module")
def three(lab: Lab) -> Lab:
    lab.up(masters=3, workers=0)
    return lab


def on_all(lab: Lab, name: str, state: str, **options: Any) -> dict[str, dict[str, Any]]:
    """The same task on all masters at the same time."""
    hosts = ("cp1", "cp2", "cp3")
    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip(hosts, pool.map(lambda host: care(lab, name, state, host=host, **options), hosts), strict=True))


@pytest.mark.long
class TestThreeMasters:
    def test_etcd_keeps_its_majority_and_the_cluster_an_api_server(self, three: Lab) -> None:
        assert not care(three, "etcd", "stopped")["failed"]
        assert pids(three, "etcd") == set()
        three.kubectl("create", "configmap", "written-meanwhile")
        refused = care(three, "etcd", "stopped", host="cp2")
        assert refused["failed"] and "1 of 3 voting members" in refused["msg"] and "not well now: cp1" in refused["msg"]
        assert well(three, "etcd", "cp2")
        # the API server of cp1 has lost its etcd and is no help
        assert not care(three, "kube-apiserver", "stopped", host="cp2", grace_period=5)["failed"]
        running = pids(three, "kube-apiserver", "cp3")
        last = care(three, "kube-apiserver", "stopped", host="cp3")
        assert last["failed"] and "the last one that answers" in last["msg"]
        assert pids(three, "kube-apiserver", "cp3") == running
        wait_for("the one that is left is well", lambda: well(three, "kube-apiserver", "cp3"))
        beside = care(three, "etcd", "restarted", host="cp3")
        assert beside["failed"] and well(three, "etcd", "cp3")
        assert not care(three, "etcd", "started")["failed"]
        assert not care(three, "kube-apiserver", "started", host="cp2")["failed"]
        every = [(name, host) for name in ("etcd", "kube-apiserver") for host in ("cp1", "cp2", "cp3")]
        # The API server of cp1 finds its etcd again in its own time.
        wait_for("all are well", lambda: all(well(three, *one) for one in every), 180)

    def test_all_members_stop_and_start_at_the_same_time(self, three: Lab) -> None:
        stopped = on_all(three, ",".join(STATIC), "stopped", allow_outage=True, grace_period=5)
        assert not any(result["failed"] for result in stopped.values()), stopped
        assert [pids(three, name, host) for name in STATIC for host in stopped] == [set()] * 12
        alone = care(three, "etcd", "started", prove="process")
        assert not alone["failed"], alone
        assert pids(three, "etcd") and not well(three, "etcd")
        started = on_all(three, ",".join(STATIC), "started")
        assert not any(result["failed"] for result in started.values()), started
        assert all(well(three, name, host) for name in STATIC for host in started)
        leaders = [host for host in started if info(three, host)["kube-scheduler"]["leader"]]
        assert len(leaders) == 1
