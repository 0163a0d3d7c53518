# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is left of a staging that came to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Options, Restore
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_stage import forget_unfinished
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import standing
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost

MINE, DONE, OTHER = "20260103T000000Z-cccccc", "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"


@pytest.fixture
def step(tmp_path: Path) -> Restore:
    fake = FakeHost(tmp_path)
    state = _restore_state.save({"run": DONE, "home": "/nowhere"}, "done", str(fake.state))
    plan = {"run": MINE, "seen": {}, "snapshot": {"sha256": "a"}}
    options = Options(plan, {}, False, "/nowhere", 900, False, 10, "/nowhere", Access("", None, None, None))
    made = Restore(fake.host, options)
    plan["seen"] = {made.node: standing(state)}
    return made


def of_run(step: Restore, run: str, name: str = "snapshot.db") -> Path:
    """A directory of that run with this in it."""
    home = Path(step.host.directory, "restore", run)
    home.mkdir(parents=True, exist_ok=True)
    (home / name).write_text("content")
    return home


def test_a_staging_that_fails_leaves_nothing(step: Restore) -> None:
    homes = [of_run(step, run) for run in (MINE, OTHER)]
    with pytest.raises(CareError):  # this host has no etcd
        step.take("stage")
    assert not any(home.exists() for home in homes)
    state = _restore_state.load(step.host.directory)
    assert (state or {})["run"] == DONE


def test_another_run_is_left_alone_and_nothing_of_this_one_stays(step: Restore) -> None:
    _restore_state.save({"run": OTHER, "home": "/nowhere"}, "armed", step.host.directory)
    mine, other = of_run(step, MINE), of_run(step, OTHER)
    with pytest.raises(CareError, match="Another run is at work"):
        Restore(step.host, step.options).take("stage")
    assert (mine.exists(), other.exists()) == (False, True)


@pytest.mark.parametrize(
    ("run", "name", "stays"),
    [
        (OTHER, "snapshot.db", False),
        # It came further once, and its directory tells of it.
        (OTHER, "state.json", True),
        (OTHER, "previous", True),
        (MINE, "snapshot.db", True),
        (DONE, "snapshot.db", True),
        ("somebody-elses", "snapshot.db", True),
    ],
)
def test_only_what_a_killed_staging_left_is_removed(step: Restore, run: str, name: str, stays: bool) -> None:
    home = of_run(step, run, name)
    forget_unfinished(step, str(home.parent))
    assert home.exists() is stays


@pytest.mark.parametrize("known", [False, True])
def test_the_same_in_a_data_directory_of_its_own_file_system(step: Restore, tmp_path: Path, known: bool) -> None:
    if known:
        of_run(step, OTHER, "state.json")
    room = tmp_path / "etcd" / f".clustercare-restore-{OTHER}"
    (room / "new").mkdir(parents=True)
    (tmp_path / "etcd" / "member").mkdir()
    forget_unfinished(step, str(tmp_path / "etcd"), ".clustercare-restore-")
    assert room.exists() is known
    assert (tmp_path / "etcd" / "member").exists()


DEAD = {"hostname": "bastion", "machine_id": "m1", "boot_id": "b1", "pid": 5, "start": 50}
ME = {"hostname": "bastion", "machine_id": "m1", "boot_id": "b1", "pid": 7, "start": 70, "running": []}


@pytest.mark.parametrize(
    ("phase", "run", "running", "gone"),
    [
        ("staged", OTHER, [], True),
        ("staged", OTHER, [{"pid": 5, "start": 50}], False),
        # Of a run that began after this one: it is this one that came late.
        ("staged", "20260104T000000Z-dddddd", [], False),
        ("armed", OTHER, [], False),
    ],
)
def test_what_a_dead_run_staged_after_this_one_looked_is_in_nobodys_way(
    step: Restore, phase: str, run: str, running: list[dict[str, int]], gone: bool
) -> None:
    home = of_run(step, run)
    state = {"run": run, "home": str(home), "room": str(home), "controller": DEAD}
    _restore_state.save(state, phase, step.host.directory)
    of_run(step, MINE)
    options = step.options._replace(controller={**ME, "running": running})
    with pytest.raises(CareError, match="Another run is at work" if not gone else "etcd") as raised:
        Restore(step.host, options).take("stage")
    assert ("Another run is at work" in raised.value.message) is not gone
    assert home.exists() is not gone
