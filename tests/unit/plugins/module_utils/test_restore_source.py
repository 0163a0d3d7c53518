# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a member that does not answer still has on its disk."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import database
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import existing
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_source import copy_database, data_on_disk
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes
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
