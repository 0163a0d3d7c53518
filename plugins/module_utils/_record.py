# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a run keeps on the host's own disk: the API is away while a single master is upgraded."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

DIRECTORY = "/var/lib/clustercare"
_RECORD = "upgrade.json"
_HOST_LOCK = "lock"
DONE = "done"


def private_directory(*below: str, directory: str = DIRECTORY) -> str:
    """Make sure that a directory under ours is there, for root alone, and return it."""
    path = directory
    for name in ("", *below):
        path = os.path.join(path, name) if name else path
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(path, 0o700)
    return path


def write_private(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write so that a reader sees the old content or the new one, and a power cut leaves one of them."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Make a rename in ``path`` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(directory: str = DIRECTORY, name: str = _RECORD) -> Optional[dict[str, Any]]:
    """The record of the newest run, or None.

    :param name: the record's file.
    """
    path = os.path.join(directory, name)
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CareError(f"The run's record {path} cannot be read ({error}); look at it, then move it away.") from error
    if not isinstance(record, dict):
        raise CareError(f"The run's record {path} is not what this collection writes; move it away.")
    return record


def opened(record: Optional[dict[str, Any]], target: str, run: str, phase: str) -> dict[str, Any]:
    """The record as a phase begins; what belonged to another target is history and dropped."""
    same = record if record and record.get("target") == target else {}
    begun = same.get("begun") or now()
    return {"target": target, "run": run, "begun": begun, "phase": phase, "steps": dict(same.get("steps") or {})}


def with_step(
    record: Optional[dict[str, Any]], step: str, target: str, run: str, finished: str, seconds: float, **more: Any
) -> dict[str, Any]:
    """The record with a finished step noted; the kubelet's is the last one."""
    found = opened(record, target, run, DONE if step == "kubelet" else step)
    found["steps"][step] = {"target": target, "run": run, "finished": finished, "seconds": seconds, **more}
    return found


def is_open(record: Optional[dict[str, Any]]) -> bool:
    """Whether a run began on this host and did not end its last step there."""
    if not record:
        return False
    phase = record.get("phase") or (DONE if "kubelet" in (record.get("steps") or {}) else "kubeadm")
    return bool(phase != DONE)


def put_away(directory: str = DIRECTORY) -> bool:
    """Move the record aside, so that no later run goes on from it; whether there was one."""
    path = os.path.join(directory, _RECORD)
    try:
        os.replace(path, path + ".aborted")
    except FileNotFoundError:
        return False
    sync_directory(directory)
    return True


def save(record: dict[str, Any], directory: str = DIRECTORY, name: str = _RECORD) -> None:
    """Write the record to the disk."""
    private_directory(directory=directory)
    write_private(os.path.join(directory, name), (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


@contextlib.contextmanager
def locked(deadline: Deadline, directory: str = DIRECTORY, name: str = _HOST_LOCK) -> Iterator[None]:
    """Be the only one of us that changes this host; a dead run's module is waited for.

    :param name: the lock's file; another one for what may go on beside the work on the host.
    :raises TimedOut: another module of this collection is still at work here.
    """
    path = os.path.join(private_directory(directory=directory), name)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def taken() -> Optional[str]:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"process {os.pread(descriptor, 200, 0).decode(errors='replace').strip() or 'unknown'} holds {path}"
        return None

    try:
        wait_until(taken, deadline, "Being the only run that works on this host", interval=0.5)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} since {now()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
