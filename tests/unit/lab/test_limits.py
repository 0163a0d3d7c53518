# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host gets back the limits that it had."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import network, paths, state

HIGH, LOW = "fs.inotify.max_user_watches", "fs.inotify.max_user_instances"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.setattr(network, "_sysctl", lambda name: tmp_path / name)
    (tmp_path / LOW).write_text("128\n")
    (tmp_path / HIGH).write_text("9999999\n")
    return tmp_path


def test_only_low_limits_are_raised_and_they_come_back(host: Path) -> None:
    network.raise_limits()
    assert (host / LOW).read_text() == "8192" and (host / HIGH).read_text() == "9999999\n"
    network.raise_limits()  # a second lab must not take the raised limit for the host's own
    network.restore_limits()
    assert (host / LOW).read_text() == "128" and (host / HIGH).read_text() == "9999999\n"
    assert not list((host / "state").glob("*.json"))


def test_limits_of_before_a_restart_are_not_written_back(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network.raise_limits()
    monkeypatch.setattr(state, "boot_id", lambda: "another")
    (host / LOW).write_text("256\n")
    network.restore_limits()
    assert (host / LOW).read_text() == "256\n"


def test_nothing_is_restored_when_nothing_was_raised(host: Path) -> None:
    network.restore_limits()
    assert (host / LOW).read_text() == "128\n"
