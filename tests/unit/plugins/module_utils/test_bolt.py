# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

PAGE = fakes.PAGE_SIZE


def written(path: Path, data: bytes) -> str:
    file = path / "db"
    file.write_bytes(data)
    return str(file)


def test_reads_the_newest_transaction(tmp_path: Path) -> None:
    with BoltFile(written(tmp_path, fakes.database())) as file:
        assert file.meta.txid == 2
        keys = file.bucket(b"key")
        assert keys is not None
        assert keys.last_key() == fakes.revision(6)
        assert [key for key, _value in keys.items()][:2] == [fakes.revision(2), fakes.revision(3)]
        assert file.bucket(b"lease") is None


def test_counts_the_pages_in_use_and_not_the_free_one(tmp_path: Path) -> None:
    with BoltFile(written(tmp_path, fakes.database())) as file:
        assert file.check() == 6


def test_one_damaged_meta_page_is_survived(tmp_path: Path) -> None:
    data = bytearray(fakes.database())
    data[20] ^= 1
    with BoltFile(written(tmp_path, bytes(data))) as file:
        assert file.meta.txid == 2


def patched(offset: int, value: bytes) -> bytes:
    data = bytearray(fakes.database())
    data[offset : offset + len(value)] = value
    return bytes(data)


def swapped_keys() -> bytes:
    first = [(fakes.revision(3), fakes.record(b"b"), False), (fakes.revision(2), fakes.record(b"a"), False)]
    return patched(5 * PAGE, fakes.leaf(5, first))


def lost_bounds() -> bytes:
    return patched(6 * PAGE, fakes.leaf(6, [(fakes.revision(1), fakes.record(b"a"), False)]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "no etcd database", id="empty"),
        pytest.param(b"not a database at all" * 500, "no etcd database", id="something else"),
        pytest.param(fakes.database()[:-PAGE], "is cut off", id="last page missing"),
        pytest.param(fakes.database()[:-1], "is cut off", id="last byte missing"),
        pytest.param(patched(4 * PAGE, struct.pack("<Q", 5)), "page 4 has a wrong header", id="page of elsewhere"),
        pytest.param(patched(5 * PAGE, b"\0" * PAGE), "page 5 has a wrong header", id="page of zeroes"),
        pytest.param(patched(5 * PAGE + 10, struct.pack("<H", 60000)), "more elements", id="count"),
        pytest.param(patched(5 * PAGE + 12, struct.pack("<I", 9)), "runs beyond the end", id="overflow"),
        pytest.param(patched(4 * PAGE, fakes.branch(4, [(fakes.revision(2), 5)] * 2)), "not in order", id="twice"),
        pytest.param(
            patched(4 * PAGE, fakes.branch(4, [(fakes.revision(2), 5), (fakes.revision(5), 5)])),
            "belong elsewhere|used twice",
            id="page in two places",
        ),
        pytest.param(patched(4 * PAGE, fakes.branch(4, [(fakes.revision(2), 4)])), "used twice", id="circle"),
        pytest.param(patched(4 * PAGE, fakes.branch(4, [(fakes.revision(2), 77)])), "outside", id="page number"),
        pytest.param(swapped_keys(), "not in order", id="keys not in order"),
        pytest.param(lost_bounds(), "belong elsewhere", id="key under the wrong branch"),
    ],
)
def test_damage_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = written(tmp_path, data)

    def check() -> None:
        with BoltFile(path) as file:
            file.check()

    with pytest.raises(BrokenFile, match=words):
        check()


def test_the_check_shows_one_bucket_on_its_way(tmp_path: Path) -> None:
    seen: list[bytes] = []
    with BoltFile(written(tmp_path, fakes.database())) as file:
        file.check(b"key", lambda key, _value: seen.append(key))
    assert seen == [
        fakes.revision(2),
        fakes.revision(3),
        fakes.revision(4),
        fakes.revision(5, deleted=True),
        fakes.revision(6),
    ]
    inline: list[bytes] = []
    with BoltFile(written(tmp_path, fakes.database())) as file:
        file.check(b"cluster", lambda key, _value: inline.append(key))
    assert inline == [b"clusterVersion"]
