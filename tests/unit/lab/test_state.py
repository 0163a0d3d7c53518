# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab import lifecycle, paths, requirements, state
from lab.errors import LabError
from lab.processes import Process, identify
from lab.state import MAKING, UP, Lab, Machine, find, locked, parse, require, unusable

ME = identify(os.getpid())
GONE = Process(ME.pid, ME.started + 1)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")


def make(name: Any = "a", **changes: Any) -> Lab:
    return Lab(**{"name": name, "number": 3, "kubernetes": "1.34.4", "boot_id": "boot", "phase": UP, **changes})


def test_what_is_written_is_read_back() -> None:
    lab = make(
        maker=ME,
        machines={"cp1": Machine("cp1", "master", 11, ME), "w1": Machine("w1", "worker", 21, cut=True)},
        services={"haproxy": ME},
    )
    lab.save()
    assert find("a") == lab
    assert (lab.directory / "state.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"services": {"haproxy": ME, "packages": GONE}}, ""),
        ({"boot_id": "another"}, "this host has been restarted since"),
        ({"services": {"haproxy": GONE, "packages": GONE}}, "its load balancer and package server are gone"),
        ({"phase": MAKING, "maker": ME}, ""),
        ({"phase": MAKING, "maker": GONE}, "the command that was making it has died"),
        ({"phase": MAKING, "maker": None}, "the command that was making it has died"),
    ],
)
def test_a_lab_that_is_no_more_is_noticed(changes: Any, why: Any) -> None:
    assert unusable(make(**changes), "boot") == why


def test_a_machine_is_on_while_its_own_supervisor_lives() -> None:
    assert Machine("w1", "worker", 21, ME).on
    assert not Machine("w1", "worker", 21, GONE).on  # the number was given to another process
    assert not Machine("w1", "worker", 21).on


def test_a_dead_lab_says_what_to_do() -> None:
    make(boot_id="another").save()
    with pytest.raises(LabError, match=r"restarted since[\s\S]*lab/lab up --name a"):
        require("a")


def test_a_missing_lab_names_those_that_there_are() -> None:
    make("b").save()
    with pytest.raises(LabError, match=r"no lab a \(there is: b\)"):
        require("a")


def test_a_broken_state_file_is_named() -> None:
    make().save()
    (paths.state_dir("a") / "state.json").write_text("{")
    with pytest.raises(LabError, match=r"state\.json cannot be read"):
        find("a")


def test_a_missing_machine_names_those_that_there_are() -> None:
    with pytest.raises(LabError, match="no machine w9; it has cp1"):
        make(machines={"cp1": Machine("cp1", "master", 11)}).machine("w9")


def test_one_command_at_a_time() -> None:
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(paths.RUN)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    assert held.stdout
    assert held.stdout.readline() == "held\n"
    with pytest.raises(LabError, match=f"process {held.pid}"), locked("a", 0.2):
        pass
    held.kill()
    held.wait()
    with locked("a", 5):
        pass


HOLDER = """
import sys, time, pathlib
from lab import paths, state
paths.RUN = pathlib.Path(sys.argv[1])
with state.locked("a"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_reused_pid_is_not_signalled() -> None:
    other = subprocess.Popen(["sleep", "60"])
    real = identify(other.pid)
    Process(real.pid, real.started - 1).stop(0.1)
    assert other.poll() is None
    real.stop(5)
    assert other.wait(5) == -15
    assert not real.alive()


def test_up_refuses_a_lab_that_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "check", lambda: None)
    make(boot_id=state.boot_id(), services={"haproxy": ME}).save()
    with pytest.raises(LabError, match="is up already"):
        lifecycle.up("a", 1, 2, "1.34.4", print)


def test_up_removes_what_died_before_it_makes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "check", lambda: None)
    removed = []
    monkeypatch.setattr(lifecycle, "remove", lambda lab: removed.append(lab.name))
    make("other", boot_id="another").save()
    make("living", boot_id=state.boot_id(), services={"haproxy": ME}).save()
    lifecycle._begin("a", lambda text: None)
    assert removed == ["other"]


def test_state_of_an_older_lab_without_optional_parts_is_read() -> None:
    text = '{"name": "a", "number": 1, "kubernetes": "1.34.4", "boot_id": "x", "machines": {}, "services": {}}'
    assert parse(text).maker is None


def test_the_clock_of_start_times_runs() -> None:
    assert 0 < ME.started < time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
