# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""One drain of a node at a time on this machine: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import re
from typing import Optional

_DIRECTORY = os.path.join("~", ".ansible", "clustercare", "drain")


class NodeLock:
    """The lock of one node of one cluster, for the drains of this user on this machine.

    :param cluster: what tells this cluster from others.
    """

    def __init__(self, cluster: str, node: str, directory: str = _DIRECTORY) -> None:
        self._directory = os.path.expanduser(directory)
        self._path = os.path.join(self._directory, re.sub(r"[^\w.-]+", "_", f"{cluster}-{node}") + ".lock")
        self._file: Optional[int] = None

    def take(self, told: str) -> Optional[str]:
        """Take it if it is free; else what its holder told about itself.

        :param told: what to tell others.
        :raises OSError: when no lock can be kept here.
        """
        if self._file is None:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(self._file, 1000, 0).decode("utf-8", "replace") or "another process"
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, told.encode(), 0)
        return None

    def release(self) -> None:
        """Let the next one have it. The file stays: removing it would let two hold it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
