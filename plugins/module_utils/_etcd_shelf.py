# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The snapshots in a directory: listed, proven, removed. Only what carries our sidecar is ever removed."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, looks_like_bolt
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_inside import inspect
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import (
    SIDECAR,
    existing,
    read_sidecar,
    taken_at,
    without_text,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import part_of, sync_directory


class Snapshot(NamedTuple):
    """A file that is a snapshot, or should be one. ``said`` is its sidecar; ``taken`` an epoch."""

    path: str
    size: int
    taken: float
    said: dict[str, Any]
    problem: Optional[str] = None

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    @property
    def ours(self) -> bool:
        return bool(self.said.get("schema") and self.said.get("sha256"))


def one(path: str) -> Snapshot:
    """The snapshot at ``path``, as far as can be told without reading it.

    :raises CareError: when there is no such file.
    """
    try:
        about = os.stat(path)
    except OSError as error:
        raise CareError(f"The snapshot {path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(about.st_mode):
        raise CareError(f"{path} is not a file, so it is no snapshot.")
    said: dict[str, Any] = {}
    problem = None
    try:
        said = read_sidecar(path)
    except CareError as error:
        problem = error.message
    # For somebody else's, when it was written last has to do.
    taken = taken_at(said)
    return Snapshot(path, about.st_size, about.st_mtime if taken is None else taken, said, problem)


def shelf(directory: str) -> list[Snapshot]:
    """All snapshots in a directory, the newest first; none when there is no such directory."""
    try:
        with os.scandir(directory) as entries:
            paths = [
                entry.path
                for entry in entries
                if entry.is_file(follow_symlinks=False)
                and not entry.name.endswith(SIDECAR)
                and not part_of(entry.name)
                and (entry.name.endswith(".db") or looks_like_bolt(entry.path))
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CareError(f"The directory {directory} cannot be read: {error.strerror}.") from error
    return sorted((one(path) for path in paths), key=lambda found: (found.taken, found.name), reverse=True)


def in_directory(directory: str, name: str) -> str:
    """:raises CareError: when ``name`` would lead out of its directory."""
    if name != os.path.basename(name) or name in ("", ".", "..") or name.endswith((SIDECAR, ".part")):
        raise CareError(f"'{name}' is not the name of a snapshot in {directory} (option name).")
    return os.path.join(directory, name)


def fits_sidecar(found: Snapshot) -> bool:
    """Whether a snapshot can be the one that its sidecar describes, by its size and the few pages that name it.

    That is no proof, but tells it from other ones in no time.
    """
    try:
        with BoltFile(found.path) as file:
            inside = {"size": found.size, **inspect(file)}
    except (CareError, OSError):
        return False
    return all(found.said.get(name, inside[name]) == inside[name] for name in ("size", "revision", "consistent_index"))


def inspected(found: Snapshot, verify: bool, now: float) -> dict[str, Any]:
    """All that can be told of a snapshot; never fails, trouble is part of the answer.

    :param verify: read and prove all of it; without, only its sidecar and the few pages that name it are read.
    """
    inside: dict[str, Any] = {}
    problem = found.problem
    try:
        if verify:
            inside = existing(found.path) or {}
        else:
            with BoltFile(found.path) as file:
                inside = {**inspect(file), **found.said}
    except CareError as error:
        problem = problem or error.message
    except OSError as error:
        problem = problem or f"{found.path} cannot be read: {error.strerror}."
    known = {name: inside.get(name, found.said.get(name)) for name in _FIELDS}
    return {
        "path": found.path,
        "name": found.name,
        "size": found.size,
        "taken": iso(found.taken),
        "age": max(0, int(now - found.taken)),
        "ours": found.ours,
        "good": False if problem else (True if verify else None),
        "problem": problem,
        **known,
    }


_FIELDS = (
    "sha256",
    "revision",
    "keys",
    "records",
    "pages",
    "members",
    "nodes",
    "ca_sha256",
    "root_ca_sha256",
    "etcd_version",
    "etcd_image",
    "kubernetes_version",
    "encryption_config_sha256",
    "cluster_version",
    "storage_version",
    "consistent_index",
    "alarms",
    "cluster_id",
    "member",
    "host",
    "cluster_configuration",
)


def newest_good(directory: str, about: dict[str, Any], max_age: float, now: float) -> Optional[dict[str, Any]]:
    """The newest snapshot of this very cluster that is not older than ``max_age`` and still good, or None.

    :param about: what would be written beside a new one. A restore gives etcd another id, so what was taken before
        it does not count; neither does a time that has not come yet. What the host cannot tell is not compared.
    """
    for found in shelf(directory):
        alike = all(about[name] in (None, found.said.get(name)) for name in ("cluster_id", "ca_sha256"))
        if found.ours and alike and 0 <= now - found.taken <= max_age:
            try:
                return existing(found.path)
            except CareError:
                continue
    return None


def verify(directory: str, name: Optional[str]) -> dict[str, Any]:
    """What the module etcd_snapshot does for state=verified.

    :raises CareError: naming each that is not good, or when there is none at all.
    """
    found = [one(in_directory(directory, name))] if name else shelf(directory)
    if not found:
        raise CareError(f"There is no snapshot in {directory}.")
    now = time.time()
    snapshots = [without_text(inspected(snapshot, True, now)) for snapshot in found]
    bad = [str(snapshot["problem"]) for snapshot in snapshots if not snapshot["good"]]
    if bad:
        raise CareError(f"{len(bad)} of {len(snapshots)} snapshots not good: {' '.join(bad)}", snapshots=snapshots)
    return {"snapshots": snapshots}


def remove(path: str) -> None:
    """Take a snapshot and its sidecar away; the sidecar last, so that a second run can finish it."""
    try:
        for each in (path, path + SIDECAR):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)
        sync_directory(os.path.dirname(path))
    except OSError as error:
        raise CareError(f"{path} cannot be removed: {error.strerror}.") from error


def absent(directory: str, name: str, check_mode: bool) -> dict[str, Any]:
    """What the module etcd_snapshot does for state=absent."""
    path = in_directory(directory, name)
    if not os.path.lexists(path) and not os.path.lexists(path + SIDECAR):
        return {"removed": []}
    said = read_sidecar(path)
    if not (said.get("schema") and said.get("sha256")):
        raise CareError(
            f"{path} has no sidecar of this module beside it, so it was made by somebody else and is left alone: "
            "remove it by hand."
        )
    if os.path.lexists(path):
        one(path)
    if not check_mode:
        remove(path)
    return {"changed": True, "removed": [name]}
