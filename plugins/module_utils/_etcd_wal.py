# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""How far a member's write-ahead log goes, and of which cluster it is: read from its last file, while etcd is down.

etcd writes to its log first and to its database up to a tenth of a second later, so after a crash the log knows more.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _protobuf
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import hexadecimal

_METADATA, _STATE = 1, 3
_CLUSTER_ID = 2
_TERM, _COMMIT = 1, 3
_LENGTH = (1 << 56) - 1
_SMALL = 256  # both kinds of record that count here are far smaller


class Log(NamedTuple):
    """What the log says; what is committed is in the database of every member sooner or later."""

    cluster_id: Optional[str]
    term: int
    commit: int


def records(path: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each small record; the file ends with zeros, or in the middle of a record after a crash."""
    with open(path, "rb") as file:
        while True:
            head = file.read(8)
            if len(head) < 8:
                return
            (field,) = struct.unpack("<Q", head)
            # The highest byte has the count of the bytes behind the record that fill it up.
            size = field & _LENGTH
            padding = (field >> 56) & 7 if field >> 63 else 0
            if not size:
                return
            if size > _SMALL:
                file.seek(size + padding, os.SEEK_CUR)
                continue
            data = file.read(size + padding)[:size]
            if len(data) < size:
                return
            yield _protobuf.numbers(data).get(1, 0), _protobuf.first(data, 3)


def read_log(directory: str) -> Optional[Log]:
    """The end of the log in ``directory``; None when it cannot be read."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".wal"))
        if not names:
            return None
        cluster, term, commit = None, 0, 0
        # Each file begins with where the one before it ended.
        for kind, content in records(os.path.join(directory, names[-1])):
            numbers = _protobuf.numbers(content) if kind in (_METADATA, _STATE) else {}
            if kind == _METADATA:
                cluster = hexadecimal(numbers.get(_CLUSTER_ID, 0))
            elif kind == _STATE:
                term, commit = numbers.get(_TERM, 0), numbers.get(_COMMIT, 0)
        return Log(cluster, term, commit)
    except (OSError, ValueError):
        return None
