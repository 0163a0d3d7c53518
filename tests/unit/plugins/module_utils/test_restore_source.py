# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a member that does not answer still has on its disk."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import database
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import existing
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_disk import data_on_disk
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Options, Restore
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_source import (
    copy_database,
    salvage,
)
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.test_etcd_wal import METADATA_RECORD, state


def member(root: Path, content: bytes, log: bytes | None = None) -> str:
    """A data directory, and what its outline says."""
    path = Path(database(str(root)))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    if log is not None:
        wal = root / "member" / "wal"
        wal.mkdir()
        (wal / "0000000000000000-0000000000000000.wal").write_bytes(log)
    return str(root)


def test_a_master_without_data(tmp_path: Path) -> None:
    assert data_on_disk(str(tmp_path)) is None


def test_the_log_tells_of_what_the_database_has_not_yet(tmp_path: Path) -> None:
    found = data_on_disk(member(tmp_path, fakes.database(), METADATA_RECORD + state(4, 1234)))
    assert found is not None
    assert (found["problem"], found["committed"], found["raft_term"]) == (None, 1234, 4)
    assert found["cluster_id"] == "cdf818194e3a8c32"
    assert [one["name"] for one in found["members"]] == ["cp1"]


def test_without_its_log_the_database_counts(tmp_path: Path) -> None:
    found = data_on_disk(member(tmp_path, fakes.database()))
    assert found is not None
    assert (found["problem"], found["committed"], found["cluster_id"]) == (None, None, None)


def without_keys(index: int) -> bytes:
    """The database of a member that was started without data: a cluster, and no key in it."""
    root = [
        (b"key", fakes.small_bucket([]), True),
        (b"members", fakes.small_bucket([]), True),
        (b"meta", fakes.small_bucket([(b"consistent_index", index.to_bytes(8, "big"))]), True),
    ]
    return b"".join([fakes.meta(0, 99, 4, 1), fakes.meta(1, 3, 4, 2), b"\0" * fakes.PAGE_SIZE, fakes.leaf(3, root)])


@pytest.mark.parametrize(
    ("log", "empty"),
    [
        (None, True),
        (METADATA_RECORD + state(1, 3), True),
        # What is in the log may be keys.
        (METADATA_RECORD + state(2, 40), False),
    ],
)
def test_a_member_that_came_back_empty_has_nothing_to_salvage(tmp_path: Path, log: bytes | None, empty: bool) -> None:
    found = data_on_disk(member(tmp_path, without_keys(3), log))
    assert found is not None
    assert (found["problem"] == "no key was ever written to its database") is empty


@pytest.mark.parametrize("content", [b"", b"\0" * 8192, fakes.database()[:5000]])
def test_a_broken_disk_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    found = data_on_disk(member(tmp_path, content))
    assert found is not None
    assert str(tmp_path) in found["problem"]


def copied(data_dir: str, target: Path) -> dict[str, Any]:
    return copy_database(data_dir, str(target / "backups" / "salvaged.db"), {"member": "cp1", "ca_sha256": "ca"})


def test_a_copied_database_is_a_proven_snapshot(tmp_path: Path) -> None:
    data_dir = member(tmp_path / "etcd", fakes.database())
    made = copied(data_dir, tmp_path)
    again = existing(made["path"])
    assert again is not None
    assert again["sha256"] == made["sha256"]
    assert (again["method"], again["ca_sha256"], again["member"]) == ("file", "ca", "cp1")
    # What etcd itself would have sent.
    assert Path(made["path"]).read_bytes() == fakes.snapshot(fakes.database())
    assert Path(made["path"]).stat().st_mode & 0o777 == 0o600


def test_a_database_in_use_is_not_copied(tmp_path: Path) -> None:
    data_dir = member(tmp_path / "etcd", fakes.database())
    with open(database(data_dir), "rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CareError, match="in use"):
            copied(data_dir, tmp_path)


def test_nothing_is_left_of_a_copy_that_is_no_good(tmp_path: Path) -> None:
    broken = bytearray(fakes.database())
    broken[3 * fakes.PAGE_SIZE : 4 * fakes.PAGE_SIZE] = b"\xff" * fakes.PAGE_SIZE
    data_dir = member(tmp_path / "etcd", bytes(broken))
    with pytest.raises(CareError):
        copied(data_dir, tmp_path)
    assert list((tmp_path / "backups").iterdir()) == []


# --- a member that answers nobody

INDEX = 42  # what is in the database of the fakes


class Survivor(FakeHost):
    """A master whose etcd has no majority; when it starts it may read its log."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, reads: bool) -> None:
        super().__init__(root)
        self.reads = reads
        self.started = 0
        self.start_unit("kubelet.service", "/usr/bin/kubelet", age=500)
        self.take_the_clock(monkeypatch)

    def start_pod(self, name: str, *flags: str, uid: str = "0" * 32, age: float = 10.0) -> int:
        self.started += 1
        if self.reads:
            member_log(self.root / "etcd", INDEX)
        return super().start_pod(name, *flags, uid=uid, age=age)

    def salvage(self) -> dict[str, Any]:
        plan = {"run": "r1", "snapshot_name": "salvaged.db", "data_dir": str(self.root / "etcd"), "member": "cp1"}
        access = Access("https://127.0.0.1:1", None, None, None)
        return salvage(
            Restore(self.host, Options(plan, {}, False, str(self.root / "b"), 900, False, 60, "/nowhere", access))
        )


def member_log(root: Path, committed: int) -> None:
    (root / "member" / "wal").mkdir(exist_ok=True)
    (root / "member" / "wal" / "0-0.wal").write_bytes(METADATA_RECORD + state(4, committed))


@pytest.mark.parametrize(
    ("committed", "reads", "parked", "said"),
    [
        # It runs, and has read its log long ago.
        (INDEX, True, False, ""),
        # It was stopped: it has to be started for its log.
        (INDEX + 5, True, True, ""),
        # It cannot read it: what is there is taken, and what is not is told.
        (INDEX + 5, False, True, "its log goes 5 entries further than its database"),
        (None, False, True, "its log cannot be read"),
    ],
)
def test_a_silent_member_gives_all_that_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: int | None, reads: bool, parked: bool, said: str
) -> None:
    survivor = Survivor(tmp_path, monkeypatch, reads)
    member(tmp_path / "etcd", fakes.database())
    if committed is not None:
        member_log(tmp_path / "etcd", committed)
    manifest = survivor.write("etcd", f"--data-dir={tmp_path / 'etcd'}", "--name=cp1")
    if parked:
        parking = Path(survivor.host.parking("etcd"))
        parking.mkdir(parents=True)
        os.rename(manifest, parking / "etcd.yaml")
    survivor.tick()
    found = survivor.salvage()
    assert found["snapshot"]["method"] == "file"
    assert existing(str(tmp_path / "b" / "salvaged.db")) is not None
    assert (said in " ".join(found["warnings"])) if said else found["warnings"] == []
    assert manifest.exists(), "etcd's manifest did not come back"
    assert survivor.salvage()["changed"] is False


def test_a_database_that_cannot_be_taken_leaves_the_master_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor = Survivor(tmp_path, monkeypatch, True)
    broken = bytearray(fakes.database())
    broken[3 * fakes.PAGE_SIZE : 4 * fakes.PAGE_SIZE] = b"\xff" * fakes.PAGE_SIZE
    member(tmp_path / "etcd", bytes(broken))
    manifest = survivor.write("etcd", f"--data-dir={tmp_path / 'etcd'}", "--name=cp1")
    with pytest.raises(CareError, match="Name another master's data"):
        survivor.salvage()
    assert manifest.exists()
