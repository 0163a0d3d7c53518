# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The new data into its place and the old one aside, and back again: by renames alone, nothing is ever deleted.

What was done is read from what lies where, so a power cut between two renames is nothing special.
"""

from __future__ import annotations

import os
import tempfile
from typing import NamedTuple

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._record import sync_directory

MEMBER = "member"
ROOM = ".clustercare-restore-"


class Places(NamedTuple):
    """Where a member's data lies. Below ``room`` are the new, the previous and the failed one, on one file system."""

    data_dir: str
    room: str
    had_data: bool = True

    @property
    def live(self) -> str:
        return os.path.join(self.data_dir, MEMBER)

    @property
    def new(self) -> str:
        return os.path.join(self.room, "new", MEMBER)

    @property
    def previous(self) -> str:
        return os.path.join(self.room, "previous", MEMBER)

    @property
    def failed(self) -> str:
        return os.path.join(self.room, "failed", MEMBER)


def room_for(data_dir: str, run_dir: str) -> str:
    """A directory of this run from which a rename reaches the data directory."""
    below = data_dir
    while not os.path.isdir(below):
        below = os.path.dirname(below)
    parent = run_dir
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    if os.stat(below).st_dev == os.stat(parent).st_dev:
        return run_dir
    # The data directory is a file system of its own; etcd passes over what it does not know there.
    return os.path.join(data_dir, ROOM + os.path.basename(run_dir))


def prove_renames(room: str, data_dir: str) -> None:
    """:raises CareError: a rename from ``room`` does not reach ``data_dir``, as with two mounts of one file system."""
    descriptor, path = tempfile.mkstemp(dir=room, prefix=".clustercare-")
    os.close(descriptor)
    target = os.path.join(data_dir, os.path.basename(path))
    try:
        os.rename(path, target)
        path = target
    except OSError as error:
        raise CareError(
            f"{room} and {data_dir} are not on one file system ({error.strerror}), so the data could not be swapped "
            "with a rename."
        ) from error
    finally:
        os.unlink(path)


def _move(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    try:
        os.rename(source, target)
    except OSError as error:
        raise CareError(f"{source} cannot be renamed to {target}: {error.strerror}. Nothing is lost.") from error
    sync_directory(os.path.dirname(target))
    sync_directory(os.path.dirname(source))


def is_swapped(places: Places) -> bool:
    """Whether the new data is in its place."""
    return os.path.isdir(places.live) and not os.path.isdir(places.new)


def swap(places: Places) -> None:
    """Put the new data in its place; to be called again after it was cut off.

    :raises CareError: the new data is nowhere, or a rename does not work.
    """
    if not os.path.isdir(places.new):
        if is_swapped(places) and (os.path.isdir(places.previous) or not places.had_data):
            return
        raise CareError(f"There is no new data in {os.path.dirname(places.new)}: it was moved away by somebody.")
    if os.path.isdir(places.live):
        if os.path.isdir(places.previous):
            raise CareError(
                f"Both {places.live} and {places.previous} are there, so somebody else has put data in place "
                "meanwhile. Nothing was swapped."
            )
        _move(places.live, places.previous)
    _move(places.new, places.live)


def unswap(places: Places) -> bool:
    """Put the old data back in its place and the new one aside; whether there was anything to do."""
    if places.had_data and not os.path.isdir(places.previous):
        return False
    if not places.had_data and os.path.isdir(places.new):
        return False
    if os.path.isdir(places.live):
        # A second failed one beside the first: nothing is overwritten.
        target, count = places.failed, 1
        while os.path.lexists(target):
            count += 1
            target = os.path.join(places.room, f"failed-{count}", MEMBER)
        _move(places.live, target)
    if places.had_data:
        _move(places.previous, places.live)
    return True
