# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _maintenance
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError


def nothing(argv: list[str], **_options: Any) -> Done:
    raise AssertionError(f"unexpected: {argv}")


@pytest.fixture(autouse=True)
def _no_needs_restarting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)


def test_steps_are_noted_once_and_survive_on_the_disk(tmp_path: Path) -> None:
    directory = str(tmp_path / "state")
    assert _maintenance.load(directory) is None
    record = _maintenance.noted(None, "m1", "begun", "r1", {"reboot": "always"}, "t1")
    record = _maintenance.noted(record, "m1", "drained", "r1", None, "t2")
    assert _maintenance.noted(record, "m1", "drained", "r2", None, "t3") is record
    _maintenance.save(record, directory)
    assert _maintenance.load(directory) == record
    assert record["steps"] == {"begun": "t1", "drained": "t2"} and record["wish"] == {"reboot": "always"}
    assert (tmp_path / "state" / "maintenance.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_another_maintenance_begins_anew_and_its_steps_are_not_mixed() -> None:
    old = _maintenance.noted(None, "m1", "begun", "r1", {}, "t1")
    old["reboot"] = {"boot_id": "b0", "asked": "t1"}
    new = _maintenance.noted(old, "m2", "begun", "r2", {"tasks": ["x"]}, "t2")
    assert new["maintenance"] == "m2" and "reboot" not in new and new["steps"] == {"begun": "t2"}
    with pytest.raises(CareError, match="m1 was never begun on this host"):
        _maintenance.noted(new, "m1", "worked", "r1", None, "t3")
    with pytest.raises(CareError, match="never begun"):
        _maintenance.noted(None, "m1", "worked", "r1", None, "t3")


def test_a_record_that_is_not_whole_is_named(tmp_path: Path) -> None:
    (tmp_path / "maintenance.json").write_text('{"maintenance": "m1"}')
    with pytest.raises(CareError, match=r"maintenance\.json .*move it away"):
        _maintenance.load(str(tmp_path))


@pytest.mark.parametrize(
    ("record", "done"),
    [(None, False), ({}, False), ({"reboot": {"boot_id": "now"}}, False), ({"reboot": {"boot_id": "before"}}, True)],
)
def test_a_reboot_is_done_when_the_boot_is_another(record: Any, done: bool) -> None:
    assert _maintenance.reboot_done(record, "now") == done


@pytest.mark.parametrize(
    ("running", "installed", "newer"),
    [
        ("6.1.0-18-amd64", ["6.1.0-18-amd64", "6.1.0-21-amd64"], "6.1.0-21-amd64"),
        ("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-10-amd64"], "6.1.0-10-amd64"),
        ("6.1.0-21-amd64", ["6.1.0-18-amd64", "6.1.0-21-amd64"], None),
        ("6.1.0-18-cloud-amd64", ["6.1.0-18-cloud-amd64", "6.1.0-21-amd64"], None),
        ("5.14.0-362.8.1.el9_3.x86_64", ["5.14.0-362.8.1.el9_3.x86_64", "5.14.0-427.13.1.el9_4.x86_64"], "el9_4"),
        ("5.14.0-427.el9.x86_64", ["5.14.0-427.el9.x86_64", "5.14.0-427.5.1.el9_4.x86_64"], "427.5.1.el9_4"),
        ("5.14.0-427.5.1.el9_4.x86_64", ["5.14.0-427.el9.x86_64", "5.14.0-427.5.1.el9_4.x86_64"], None),
        ("5.14.0-427.el9.x86_64", ["5.14.0-427.el9.x86_64", "5.14.0-427.5.1.el9_4.x86_64+rt", "0-rescue-4f5e"], None),
        ("6.11.4-301.fc41.x86_64", ["6.11.4-301.fc41.x86_64", "6.17.1-300.fc42.x86_64"], "fc42"),
        ("6.1.0-0.deb11.21-amd64", ["6.1.0-0.deb11.21-amd64", "6.1.0-0.deb11.26-amd64"], "deb11.26"),
        ("6.18.5", ["6.1.0-21-amd64"], None),
        ("6.18.5", [], None),
    ],
)
def test_a_newer_kernel_of_the_same_kind(running: str, installed: list[str], newer: str | None) -> None:
    found = _maintenance.newer_kernel(running, installed)
    assert found is None if newer is None else newer in str(found)


def test_the_reasons_for_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _maintenance.reboot_reasons(nothing, str(tmp_path)) == []
    (tmp_path / "var" / "run").mkdir(parents=True)
    (tmp_path / "var" / "run" / "reboot-required").touch()
    (tmp_path / "var" / "run" / "reboot-required.pkgs").write_text("linux-base\ndbus\ndbus\n")
    (tmp_path / "boot").mkdir()
    running = os.uname().release
    (tmp_path / "boot" / f"vmlinuz-{running}").touch()
    said = _maintenance.reboot_reasons(nothing, str(tmp_path))
    assert said == ["/var/run/reboot-required is there (dbus, linux-base)"]


@pytest.mark.parametrize(
    ("there", "ran"),
    [
        (["needs-restarting", "dnf"], ["needs-restarting", "-r"]),
        (["dnf"], ["dnf", "--cacheonly", "needs-restarting", "-r"]),
        ([], None),
    ],
)
def test_needs_restarting_is_asked_under_either_name(
    there: list[str], ran: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    asked: list[list[str]] = []
    for code, said, told in (
        (0, "Reboot should not be necessary.\n", False),
        (1, "  * glibc\n\nReboot is required to fully utilize these updates.\n", True),
        (1, "No such command: needs-restarting. Please use /usr/bin/dnf --help\n", False),
    ):

        def runner(argv: list[str], code: int = code, said: str = said, **_options: Any) -> Done:
            asked.append(argv)
            return Done(argv, code, said, "")

        found = _maintenance.reboot_reasons(runner, str(tmp_path))
        assert found == (["needs-restarting says so"] if told and ran else [])
    assert asked == [ran] * 3 if ran else not asked
