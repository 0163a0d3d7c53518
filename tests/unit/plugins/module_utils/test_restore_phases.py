# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_phases, _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import ENDS, Options, Restore
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_stage import stage
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost


def restore(root: Path, phase: str | None, run: str = "r1") -> Restore:
    fake = FakeHost(root)
    if phase:
        _restore_state.save({"run": run, "room": "/nowhere", "home": "/nowhere"}, phase, str(fake.state))
    plan = {"run": "r1", "seen": {}, "snapshot": {"sha256": "a"}}
    options = Options(plan, {}, False, "/nowhere", 900, False, 10, "/nowhere", Access("", None, None, None))
    return Restore(fake.host, options)


@pytest.mark.parametrize("step", sorted(ENDS))
@pytest.mark.parametrize("phase", _restore_state.PHASES)
def test_a_step_is_done_once(tmp_path: Path, step: str, phase: str) -> None:
    done = _restore_state.rank(phase) >= _restore_state.rank(ENDS[step])
    assert bool(restore(tmp_path, phase).done_before(step)) is done


@pytest.mark.parametrize("phase", ["rolled_back", "rolling_back"])
def test_no_step_goes_on_where_the_old_data_is_back(tmp_path: Path, phase: str) -> None:
    step = restore(tmp_path, phase)
    assert step.done_before("stage") is None
    for go_on in (step.arm, step.stop_api, step.stop_etcd, step.swap, step.start_etcd, step.mark, step.start_api):
        with pytest.raises(CareError, match="has its old data again"):
            go_on()


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    step = restore(tmp_path, "stopped", run="r2")
    assert step.done_before("stop_api") is None
    with pytest.raises(CareError, match="knows nothing of the restore r1"):
        step.swap()
    with pytest.raises(CareError, match="Another run is at work on"):
        stage(step)
    for go_back in ("rollback", "rollback_api"):
        with pytest.raises(CareError, match="knows nothing of the restore r1"):
            step.take(go_back)


@pytest.mark.parametrize("phase", ["armed", "stopping", "starting"])
def test_no_mark_without_agreement(tmp_path: Path, phase: str) -> None:
    with pytest.raises(CareError, match="no mark is set"):
        restore(tmp_path, phase).mark()


@pytest.mark.parametrize("phase", ["stopped", "swapped", "started"])
def test_no_api_server_without_the_mark(tmp_path: Path, phase: str) -> None:
    with pytest.raises(CareError, match="stays away"):
        restore(tmp_path, phase).start_api()


@pytest.mark.parametrize("step", ["stop_api", "swap"])
def test_nothing_is_stopped_without_the_timer(tmp_path: Path, step: str) -> None:
    with pytest.raises(CareError, match="not armed"):
        getattr(restore(tmp_path, "armed"), step)()


def test_a_run_that_was_only_armed_is_undone_without_a_stop(tmp_path: Path) -> None:
    step = restore(tmp_path, "armed")
    done = [Restore(step.host, step.options).take(phase) for phase in ("rollback", "rollback_api", "rollback")]
    assert [one["state"]["phase"] for one in done] == ["rolled_back"] * 3
    assert [one["changed"] for one in done] == [True, False, False]


@pytest.mark.parametrize("phase", ["armed", "stopped", "started", "agreed", "serving"])
def test_nothing_is_started_before_the_old_data_is_back(tmp_path: Path, phase: str) -> None:
    with pytest.raises(CareError, match="does not have its old data yet"):
        restore(tmp_path, phase).take("rollback_api")


def test_a_step_that_fails_half_way_tells_of_its_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def operate(_host: Any, _access: Any, _kubeconfig: str, names: list[str], *_more: Any) -> dict[str, Any]:
        if names == ["kubelet"]:
            raise CareError("The kubelet does not come back.", changed=False)
        return {"changed": True, "services": {}}

    monkeypatch.setattr(_restore_phases, "operate", operate)
    monkeypatch.setattr(Restore, "time_left", lambda _step: None)
    step = restore(tmp_path, "stopping")
    step.state = {**(step.state or {}), "access": ["", None, None, None], "lost": True, "units": {}}
    with pytest.raises(CareError, match="does not come back") as failed:
        step.take("stop_etcd")
    assert failed.value.results["changed"] is True
    with pytest.raises(CareError, match="no mark is set") as refused:
        restore(tmp_path / "other", "stopped").take("mark")
    assert refused.value.results["changed"] is False


@pytest.mark.parametrize(
    ("about", "restarted"),
    [
        ({"lost": True, "units": {}}, True),
        ({"lost": False, "units": {}}, False),
        # systemd has no such patience.
        ({"lost": True, "units": {"etcd": "etcd.service"}}, False),
        # Of a run before this was noted.
        ({}, False),
    ],
)
def test_a_kubelet_that_has_seen_etcd_die_over_and_over_is_made_to_forget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: dict[str, Any], restarted: bool
) -> None:
    step = restore(tmp_path, "stopping")
    step.state = {**(step.state or {}), **about}
    done: list[tuple[str, str]] = []

    def operate(_step: Restore, names: list[str], state: str, _prove: str = "health") -> dict[str, Any]:
        done.append((names[0], state))
        return {"services": {}}

    monkeypatch.setattr(Restore, "operate", operate)
    monkeypatch.setattr(Restore, "time_left", lambda _step: None)
    assert step.stop_etcd()["state"]["phase"] == "stopped"
    assert done == [("etcd", "stopped"), *([("kubelet", "restarted")] if restarted else [])]


@pytest.mark.parametrize("written_before", [True, False])
def test_a_full_disk_is_said_in_words_and_whether_something_was_changed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_before: bool
) -> None:
    def full(step: Restore) -> None:
        step.changed = written_before
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/clustercare/x")

    step = restore(tmp_path, "staged")
    monkeypatch.setitem(_restore_phases.PHASES, "arm", full)
    with pytest.raises(CareError, match=r"No space left on device \(/var/lib/clustercare/x\). Make room") as failed:
        step.take("arm")
    assert failed.value.results["changed"] is written_before
