# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The record on the host's disk: what it says after a step, who may read it, one writer at a time."""

from __future__ import annotations

import os
import pathlib
import stat
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

OLD = {"target": "1.35.4", "run": "a", "steps": {"kubeadm": {"target": "1.35.4", "finished": "then"}}}


@pytest.mark.parametrize(
    ("before", "target", "steps"),
    [
        (None, "1.35.4", ["kubelet"]),
        (OLD, "1.35.4", ["kubeadm", "kubelet"]),
        (OLD, "1.36.3", ["kubelet"]),
    ],
    ids=["first step", "second step", "another target begins anew"],
)
def test_a_finished_step_is_noted(before: Optional[dict[str, Any]], target: str, steps: list[str]) -> None:
    after = _record.with_step(before, "kubelet", target, "b", "2026-11-22T03:00:00Z", 12.5)
    assert sorted(after["steps"]) == steps
    assert (after["target"], after["run"]) == (target, "b")
    assert after["steps"]["kubelet"] == {
        "target": target,
        "run": "b",
        "finished": "2026-11-22T03:00:00Z",
        "seconds": 12.5,
    }


def test_a_run_is_open_from_its_first_phase_to_the_kubelet() -> None:
    assert not _record.is_open(None)
    record = _record.opened(OLD, "1.36.3", "b", "images")
    assert _record.is_open(record) and record["steps"] == {} and record["phase"] == "images"
    again = _record.opened({**record, "begun": "then"}, "1.36.3", "c", "kubeadm")
    assert (again["begun"], again["run"]) == ("then", "c")
    done = _record.with_step(again, "kubeadm", "1.36.3", "c", "then", 1.0)
    assert _record.is_open(done)
    assert not _record.is_open(_record.with_step(done, "kubelet", "1.36.3", "c", "then", 1.0))
    assert _record.is_open(OLD), "written before there were phases"


def test_a_record_that_was_put_away_opens_no_run(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path)
    assert _record.put_away(directory) is False
    _record.save(OLD, directory)
    assert _record.put_away(directory) is True
    assert _record.load(directory) is None
    assert os.listdir(directory) == ["upgrade.json.aborted"]


def test_what_was_saved_is_loaded_and_nobody_else_may_read_it(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "care")
    assert _record.load(directory) is None
    _record.save(OLD, directory)
    assert _record.load(directory) == OLD
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{directory}/upgrade.json").st_mode) == 0o600
    assert os.listdir(directory) == ["upgrade.json"]


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_broken_record_is_named_and_not_overlooked(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "upgrade.json").write_text(text)
    with pytest.raises(CareError, match=r"upgrade\.json"):
        _record.load(str(tmp_path))


def test_a_failed_write_leaves_the_old_text_and_nothing_else(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        _record.write_private(str(path), b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_second_run_waits_for_the_first_and_is_told_who_it_is(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path)
    with _record.locked(Deadline(1, "timeout"), directory):
        second = _record.locked(Deadline(0, "timeout"), directory)
        with pytest.raises(TimedOut, match=f"process {os.getpid()} since"), second:
            pytest.fail("two at once")
    with _record.locked(Deadline(0, "timeout"), directory):
        pass
