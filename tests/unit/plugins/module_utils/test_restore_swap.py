# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import (
    Places,
    is_swapped,
    prove_renames,
    room_for,
    swap,
    unswap,
)


def made(root: Path, had_data: bool = True) -> Places:
    places = Places(str(root / "etcd"), str(root / "room"), had_data)
    os.makedirs(places.data_dir)
    os.makedirs(places.new)
    Path(places.new, "db").write_text("new")
    if had_data:
        os.makedirs(places.live)
        Path(places.live, "db").write_text("old")
    return places


def content(path: str) -> str:
    return Path(path, "db").read_text()


class PowerCut(Exception):
    pass


def cut_before(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The power goes just before rename ``number``, counted from 0."""
    left = [number]
    real = os.rename

    def rename(source: str, target: str) -> None:
        if left[0] == 0:
            raise PowerCut
        left[0] -= 1
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)


def test_the_new_data_comes_into_place_and_the_old_one_is_kept(tmp_path: Path) -> None:
    places = made(tmp_path)
    swap(places)
    assert (content(places.live), content(places.previous)) == ("new", "old")
    assert is_swapped(places)


def test_a_second_swap_changes_nothing(tmp_path: Path) -> None:
    places = made(tmp_path)
    swap(places)
    swap(places)
    assert (content(places.live), content(places.previous)) == ("new", "old")


@pytest.mark.parametrize("renames", [0, 1])
def test_a_swap_that_was_cut_off_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    places = made(tmp_path)
    with monkeypatch.context() as patched:
        cut_before(patched, renames)
        with pytest.raises(PowerCut):
            swap(places)
    assert not is_swapped(places)
    swap(places)
    assert (content(places.live), content(places.previous)) == ("new", "old")


@pytest.mark.parametrize("renames", [0, 1])
def test_a_swap_that_was_cut_off_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    places = made(tmp_path)
    with monkeypatch.context() as patched:
        cut_before(patched, renames)
        with pytest.raises(PowerCut):
            swap(places)
    unswap(places)
    assert content(places.live) == "old"
    assert content(places.new) == "new"


@pytest.mark.parametrize("renames", [0, 1])
def test_an_undoing_that_was_cut_off_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    places = made(tmp_path)
    swap(places)
    with monkeypatch.context() as patched:
        cut_before(patched, renames)
        with pytest.raises(PowerCut):
            unswap(places)
    unswap(places)
    assert (content(places.live), content(places.failed)) == ("old", "new")
    assert unswap(places) is False


def test_what_failed_twice_is_kept_twice(tmp_path: Path) -> None:
    places = made(tmp_path)
    os.makedirs(places.failed)
    Path(places.failed, "db").write_text("first")
    swap(places)
    unswap(places)
    assert content(places.failed) == "first"
    assert content(str(tmp_path / "room" / "failed-2" / "member")) == "new"


def test_a_master_without_data_gets_some_and_loses_it_again(tmp_path: Path) -> None:
    places = made(tmp_path, had_data=False)
    assert unswap(places) is False
    swap(places)
    swap(places)
    assert content(places.live) == "new"
    assert unswap(places) is True
    assert not os.path.exists(places.live)


def test_data_that_somebody_else_put_there_is_not_replaced(tmp_path: Path) -> None:
    places = made(tmp_path)
    os.makedirs(places.previous)
    with pytest.raises(CareError, match="Both"):
        swap(places)
    assert content(places.live) == "old"


def test_new_data_that_is_gone_is_an_error(tmp_path: Path) -> None:
    places = made(tmp_path)
    os.rename(places.new, tmp_path / "elsewhere")
    with pytest.raises(CareError, match="no new data"):
        swap(places)
    assert content(places.live) == "old"


def test_the_room_is_where_a_rename_reaches_the_data(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    run = str(tmp_path / "care" / "restore" / "r1")
    assert room_for(str(tmp_path / "etcd"), run) == run
    prove_renames(str(tmp_path), str(tmp_path / "etcd"))
    assert os.listdir(tmp_path / "etcd") == []
    assert sorted(os.listdir(tmp_path)) == ["etcd"]


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_a_data_directory_on_a_file_system_of_its_own_has_the_room_inside(tmp_path: Path) -> None:
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("needs a second file system")
    assert room_for("/dev/shm", str(tmp_path / "r1")) == "/dev/shm/.clustercare-restore-r1"
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CareError, match="not on one file system"):
        prove_renames(str(tmp_path), "/dev/shm")
    assert sorted(os.listdir(tmp_path)) == before
