# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_wal import Log, read_log

METADATA, ENTRY, STATE, CRC = 1, 2, 3, 4
CLUSTER = 0xCDF818194E3A8C32


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(*fields: int) -> bytes:
    return b"".join(varint(number << 3) + varint(value) for number, value in enumerate(fields, 1))


def record(kind: int, content: bytes) -> bytes:
    """As etcd writes it: filled up to eight bytes, which the highest byte of the length tells."""
    data = message(kind, 7) + b"\x1a" + varint(len(content)) + content
    padding = -len(data) % 8
    field = len(data) | ((0x80 | padding) << 56 if padding else 0)
    return struct.pack("<Q", field) + data + b"\0" * padding


METADATA_RECORD = record(METADATA, message(5, CLUSTER))


def state(term: int, commit: int) -> bytes:
    return record(STATE, message(term, 1, commit))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (METADATA_RECORD, Log("cdf818194e3a8c32", 0, 0)),
        (METADATA_RECORD + state(2, 40), Log("cdf818194e3a8c32", 2, 40)),
        # The newest counts, whatever big entries lie between.
        (
            record(CRC, b"") + METADATA_RECORD + state(2, 40) + record(ENTRY, b"\x22" + b"x" * 5000) + state(3, 41),
            Log("cdf818194e3a8c32", 3, 41),
        ),
        # The file is made long in advance.
        (METADATA_RECORD + state(2, 40) + b"\0" * 4096, Log("cdf818194e3a8c32", 2, 40)),
        # A power cut in the middle of a record, and in the middle of a length.
        (METADATA_RECORD + state(2, 40) + state(2, 41)[:-9], Log("cdf818194e3a8c32", 2, 40)),
        (METADATA_RECORD + state(2, 40) + b"\x01\0", Log("cdf818194e3a8c32", 2, 40)),
        (METADATA_RECORD + state(2, 40) + record(ENTRY, b"x" * 5000)[:600], Log("cdf818194e3a8c32", 2, 40)),
        # Not a log at all.
        (struct.pack("<Q", 3) + b"\xff\xff\xff" * 3, None),
    ],
)
def test_the_end_of_a_log(tmp_path: Path, content: bytes, said: Log | None) -> None:
    (tmp_path / "0000000000000000-0000000000000000.wal").write_bytes(METADATA_RECORD + state(1, 1))
    (tmp_path / "0000000000000001-0000000000000010.wal").write_bytes(content)
    (tmp_path / "0.tmp").write_bytes(b"\0" * 64)
    assert read_log(str(tmp_path)) == said


def test_without_a_log(tmp_path: Path) -> None:
    assert read_log(str(tmp_path)) is None
    assert read_log(str(tmp_path / "nowhere")) is None
