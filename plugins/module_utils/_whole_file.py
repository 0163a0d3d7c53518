# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Files that appear whole or not at all, readable by their owner alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from typing import Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

# A big file is pushed to the disk bit by bit: one long fsync at the end would stall the etcd beside it.
_FLUSH_EVERY = 64 << 20
# etcdctl writes beside a ``.part``, and into one of its own at first.
_PART = re.compile(r"^(.+\.part)(?:\.etcdctl(?:\.part)?)?$", re.DOTALL)


def private_directory(path: str) -> bool:
    """Make sure that ``path`` is a directory nobody else can write to; what is made is 0700. True when it was made."""
    if refuse_open_directory(path):
        return False
    try:
        parent = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(parent):
            private_directory(parent)
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)
    except FileExistsError as error:
        # Somebody else was faster, as the task of another master is on the controller.
        if not refuse_open_directory(path):
            raise CareError(f"{path} is a link that leads nowhere: remove it.") from error
        return False
    except OSError as error:
        raise CareError(f"The directory {path} cannot be made: {error.strerror}.") from error
    return True


def refuse_open_directory(path: str) -> bool:
    """Whether the directory is there.

    :raises CareError: when something else is there, others may write to it, or have made it where everybody may.
    """
    stranger = _made_by_a_stranger(path)
    if stranger:
        raise CareError(
            f"{stranger} is in a directory where everybody may make one, and another user has made it, who could "
            f"exchange what lies in it: choose another place for {path}."
        )
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CareError(f"The directory {path} cannot be looked at: {error.strerror}.") from error
    if not stat.S_ISDIR(about.st_mode):
        raise CareError(f"{path} is not a directory.")
    if about.st_mode & 0o022:
        raise CareError(
            f"Others may write to the directory {path} (mode {stat.S_IMODE(about.st_mode):04o}): "
            f"choose another one, or take the right away with chmod 0700 {path}."
        )
    return True


def _made_by_a_stranger(path: str) -> Optional[str]:
    """The directory on the way that is neither ours nor root's, though everybody may write above it, as to /tmp."""
    path = os.path.realpath(path)
    while path != os.path.dirname(path):
        above = os.path.dirname(path)
        with contextlib.suppress(OSError):
            about, shared = os.stat(path), os.stat(above)
            if shared.st_mode & 0o002 and about.st_uid not in (0, os.geteuid(), shared.st_uid):
                return path
        path = above
    return None


def free_bytes(path: str) -> int:
    """Bytes that may still be written below ``path``, which need not exist yet."""
    while not os.path.exists(path):
        path = os.path.dirname(os.path.abspath(path))
    about = os.statvfs(path)
    return about.f_bavail * about.f_frsize


def need_space(directory: str, needed: int, option: str) -> None:
    """:raises CareError: when ``directory`` has no room for ``needed`` bytes."""
    free = free_bytes(directory)
    if free < needed:
        raise CareError(
            f"{directory} has {free // 2**20} MiB free, {-(-needed // 2**20)} MiB are needed: "
            f"make room, or choose another directory (option {option})."
        )


def sync_directory(path: str) -> None:
    """After this the disk knows the names in the directory."""
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def part_of(name: str) -> Optional[str]:
    """The ``.part`` that a file is or belongs to; None for one that is whole, whatever it is called."""
    found = _PART.match(name)
    return found.group(1) if found else None


def _abandoned(part: str) -> bool:
    """Whether nobody is writing this ``.part`` any more."""
    try:
        file = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def remove_leftovers(directory: str, *prefixes: str) -> list[str]:
    """Remove what dead runs left half-written under names that begin so, and return what it was.

    What belongs to a ``.part`` stays as long as that one is being written.
    """
    parts = {name: part_of(name) for name in os.listdir(directory) if name.startswith(prefixes)}
    gone = [name for name, part in parts.items() if part and _abandoned(os.path.join(directory, part))]
    for name in gone:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name))
    return sorted(gone)


class WholeFile:
    """Writes ``<path>.part`` (0600); ``commit`` puts it in place, leaving the block without it removes it.

    A ``.part`` that a dead run left behind is replaced; one that somebody is writing is not (a lock tells).
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.part = path + ".part"
        self.size = 0
        self._flushed = 0
        self._file = -1

    def __enter__(self) -> WholeFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(self.part, flags, 0o600)
        except FileExistsError:
            self._remove_leftover()
            self._file = os.open(self.part, flags, 0o600)
        except OSError as error:
            raise CareError(f"{self.part} cannot be made: {error.strerror}.") from error
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def _remove_leftover(self) -> None:
        try:
            old = os.open(self.part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CareError(f"{self.part} is in the way: {error.strerror}.") from error
        try:
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(self.part)
        except BlockingIOError as error:
            raise CareError(f"{self.part} is being written by somebody else: wait for it to end.") from error
        finally:
            os.close(old)

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
            self.size += len(data)
            if self.size - self._flushed >= _FLUSH_EVERY:
                os.fdatasync(self._file)
                self._flushed = self.size
        except OSError as error:
            raise CareError(f"{self.part} cannot be written: {error.strerror}.") from error

    def sync(self) -> None:
        """After this the disk has all that was written."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise CareError(f"{self.part} cannot be written: {error.strerror}.") from error

    def adopt(self, path: str) -> None:
        """Take a finished file that another program wrote beside this one, instead of what was written here."""
        try:
            other = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.fchmod(other, 0o600)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.replace(path, self.part)
        except OSError as error:
            raise CareError(f"{path} cannot be taken over: {error.strerror}.") from error
        os.close(self._file)
        self._file = other
        self.size = os.fstat(other).st_size

    def commit(self) -> None:
        """Put the file in its place, for good."""
        self.sync()
        os.rename(self.part, self.path)
        os.close(self._file)
        self._file = -1
        sync_directory(os.path.dirname(os.path.abspath(self.path)))

    def __exit__(self, *_exc: object) -> None:
        if self._file >= 0:
            os.unlink(self.part)
            os.close(self._file)
            self._file = -1


def write_whole(path: str, data: bytes) -> None:
    """A small file in one go."""
    with WholeFile(path) as file:
        file.write(data)
        file.commit()
