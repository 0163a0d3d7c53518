# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machines' disks: a btrfs file system in a loop file, mounted while somebody uses it.

A subvolume's snapshot costs nothing, so a machine is one of a template, and a saved lab one of each machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from . import paths
from .artifact import digest
from .errors import LabError
from .shell import output, run

# Sparse: it takes what is in it.
GIGABYTES = 60
_numbers = itertools.count()


def mounted() -> bool:
    return os.path.ismount(paths.pool())


def hold(user: str) -> Path:
    """Have the pool mounted until this user lets it go; returns where.

    :param user: a name that outlives the command, such as lab-demo; or process-<pid>-<number>,
        forgotten when that has ended.
    """
    with _lock():
        make()
        if not mounted():
            # discard: what is deleted inside is given back to the host at once.
            run(["mount", "-o", "loop,noatime,discard=async", paths.pool_file(), paths.pool()])
        _users().mkdir(parents=True, exist_ok=True)
        (_users() / user).touch()
    return paths.pool()


def release(user: str) -> None:
    """Let the pool go; the last one unmounts it."""
    with _lock():
        (_users() / user).unlink(missing_ok=True)
        # A command that was killed could not let go.
        for other in users():
            if other.startswith("process-") and not Path("/proc", other.split("-")[1]).exists():
                (_users() / other).unlink(missing_ok=True)
        if not users() and mounted():
            run(["umount", paths.pool()])


@contextlib.contextmanager
def held() -> Iterator[Path]:
    """The pool, for the length of a command."""
    # Numbered, so that one may lie within another.
    user = f"process-{os.getpid()}-{next(_numbers)}"
    try:
        yield hold(user)
    finally:
        release(user)


def users() -> list[str]:
    folder = _users()
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def make() -> None:
    """Make the loop file with its file system, unless it is there."""
    paths.pool().mkdir(parents=True, exist_ok=True)
    target = paths.pool_file()
    if target.exists():
        return
    free = shutil.disk_usage(target.parent).free
    if free < 5 << 30:
        raise LabError(
            f"The machines' disks need at least 5 GB in {target.parent}; {free / (1 << 30):.1f} GB are free.",
            "free some space, or set LAB_CACHE to a folder on a bigger disk",
        )
    draft = target.with_suffix(".partial")
    draft.unlink(missing_ok=True)
    with draft.open("wb") as file:
        file.truncate(GIGABYTES << 30)
    run(["mkfs.btrfs", "--quiet", draft])
    draft.rename(target)


def identity() -> str:
    """Another file system in the same place has another one."""
    # The file system's own id, 16 bytes in the superblock at 64 KiB.
    with paths.pool_file().open("rb") as file:
        file.seek((64 << 10) + 32)
        return file.read(16).hex()


def snapshot(source: Path, target: Path, *, read_only: bool = False) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    run(["btrfs", "subvolume", "snapshot", *(["-r"] if read_only else []), source, target])


def delete(path: Path) -> None:
    """Delete a subvolume, with those that systemd or containerd made inside it."""
    run(["btrfs", "property", "set", "-ts", path, "ro", "false"])
    found = output(["btrfs", "subvolume", "list", "-o", path]).splitlines()
    for inside in sorted((line.split(" path ", 1)[1] for line in found), key=len, reverse=True):
        run(["btrfs", "subvolume", "delete", paths.pool() / inside])
    run(["btrfs", "subvolume", "delete", path])


def _users() -> Path:
    # By its place: another LAB_CACHE is another pool.
    return paths.RUN / f"pool-{digest(str(paths.pool()))}"


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    paths.RUN.mkdir(parents=True, exist_ok=True)
    with (paths.RUN / "pool.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
