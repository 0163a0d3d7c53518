# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pieces import Line, command, unpack
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    WholeFile,
    free_bytes,
    private_directory,
    remove_leftovers,
    write_whole,
)


def test_a_leftover_of_a_dead_run_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"old and long")
    write_whole(str(tmp_path / "x"), b"new")
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"new"


def test_somebody_elses_work_is_left_alone(tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CareError, match="somebody else"):
            write_whole(str(tmp_path / "x"), b"new")
    assert part.exists() and not (tmp_path / "x").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "x.part").symlink_to(target)
    with pytest.raises(CareError, match="in the way"):
        write_whole(str(tmp_path / "x"), b"new")
    assert target.read_bytes() == b"precious"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def die_half_way() -> None:
        with WholeFile(str(tmp_path / "x")) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        die_half_way()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_anything: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CareError, match="No space left on device"):
        write_whole(str(tmp_path / "x"), b"new")
    assert os.listdir(tmp_path) == []


def test_directories_are_made_private_all_the_way(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    assert private_directory(str(deep)) and not private_directory(str(deep))
    assert [path.stat().st_mode & 0o777 for path in (deep, deep.parent)] == [0o700, 0o700]


def test_a_directory_that_another_run_makes_just_now_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The controller makes one for the files of all masters at once.
    make = os.mkdir

    def too_late(path: str, mode: int) -> None:
        make(path, mode)
        make(path, mode)

    monkeypatch.setattr(os, "mkdir", too_late)
    assert not private_directory(str(tmp_path / "a" / "b")) and (tmp_path / "a" / "b").is_dir()


def test_a_directory_that_is_a_link_to_nothing_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "gone")
    with pytest.raises(CareError, match="leads nowhere"):
        private_directory(str(tmp_path / "a"))


@pytest.mark.parametrize("below", ["", "mine/etcd"])
@pytest.mark.parametrize(("mode", "stranger"), [(0o1777, True), (0o1777, False), (0o755, True)])
def test_a_directory_that_a_stranger_made_where_everybody_may_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, mode: int, stranger: bool
) -> None:
    shared, theirs = tmp_path / "shared", tmp_path / "shared" / "backups"
    theirs.mkdir(parents=True)
    shared.chmod(mode)
    look = os.stat

    def owned(path: str, **more: Any) -> os.stat_result:
        found = list(look(path, **more))
        found[4] = 4242 if stranger and str(path) == str(theirs) else found[4]
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", owned)
    if stranger and mode == 0o1777:
        with pytest.raises(CareError, match="backups is in a directory where everybody may"):
            private_directory(str(theirs / below))
        assert not (theirs / "mine").exists()
    else:
        assert private_directory(str(theirs / below)) is bool(below)


def test_a_name_with_part_in_it_is_no_leftover(tmp_path: Path) -> None:
    # A host may be called so.
    good = ["etcd-cp1.partner.example.org-1.db", "etcd-cp1.partner.example.org-1.db.json", "etcd-a.part.of-it.db"]
    halves = [f"etcd-cp1.partner.example.org-2.db{ending}" for ending in (".part", ".part.etcdctl", ".json.part")]
    for name in [*good, *halves]:
        (tmp_path / name).write_bytes(b"x")
    assert remove_leftovers(str(tmp_path), "etcd-") == sorted(halves)
    assert sorted(os.listdir(tmp_path)) == sorted(good)


def test_room_is_asked_of_the_nearest_directory(tmp_path: Path) -> None:
    assert free_bytes(str(tmp_path / "not" / "yet")) == free_bytes(str(tmp_path))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("offset", "length"), [(0, 10), (1, 5000), (99_990, 10), (0, 100_000)])
def test_a_piece_arrives_as_it_was(tmp_path: Path, packed: bool, offset: int, length: int) -> None:
    data = os.urandom(50_000) * 2
    file = tmp_path / "it's a file"
    file.write_bytes(data)
    ran = subprocess.run(
        ["sh", "-c", command(str(file), offset, length, packed)], capture_output=True, text=True, check=True
    )
    assert unpack(ran.stdout + "\r\n", length, packed) == data[offset : offset + length]


@pytest.mark.parametrize("packed", [True, False])
def test_a_piece_that_did_not_arrive_whole_is_noticed(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(1000))
    shell = ["sh", "-c", command(str(file), 0, 1000, packed)]
    text = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
    for broken in (text[:-8], "", "a line of a login script!\n" + text, text + text):
        with pytest.raises(ValueError, match=r"whole|bytes|padding|base64|alphabet|Only"):
            unpack(broken, 1000, packed)
    with pytest.raises(ValueError, match="of 999 bytes"):
        unpack(text, 999, packed)


@pytest.mark.parametrize(
    ("plain", "packed", "pays"),
    [([1.0, 1.0], [0.5, 0.5], True), ([0.2, 0.2], [0.5, 0.5], False), ([9.0, 0.2], [0.5, 0.5], False)],
)
def test_the_faster_way_is_kept(plain: list[float], packed: list[float], pays: bool) -> None:
    line = Line()
    for seconds in (plain[0], packed[0], plain[1], packed[1]):
        line.took(seconds)
    assert line.packed is pays
    line.took(99.0)
    assert line.packed is pays
