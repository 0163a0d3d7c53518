# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Giving an unfinished upgrade up: what is there afterwards, and that kubeadm is waited for."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_job import Jobs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._upgrade_abort import abort


class Systemd:
    def __init__(self, *states: str) -> None:
        self.states = list(states)

    def __call__(self, argv: list[str], **_rest: object) -> Done:
        state = self.states.pop(0) if len(self.states) > 1 else (self.states or ["inactive"])[0]
        return Done(argv, 0, f"ActiveState={state}\n" if argv[:2] == ["systemctl", "show"] else "", "")


def begin(directory: pathlib.Path) -> None:
    """What a run leaves that died while kubeadm ran."""
    _record.save(_record.opened(None, "1.35.4", "run-1", "kubeadm"), str(directory))
    Jobs(Systemd(), str(directory)).start("node", "1.35.4", "run-1", ["kubeadm"])


def test_nothing_was_begun(tmp_path: pathlib.Path) -> None:
    assert abort(5, False, Systemd(), str(tmp_path))["changed"] is False
    record = _record.with_step(None, "kubelet", "1.35.4", "run-1", "then", 1.0)
    _record.save(record, str(tmp_path))
    assert abort(5, False, Systemd(), str(tmp_path))["changed"] is False
    assert _record.load(str(tmp_path)) == record, "a run that ended well keeps its record"


def test_a_running_kubeadm_is_waited_for_and_the_record_put_away(tmp_path: pathlib.Path) -> None:
    begin(tmp_path)
    systemd = Systemd("active", "active", "inactive")
    results = abort(30, False, systemd, str(tmp_path))
    assert results["changed"] and results["record"]["run"] == "run-1"
    assert systemd.states == ["inactive"], "kubeadm was not waited for"
    assert _record.load(str(tmp_path)) is None
    job = Jobs(Systemd(), str(tmp_path)).look()
    assert job is not None and job.taken, "the next run would take the result of the one that was given up"
    assert abort(5, False, Systemd(), str(tmp_path))["changed"] is False


def test_a_kubeadm_that_does_not_end_keeps_its_record(tmp_path: pathlib.Path) -> None:
    begin(tmp_path)
    with pytest.raises(TimedOut, match="kubeadm still runs"):
        abort(0, False, Systemd("active"), str(tmp_path))
    assert _record.load(str(tmp_path)) is not None


def test_check_mode_changes_nothing(tmp_path: pathlib.Path) -> None:
    begin(tmp_path)
    assert abort(5, True, Systemd(), str(tmp_path))["changed"] is True
    assert _record.load(str(tmp_path)) is not None
