# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run does to give a master its old data back, on a host of files with a kubelet that follows its manifests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _record,
    _restore_manifest,
    _restore_state,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_dead_man import Undo
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_join import tell
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Options, Restore
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import swap
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import old_data_gone
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.test_restore_undo import (
    COMPONENTS,
    NO_ACCESS,
    World,
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(Undo, "disarm", lambda _undo: False)
    return World(tmp_path, monkeypatch)


def take(world: World, phase: str, timeout: int = 60, run: str = "r1") -> dict[str, Any]:
    options = Options({"run": run}, {}, False, "/nowhere", 900, False, timeout, "/nowhere", NO_ACCESS)
    done = Restore(world.fake.host, options).take(phase)
    world.fake.tick()
    return done


def test_a_cluster_that_was_lost_before_is_not_waited_for(world: World) -> None:
    world.park(*COMPONENTS)
    swap(world.places)
    world.at("started", lost=True, outage=1.0, home=world.places.room)
    began = world.fake.now
    assert take(world, "rollback")["changed"] is True
    assert take(world, "rollback_api")["changed"] is True
    assert (world.data, world.phase, world.manifests) == ("old", "rolled_back", COMPONENTS)
    assert world.fake.now - began < 30
    assert take(world, "rollback_api")["changed"] is False


def test_a_cluster_that_worked_before_has_to_work_again(world: World) -> None:
    world.park(*COMPONENTS)
    world.at("stopped", lost=False, outage=1.0, home=world.places.room)
    take(world, "rollback")
    # Nothing answers on this host of files.
    with pytest.raises(CareError, match="etcd"):
        take(world, "rollback_api", timeout=2)
    assert world.phase == "rolling_back"


def test_a_restore_that_was_only_staged_later_hides_no_earlier_one(world: World) -> None:
    first, later = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"
    swap(world.places)
    world.at("done", run=first, lost=True, outage=1.0, home=world.places.room)
    _record.private_directory("restore", first, directory=str(world.fake.state))
    done = _restore_state.load(str(world.fake.state))
    assert done is not None
    _restore_state.keep(done, str(world.fake.state))
    world.at("staged", run=later)
    staged = _restore_state.load(str(world.fake.state))
    assert _restore_state.touched(staged, str(world.fake.state)) == done
    assert take(world, "rollback", run=first)["state"]["phase"] == "rolling_back"
    take(world, "rollback_api", run=first)
    assert (world.data, world.phase) == ("old", "rolled_back")


def test_a_manifest_says_again_what_it_said_before_it_was_told_whom_to_join(world: World) -> None:
    flags = [
        "--initial-cluster=cp1=https://10.0.0.1:2380",
        "--initial-cluster-state=new",
        f"--data-dir={world.places.data_dir}",
    ]
    before = world.fake.write("etcd", *flags).read_text()
    home = world.places.room
    kept = _restore_manifest.keep(world.fake.host.look("etcd"), home)
    tell(world.fake.host, "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380")
    manifest = world.fake.manifests / "etcd.yaml"
    told = manifest.read_text()
    assert told != before
    # Somebody has changed it since.
    manifest.write_text(told.replace("v1.34.4", "v1.35.4"))
    _restore_manifest.put_back(world.fake.host, kept)
    assert "v1.35.4" in manifest.read_text()
    manifest.write_text(told)
    world.fake.tick()
    world.park(*COMPONENTS)
    swap(world.places)
    world.at("joined", joins=True, lost=True, outage=1.0, home=home, manifest_before=kept)
    take(world, "rollback")
    assert (manifest.read_text(), world.data) == (before, "old")


def test_old_data_that_was_removed_stops_nothing(world: World) -> None:
    swap(world.places)
    world.at("done", outage=1.0, home=world.places.room)
    before = {name: world.fake.pids(name) for name in COMPONENTS}
    shutil.rmtree(world.places.room)
    with pytest.raises(CareError, match="somebody has removed it"):
        take(world, "rollback")
    assert {name: world.fake.pids(name) for name in COMPONENTS} == before
    assert (world.data, world.phase) == ("new", "done")


@pytest.mark.parametrize(
    ("phase", "swapped", "removed", "gone"),
    [
        ("stopped", False, True, False),
        ("swapping", False, False, False),
        ("swapped", True, False, False),
        ("done", True, True, True),
        ("rolled_back", True, True, False),
    ],
)
def test_whether_the_old_data_is_gone(world: World, phase: str, swapped: bool, removed: bool, gone: bool) -> None:
    if swapped:
        swap(world.places)
    if removed:
        shutil.rmtree(world.places.room)
    state = {"phase": phase, "data_dir": world.places.data_dir, "room": world.places.room, "had_data": True}
    assert old_data_gone(state) is gone
    assert old_data_gone({**state, "phase": "rolling_back", "from": phase}) is gone
    assert old_data_gone({**state, "had_data": False}) is False


def test_a_rollback_that_was_cut_off_is_not_taken_for_removed_data(world: World) -> None:
    swap(world.places)
    world.at("swapped", lost=True, outage=1.0, home=world.places.room)
    take(world, "rollback")
    assert os.path.isdir(world.places.failed)
    assert take(world, "rollback")["state"]["phase"] == "rolling_back"
    assert world.data == "old"
