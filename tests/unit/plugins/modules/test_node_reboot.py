# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""node_reboot and maintenance_record whole, on a host whose disk and boot are the test's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _command, _maintenance
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done


class Host:
    def __init__(self) -> None:
        self.boot = "b1"
        self.started: list[list[str]] = []
        self.rc = 0

    def run(self, argv: list[str], **_options: Any) -> Done:
        self.started.append(argv)
        return Done(argv, self.rc, "", "no systemd here")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    directory = str(tmp_path / "state")
    load, save = _maintenance.load, _maintenance.save
    monkeypatch.setattr(_maintenance, "load", lambda: load(directory))
    monkeypatch.setattr(_maintenance, "save", lambda record: save(record, directory))
    monkeypatch.setattr(_maintenance, "boot_id", lambda: host.boot)
    monkeypatch.setattr(_maintenance, "reboot_reasons", list)
    monkeypatch.setattr(_command, "run", host.run)
    return host


def test_a_host_is_rebooted_once_for_a_maintenance(host: Host, run_module: Any) -> None:
    first = run_module("node_reboot", {"maintenance": "m1"})
    assert first["changed"] and first["boot_id"]["before"] == "b1" and len(host.started) == 1
    assert host.started[0][0] == "systemd-run" and host.started[0][-2:] == ["systemctl", "reboot"]

    # The run died before the reboot began: it is asked for again, in the same boot.
    assert run_module("node_reboot", {"maintenance": "m1"})["changed"] and len(host.started) == 2

    host.boot = "b2"
    again = run_module("node_reboot", {"maintenance": "m1"})
    assert not again["changed"] and again["done_before"] and again["boot_id"] == {"before": "b1", "after": "b2"}
    assert len(host.started) == 2

    other = run_module("node_reboot", {"maintenance": "m2"})
    assert other["changed"] and other["boot_id"]["before"] == "b2" and len(host.started) == 3


def test_check_mode_starts_and_notes_nothing(host: Host, run_module: Any) -> None:
    assert run_module("node_reboot", {"maintenance": "m1"}, check=True)["changed"]
    assert host.started == [] and _maintenance.load() is None


def test_a_reboot_that_cannot_be_started_is_told(host: Host, run_module: Any) -> None:
    host.rc = 1
    result = run_module("node_reboot", {"maintenance": "m1"})
    assert result["failed"] and "no systemd here" in result["msg"] and not result["changed"]


def test_the_record_keeps_the_reboot_and_tells_that_it_is_done(host: Host, run_module: Any) -> None:
    def note(step: str, check: bool = False) -> Any:
        given = {"step": step, "maintenance": "m1", "run_id": "r1", "wish": {"reboot": "always"}}
        return run_module("maintenance_record", given, check=check)

    assert note("begun", check=True)["changed"] and _maintenance.load() is None
    assert note("begun")["changed"] and not note("begun")["changed"]
    run_module("node_reboot", {"maintenance": "m1"})
    assert not run_module("maintenance_record", {})["reboot"]["done"]
    host.boot = "b2"
    looked = run_module("maintenance_record", {})
    assert looked["reboot"]["done"] and looked["boot_id"] == "b2" and not looked["changed"]
    finished = note("finished")
    assert set(finished["record"]["steps"]) == {"begun", "finished"} and finished["record"]["reboot"]["boot_id"] == "b1"
    assert "never begun" in run_module("maintenance_record", {"step": "worked", "maintenance": "m2"})["msg"]
