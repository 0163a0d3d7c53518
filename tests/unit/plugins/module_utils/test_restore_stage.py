# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What staging leaves on a host: all of it or nothing, and never the trace of a restore before it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_stage, _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Options, Restore
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost

RUN, EARLIER = "20260102T000000Z-aaaaaa", "20260101T000000Z-bbbbbb"
DEAD = {"hostname": "bastion", "machine_id": "m1", "boot_id": "b1", "pid": 5, "start": 50}
ME = {"hostname": "bastion", "machine_id": "m1", "boot_id": "b1", "pid": 7, "start": 70, "running": []}


class Master:
    """A host with what earlier restores have left there."""

    def __init__(self, root: Path) -> None:
        self.fake = FakeHost(root)
        self.directory = str(self.fake.state)
        self.folder = self.fake.state / "restore"
        self.backups = root / "backups"
        self.backups.mkdir()

    def room(self, run: str, *inside: str) -> Path:
        for name in ("snapshot.db", *inside):
            path = self.folder / run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        return self.folder / run

    def state(self, phase: str, run: str, **other: Any) -> None:
        home = str(self.folder / run)
        known = {"run": run, "home": home, "room": home, "safety": None, "before": None, "controller": DEAD, **other}
        _restore_state.save(known, phase, self.directory)

    def step(self, run: str = RUN, seen: str | None = None, safety: bool = False, **controller: Any) -> Restore:
        plan = {"run": run, "seen": {os.uname().nodename: seen}, "snapshot": {"sha256": "a"}, "mode": "all_members"}
        access = Access("", None, None, None)
        return Restore(
            self.fake.host,
            Options(plan, {**ME, **controller}, safety, str(self.backups), 900, False, 10, "/nowhere", access),
        )

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    @property
    def known(self) -> str | None:
        state = _restore_state.load(self.directory)
        return f"{state['phase']} {state['run']}" if state else None


@pytest.fixture
def master(tmp_path: Path) -> Master:
    return Master(tmp_path)


@pytest.mark.parametrize("error", [CareError("etcdutl could not"), OSError(28, "No space left on device")])
def test_what_fails_leaves_nothing(master: Master, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    master.state("done", EARLIER)
    master.room(EARLIER, "previous/member/snap/db")
    master.room(RUN)
    safety = master.backups / f"before-restore-{RUN}.db"

    def make(*_arguments: Any) -> dict[str, Any]:
        safety.write_text("whole")
        raise error

    monkeypatch.setattr(_restore_stage, "make", make)
    with pytest.raises(type(error)):
        _restore_stage.stage(master.step(seen=EARLIER, safety=True))
    assert (master.left, master.known) == ([EARLIER], f"done {EARLIER}")
    assert not safety.exists()


def test_what_was_staged_is_taken_away_again(master: Master) -> None:
    master.room(EARLIER, "previous/member/snap/db")
    master.room(RUN, "new/member/snap/db")
    safety = master.backups / f"before-restore-{RUN}.db"
    safety.write_text("whole")
    master.state("staged", RUN, safety=str(safety), before={"run": EARLIER, "phase": "done"})
    assert _restore_stage.unstage(master.step(safety=True))["changed"]
    assert (master.left, master.known, list(master.backups.iterdir())) == ([EARLIER], f"done {EARLIER}", [])
    assert not _restore_stage.unstage(master.step()).get("changed")


def test_without_an_earlier_restore_no_trace_is_left(master: Master) -> None:
    master.room(RUN, "new/member/snap/db")
    salvaged = master.backups / "salvaged.db"
    salvaged.write_text("whole")
    master.state("staged", RUN, safety=str(salvaged))
    _restore_stage.unstage(master.step())
    assert (master.left, master.known) == ([], None)
    assert salvaged.exists()


@pytest.mark.parametrize("phase", ["armed", "stopped", "swapped", "agreed", "done", "rolled_back"])
def test_what_went_further_is_not_taken_away(master: Master, phase: str) -> None:
    master.room(RUN, "new/member/snap/db")
    master.state(phase, RUN)
    assert not _restore_stage.unstage(master.step()).get("changed")
    assert (master.left, master.known) == ([RUN], f"{phase} {RUN}")


def test_what_dead_runs_left_is_removed_and_nothing_else(master: Master) -> None:
    names = [f"2025120{day}T000000Z-cccccc" for day in range(1, 6)]
    master.room(names[0])  # killed while the snapshot came
    master.room(names[1], "new.part/new/member/snap/db")  # killed in etcdutl
    master.room(names[2], "previous/member/snap/db")  # somebody moved its state away
    master.room(names[3], "failed/member/snap/db")
    master.room(names[4], "state.json")
    master.room("someone-elses")
    master.room(EARLIER)
    master.state("done", EARLIER)
    _restore_stage.forget_staged(master.step())
    assert master.left == [*names[2:], EARLIER, "someone-elses"]


def test_a_staged_run_is_replaced_and_the_one_before_it_stays(master: Master) -> None:
    master.room(EARLIER)
    between = master.room("20260101T120000Z-dddddd", "new/member/snap/db")
    safety = master.backups / f"before-restore-{between.name}.db"
    safety.write_text("whole")
    master.state("staged", between.name, safety=str(safety), before={"run": EARLIER, "phase": "done"})
    _restore_stage.forget_staged(master.step())
    assert (master.left, safety.exists()) == ([EARLIER], False)


def test_rooms_beside_the_data_are_removed_with_their_run(master: Master, tmp_path: Path) -> None:
    data = tmp_path / "etcd"
    for name in ("member", f".clustercare-restore-{EARLIER}", f".clustercare-restore-{RUN}"):
        (data / name / "new").mkdir(parents=True)
    master.room(EARLIER)
    _restore_stage.forget_rooms(str(data), str(master.folder))
    assert sorted(path.name for path in data.iterdir()) == [f".clustercare-restore-{EARLIER}", "member"]


@pytest.mark.parametrize(
    ("phase", "run", "controller", "gone"),
    [
        ("staged", EARLIER, {}, True),
        ("staged", EARLIER, {"running": [{"pid": 5, "start": 50}]}, False),
        ("staged", "20260103T000000Z-eeeeee", {}, False),
        ("armed", EARLIER, {}, False),
    ],
)
def test_a_dead_runs_module_may_stage_after_this_run_looked(
    master: Master, monkeypatch: pytest.MonkeyPatch, phase: str, run: str, controller: dict[str, Any], gone: bool
) -> None:
    master.state(phase, run)
    monkeypatch.setattr(_restore_stage, "make", lambda *_arguments: {"made": True})
    step = master.step(seen=None, **controller)
    if gone:
        assert _restore_stage.stage(step) == {"made": True}
    else:
        with pytest.raises(CareError, match="Another run is at work"):
            _restore_stage.stage(step)
        assert master.known == f"{phase} {run}"


def test_a_rollback_reaches_below_what_was_only_staged(master: Master) -> None:
    master.state("staged", RUN, before={"run": EARLIER, "phase": "done"})
    assert (master.step(EARLIER).state or {})["phase"] == "done"
    assert (master.step(RUN).state or {})["phase"] == "staged"
