# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole runs on a host of files, whose kubelet follows its manifests between two looks."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import signal
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _evidence,
    _record,
    _service_guard,
    _service_stop,
    _service_timer,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Service
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_options import (
    START_ORDER,
    STOP_ORDER,
    Options,
    in_order,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_run import Care
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost

NO_ETCD = Access("", None, None, None)


class World:
    """A master with a kubelet and a scheduler, and a clock that only waiting moves."""

    def __init__(self, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = FakeHost(root)
        self.units = root / "units"
        self.units.mkdir()
        self.fake.start_unit("kubelet.service", "/usr/bin/kubelet", age=500)
        self.fake.write("kube-scheduler")
        self.fake.start_pod("kube-scheduler", age=100)
        self.ill: dict[str, str] = {}
        self.refusals: list[str] = []
        self.api = True
        self.fake.take_the_clock(monkeypatch)
        monkeypatch.setattr(Care, "dead_man", lambda _care, name: self.dead_man(name, root))
        monkeypatch.setattr(_service_guard, "refusals", lambda _prober, _stopping: self.refusals)
        monkeypatch.setattr(Prober, "problem", lambda _prober, service: self.problem(service))
        monkeypatch.setattr(_service_stop.Stopping, "_api_answers", lambda _stopping: self.api)
        monkeypatch.setattr(_evidence, "pod_logs", dict)

    def dead_man(self, name: str, root: pathlib.Path) -> _service_timer.DeadMan:
        return _service_timer.DeadMan(name, self.fake.runner, str(self.fake.state), str(self.units), str(root))

    def problem(self, service: Service) -> Optional[str]:
        return self.ill.get(service.name)

    def care(self, name: str, state: str, check: bool = False, **more: Any) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "restore_after": None,
            "allow_outage": False,
            "timeout": 120,
            "grace_period": None,
            "prove": "health",
        }
        options = {**defaults, **more}
        return Care(
            self.fake.host,
            Options(names=name.split(","), state=state, kubeconfig="/x", etcd=NO_ETCD, check_mode=check, **options),
        ).run()

    def timers(self) -> list[str]:
        return sorted(path.name for path in self.units.iterdir())

    def files(self) -> dict[str, bytes]:
        roots = (self.fake.manifests, self.fake.state, self.units)
        return {str(path): path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def world(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_waves_go_in_the_order_that_serves_and_not_in_the_one_that_is_written() -> None:
    names = ["etcd", "kube-scheduler", "kubelet", "kube-apiserver"]
    assert in_order(names, STOP_ORDER) == [["kube-apiserver", "kube-scheduler"], ["etcd"], ["kubelet"]]
    assert in_order(names, START_ORDER) == [["kubelet"], ["etcd"], ["kube-apiserver"], ["kube-scheduler"]]


def test_a_static_pod_stops_and_starts_once(world: World) -> None:
    stopped = world.care("kube-scheduler", "stopped")
    row = stopped["services"]["kube-scheduler"]
    assert stopped["changed"] and stopped["actions"] == ["stop kube-scheduler"]
    assert (row["state"], row["ended_by"], row["pid"]) == ("stopped", "kubelet", None)
    assert row["manifests"] == [str(world.fake.state / "services" / "kube-scheduler" / "kube-scheduler.yaml")]
    assert list(world.fake.manifests.iterdir()) == []
    assert stopped["diff"]["before"]["kube-scheduler"]["state"] == "started"
    assert stopped["diff"]["after"]["kube-scheduler"]["state"] == "stopped"
    assert not world.care("kube-scheduler", "stopped")["changed"]

    started = world.care("kube-scheduler", "started")
    assert started["changed"] and started["services"]["kube-scheduler"]["state"] == "started"
    assert [path.name for path in world.fake.manifests.iterdir()] == ["kube-scheduler.yaml"]
    again = world.care("kube-scheduler", "started")
    assert not again["changed"] and again["actions"] == []
    assert world.fake.killed == []


@pytest.mark.parametrize("state", ["stopped", "started", "restarted"])
@pytest.mark.parametrize("was", ["started", "stopped"])
@pytest.mark.parametrize("name", ["kube-scheduler", "kubelet"])
def test_check_mode_says_what_would_be_and_does_nothing(world: World, state: str, was: str, name: str) -> None:
    if was == "stopped":
        world.care(name, "stopped")
    if name == "kubelet" and was == "stopped":
        world.fake.kubelet_follows = False
    files, argvs = world.files(), len(world.fake.changes())
    planned = world.care(name, state, check=True, restore_after=60 if state == "stopped" else None)
    # stopped and stopped: no timer is set yet
    assert planned["changed"] is (state == "stopped" or state != was)
    assert planned["services"][name]["state"] == ("stopped" if state == "stopped" else "started")
    assert world.files() == files and len(world.fake.changes()) == argvs
    done = world.care(name, state, restore_after=60 if state == "stopped" else None)
    assert (done["changed"], done["actions"]) == (planned["changed"], planned["actions"]), "check mode foresaw another"


def test_what_the_cluster_cannot_do_without_stays_unless_allowed(world: World) -> None:
    world.refusals = ["etcd would lose its majority. Set allow_outage to true if that is meant."]
    files = world.files()
    for state in ("stopped", "restarted"):
        for check in (True, False):
            with pytest.raises(CareError, match=r"Refused to .* kube-scheduler .*majority") as refused:
                world.care("kube-scheduler", state, check=check)
            assert refused.value.results["changed"] is False
    assert {path: content for path, content in world.files().items() if not path.endswith("/lock")} == files
    assert world.care("kube-scheduler", "stopped", allow_outage=True)["changed"]


def test_a_kubelet_that_does_not_run_is_not_waited_for(world: World) -> None:
    stopped = world.care("kubelet", "stopped")
    assert "NotReady" in stopped["warnings"][0] and "Static pods" in stopped["warnings"][0]
    with pytest.raises(
        CareError, match=r"nothing else starts the static pod kube-scheduler.*\[kubelet, kube-scheduler\]"
    ):
        world.care("kube-scheduler", "restarted")
    began = world.fake.now
    stopped = world.care("kube-scheduler", "stopped")
    assert stopped["services"]["kube-scheduler"]["ended_by"] == "SIGTERM"
    assert world.fake.now - began < 3
    with pytest.raises(CareError, match="nothing else starts the static pod"):
        world.care("kube-scheduler", "started")
    both = world.care("kube-scheduler,kubelet", "started")
    assert both["actions"] == ["start kubelet", "start kube-scheduler"]
    assert world.fake.pids("kube-scheduler")


def test_what_ignores_sigterm_is_killed_after_its_grace(world: World) -> None:
    world.fake.deaf.add("kube-scheduler")
    (pid,) = world.fake.pids("kube-scheduler")
    began = world.fake.now
    stopped = world.care("kube-scheduler", "stopped", grace_period=7)
    assert stopped["services"]["kube-scheduler"]["ended_by"] == "SIGKILL"
    assert world.fake.killed == [(pid, signal.SIGTERM), (pid, signal.SIGKILL)]
    assert 14 <= world.fake.now - began < 17


@pytest.mark.parametrize(
    ("kubelet", "process", "answers", "grace", "seconds"),
    [
        (None, 100.0, True, 30, 0.0),  # none that could
        (50.0, 100.0, True, 30, 35.0),
        (50.0, 100.0, False, 30, 35.0),  # it started the pod itself, so it ends it without the API
        (150.0, 100.0, True, 30, 35.0),
        (150.0, 100.0, False, 30, 5.0),  # restarted since and deaf: it ends nothing that it did not start
    ],
)
def test_how_long_the_kubelet_is_trusted(
    kubelet: Optional[float], process: float, answers: bool, grace: float, seconds: float
) -> None:
    assert _service_stop.patience(kubelet, process, answers, grace) == seconds


def test_the_manifests_own_grace_counts(world: World) -> None:
    world.fake.write("kube-scheduler", grace=90)
    world.fake.kubelet_follows = False
    began = world.fake.now
    world.care("kube-scheduler", "stopped", timeout=300)
    assert 95 <= world.fake.now - began < 98


def test_what_will_not_go_is_a_failure_that_names_all_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_arguments: None)
    world.fake.kubelet_follows = False
    with pytest.raises(
        TimedOut, match=r"kube-scheduler is gone: not so after 20 s \(option timeout\).*SIGTERM"
    ) as stuck:
        world.care("kube-scheduler", "stopped", timeout=20, grace_period=12)
    assert stuck.value.results["changed"] is True
    assert stuck.value.results["services"]["kube-scheduler"]["state"] == "started"


def test_a_timer_is_armed_once_moved_never_and_disarmed_by_a_start(world: World) -> None:
    stopped = world.care("kube-scheduler", "stopped", restore_after=300)
    assert stopped["actions"] == ["put kube-scheduler back after 300 s", "stop kube-scheduler"]
    due = stopped["services"]["kube-scheduler"]["restore_at"]
    assert due and len(world.timers()) == 2
    again = world.care("kube-scheduler", "stopped", restore_after=900)
    assert not again["changed"] and again["services"]["kube-scheduler"]["restore_at"] == due
    started = world.care("kube-scheduler", "started")
    assert started["changed"] and started["services"]["kube-scheduler"]["restore_at"] is None
    assert world.timers() == []


def test_a_timer_that_comes_before_the_stop_has_ended_is_not_fought(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fake.deaf.add("kube-scheduler")
    path = world.fake.manifests / "kube-scheduler.yaml"
    text = path.read_text()
    began = world.fake.now

    def wait(seconds: float) -> None:
        world.fake.now += seconds
        if world.fake.now > began + 12:
            path.write_text(text)

    monkeypatch.setattr(world.fake, "wait", wait)
    with pytest.raises(CareError, match="was put back while kube-scheduler was being stopped") as back:
        world.care("kube-scheduler", "stopped", restore_after=12)
    assert back.value.results["changed"] and world.fake.killed == []


def test_a_disk_that_takes_nothing_is_told_and_stops_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device", "/var/lib/clustercare")

    monkeypatch.setattr(_record, "write_private", full)
    with pytest.raises(CareError, match=r"/var/lib/clustercare cannot be .*No space left on device"):
        world.care("kube-scheduler", "stopped", restore_after=300)
    assert world.fake.pids("kube-scheduler") and any(world.fake.manifests.iterdir())


def test_restore_after_0_takes_the_timer_away_and_leaves_it_stopped(world: World) -> None:
    world.care("kube-scheduler", "stopped", restore_after=300)
    changed = world.care("kube-scheduler", "stopped", restore_after=0)
    assert changed["changed"] and world.timers() == [] and changed["services"]["kube-scheduler"]["state"] == "stopped"
    assert not world.care("kube-scheduler", "stopped", restore_after=0)["changed"]


def test_a_timer_that_cannot_be_armed_stops_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_more: object) -> str:
        raise CareError("systemd does not arm the timer of restore_after (enable): no.")

    monkeypatch.setattr(_service_timer.DeadMan, "arm", refuse)
    with pytest.raises(CareError, match="does not arm"):
        world.care("kube-scheduler", "stopped", restore_after=300)
    assert world.fake.pids("kube-scheduler") and any(world.fake.manifests.iterdir())


def test_a_restart_is_guarded_by_a_timer_of_its_own_until_it_is_well(world: World) -> None:
    (old,) = world.fake.pids("kube-scheduler")
    restarted = world.care("kube-scheduler", "restarted")
    assert restarted["actions"] == ["stop kube-scheduler", "start kube-scheduler"]
    assert world.fake.pids("kube-scheduler") not in ([], [old]) and world.timers() == []
    world.ill["kube-scheduler"] = "/healthz answers 500"
    with pytest.raises(TimedOut, match=r"kube-scheduler is well: not so.*kube-scheduler: /healthz answers 500") as ill:
        world.care("kube-scheduler", "restarted")
    assert ill.value.results["changed"] and "evidence" in ill.value.results
    assert len(world.timers()) == 2


def test_running_is_not_well(world: World) -> None:
    world.ill["kube-scheduler"] = "nothing listens on its port 10259"
    with pytest.raises(TimedOut, match="nothing listens on its port 10259") as ill:
        world.care("kube-scheduler", "started", timeout=5)
    assert ill.value.results["changed"] is False
    assert not world.care("kube-scheduler", "started", prove="process")["changed"]


@pytest.mark.parametrize(("wait", "restarted"), [("10s", False), ("20s", True), ("2m40s", True)])
def test_a_kubelet_that_would_wait_long_before_it_starts_a_pod_is_restarted(
    world: World, monkeypatch: pytest.MonkeyPatch, wait: str, restarted: bool
) -> None:
    world.fake.start_unit("containerd.service", "/usr/bin/containerd")
    world.care("kube-scheduler", "stopped")
    world.fake.kubelet_follows = False
    of_host = world.fake.host.runner
    ran: list[list[str]] = []

    def runner(argv: list[str], **more: Any) -> Done:
        ran.append(argv)
        if argv[:2] == ["systemctl", "restart"]:
            world.fake.kubelet_follows = True
        if argv[:2] == ["journalctl", "--unit=kubelet"]:
            waits = f"back-off {wait} restarting failed container=kube-scheduler"
            return Done(argv, 0, f'... CrashLoopBackOff: "{waits} pod=kube-scheduler-cp1_kube-system(ae)"', "")
        return of_host(argv, **more)

    monkeypatch.setattr(world.fake.host, "runner", runner)
    if restarted:
        started = world.care("kube-scheduler", "started")
        assert started["services"]["kube-scheduler"]["state"] == "started"
        told = "restart the kubelet, which would wait before it starts kube-scheduler"
        assert started["actions"] == ["start kube-scheduler", told]
    else:
        with pytest.raises(TimedOut):
            world.care("kube-scheduler", "started")
    assert ran.count(["systemctl", "restart", "kubelet.service"]) == restarted


def test_units_are_stopped_and_started_by_systemd_under_whatever_name(world: World) -> None:
    world.fake.start_unit("my-kcm.service", "/opt/kube-controller-manager", "--v=2")
    stopped = world.care("kube-controller-manager", "stopped")
    row = stopped["services"]["kube-controller-manager"]
    assert (row["kind"], row["state"], row["ended_by"], row["unit"]) == (
        "systemd",
        "stopped",
        "systemd",
        "my-kcm.service",
    )
    assert not world.care("kube-controller-manager", "stopped")["changed"]
    assert world.care("kube-controller-manager", "started")["changed"]
    assert not world.care("kube-controller-manager", "started")["changed"]
    assert (
        world.care("kube-controller-manager", "restarted")["services"]["kube-controller-manager"]["pid"] != row["pid"]
    )


def test_a_unit_that_ends_by_itself_fails_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fake.start_unit("kube-controller-manager.service", "/opt/kube-controller-manager")
    world.care("kube-controller-manager", "stopped")

    def broken(name: str, *_argv: str, **_more: float) -> int:
        world.fake.units[name]["ActiveState"] = "failed"
        world.fake.said[name] = "no such file: scheduler.conf"
        return 0

    monkeypatch.setattr(world.fake, "start_unit", broken)
    began = world.fake.now
    words = r"kube-controller-manager.service ended by itself .*: it said last: no such file: scheduler.conf\.$"
    with pytest.raises(CareError, match=words):
        world.care("kube-controller-manager", "started")
    assert world.fake.now - began < 5


def test_a_host_without_it_says_so(world: World) -> None:
    for state in ("stopped", "started", "restarted"):
        with pytest.raises(CareError, match=f"{os.uname().nodename} has no etcd: there is no manifest in"):
            world.care("etcd", state)


def test_what_somebody_started_by_hand_is_left_to_them(world: World) -> None:
    pid = world.fake.start(["etcd"], "0::/user.slice/session-3.scope\n")
    with pytest.raises(CareError, match=f"runs as process {pid}, of no static pod and no systemd unit"):
        world.care("etcd", "stopped", allow_outage=True)
    assert world.fake.pids("etcd") == [pid]


@pytest.mark.parametrize(
    ("state", "after", "words"),
    [
        ("started", 60, "only goes with state=stopped"),
        ("restarted", 60, "only goes with state=stopped"),
        ("stopped", 5, "at least 10"),
        ("stopped", -1, "at least 10"),
    ],
)
def test_a_timer_that_makes_no_sense_is_refused(world: World, state: str, after: int, words: str) -> None:
    with pytest.raises(CareError, match=words):
        world.care("kube-scheduler", state, restore_after=after)
    assert world.fake.pids("kube-scheduler")


def test_etcd_is_gone_only_when_nobody_holds_its_database(tmp_path: pathlib.Path) -> None:
    (tmp_path / "member" / "snap").mkdir(parents=True)
    database = tmp_path / "member" / "snap" / "db"
    database.touch()
    assert _service_stop.still_held(str(tmp_path)) is None
    with database.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert "still holds" in str(_service_stop.still_held(str(tmp_path)))
    assert _service_stop.still_held(str(tmp_path)) is None
    assert _service_stop.still_held("/nowhere") is None


@pytest.mark.parametrize("where", ["flag", "file", "unreadable file"])
def test_the_database_is_found_wherever_etcd_has_its_settings(
    world: World, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    file = tmp_path / "etcd.conf.json"
    file.write_text(json.dumps({"data-dir": "/srv/etcd"}))
    flags = {"flag": ["--data-dir=/srv/etcd"], "file": [f"--config-file={file}"]}
    unreadable = ["--config-file=/nowhere", "--data-dir=/srv/etcd"]
    world.fake.start_unit("etcd.service", "etcd", *flags.get(where, unreadable))
    held: list[str] = []

    def still_held(data_dir: str) -> None:
        held.append(data_dir)

    def runner(argv: list[str], **more: Any) -> Done:
        if argv[:2] == ["kubectl", "patch"]:
            return Done(argv, 0, pathlib.Path(argv[argv.index("--patch-file") + 1]).read_text(), "")
        return world.fake.runner(argv, **more)

    monkeypatch.setattr(_service_stop, "still_held", still_held)
    monkeypatch.setattr(world.fake.host, "runner", runner)
    world.care("etcd", "stopped", allow_outage=True)
    assert held and set(held) == {"/srv/etcd"}


def test_a_signal_reaches_only_the_process_that_was_meant(world: World) -> None:
    (process,) = world.fake.host.processes("kube-scheduler")
    _service_stop.end(process._replace(started=process.started - 60), signal.SIGTERM, str(world.fake.proc))
    assert world.fake.killed == []
    _service_stop.end(process, signal.SIGTERM, str(world.fake.proc))
    assert world.fake.killed == [(process.pid, signal.SIGTERM)]


def test_run_module_refuses_before_it_looks_at_the_host(run_module: Any) -> None:
    result = run_module("control_plane_service", {"name": ["etcd"], "state": "started", "restore_after": 60})
    assert result["failed"] and "only goes with state=stopped" in result["msg"]
