# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_owner import (
    PRIVATE,
    Owner,
    give,
    make_missing,
    named,
    owner_of,
)

ME = Owner(os.getuid(), os.getgid())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_owner_is_that_of_the_data_before_that_of_its_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert owner_of(str(tmp_path)).mode == 0o755
    member = tmp_path / "member"
    member.mkdir()
    member.chmod(0o750)
    found = owner_of(str(tmp_path), "root", "root")
    assert (found.uid, found.gid, found.mode) == (ME.uid, ME.gid, 0o750)


@pytest.mark.parametrize(
    ("user", "group", "found"),
    [
        ("", "", (0, 0)),
        ("daemon", "", (1, 1)),
        ("1", "", (1, 1)),
        ("daemon", "root", (1, 0)),
        ("daemon", "0", (1, 0)),
        ("no-such-user", "no-such-group", (0, 0)),
    ],
)
def test_lost_data_belongs_to_the_units_user(tmp_path: Path, user: str, group: str, found: tuple[int, int]) -> None:
    owner = owner_of(str(tmp_path / "gone"), user, group)
    assert (owner.uid, owner.gid, owner.mode) == (*found, PRIVATE)
    assert owner == named(user, group)


def test_all_is_given_and_only_the_directory_gets_the_mode(tmp_path: Path) -> None:
    snap = tmp_path / "member" / "snap"
    snap.mkdir(parents=True)
    database = snap / "db"
    database.touch(0o600)
    given = []

    def note(path: str, uid: int, gid: int, *, follow_symlinks: bool = True) -> None:
        # Whoever owns the first of it by then could have put a link to another file into the place of the second.
        assert not follow_symlinks
        given.append((path, uid, gid))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "chown", note)
        give(str(tmp_path / "member"), Owner(7, 8, 0o750))
    assert {(str(path), 7, 8) for path in (tmp_path / "member", snap, database)} == set(given)
    assert mode(tmp_path / "member") == 0o750
    assert mode(database) == 0o600


def test_a_lost_data_directory_is_made_and_one_that_is_there_left_alone(tmp_path: Path) -> None:
    lost = tmp_path / "lost" / "etcd"
    make_missing(str(lost), ME)
    assert mode(lost) == PRIVATE
    lost.chmod(0o755)
    make_missing(str(lost), ME)
    assert mode(lost) == 0o755
