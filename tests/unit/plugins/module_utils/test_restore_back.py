# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run does to give a master its old data back, on a host of files with a kubelet that follows its manifests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_dead_man import Undo
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


def take(world: World, phase: str, timeout: int = 60) -> dict[str, Any]:
    options = Options({"run": "r1"}, {}, False, "/nowhere", 900, False, timeout, "/nowhere", NO_ACCESS)
    done = Restore(world.fake.host, options).take(phase)
    world.fake.tick()
    return done


def test_a_cluster_that_was_lost_before_is_not_waited_for(world: World) -> None:
    world.park(*COMPONENTS)
    swap(world.places)
    world.at("started", lost=True, outage=1.0, home=world.places.room)
    began = world.now
    assert take(world, "rollback")["changed"] is True
    assert take(world, "rollback_api")["changed"] is True
    assert (world.data, world.phase, world.manifests) == ("old", "rolled_back", COMPONENTS)
    assert world.now - began < 30
    assert take(world, "rollback_api")["changed"] is False


def test_a_cluster_that_worked_before_has_to_work_again(world: World) -> None:
    world.park(*COMPONENTS)
    world.at("stopped", lost=False, outage=1.0, home=world.places.room)
    take(world, "rollback")
    # Nothing answers on this host of files.
    with pytest.raises(CareError, match="etcd"):
        take(world, "rollback_api", timeout=2)
    assert world.phase == "rolling_back"


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
