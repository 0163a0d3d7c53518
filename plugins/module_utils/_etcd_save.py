# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Taking a snapshot of this host's etcd. Whatever way it came, it is put in place only when it is proven."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_about import about_cluster
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import (
    Access,
    EtcdError,
    Gateway,
    number,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd, discover
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import (
    Answer,
    Seen,
    hexadecimal,
    observe,
    refuse_snapshot,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_shelf import newest_good
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import (
    ca_sha256,
    check_name,
    default_name,
    existing,
    prove,
    without_text,
    write_sidecar,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_tools import (
    ctl_environment,
    ctl_status,
    find_tool,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    WholeFile,
    need_space,
    private_directory,
    refuse_open_directory,
    remove_leftovers,
)

# From this size on etcdctl is faster, although it has to be started; below, nothing but Python is needed.
_BIG = 16 << 20
# How snapshots are called by this module and by a restore, which may be killed, too.
_OURS = ("etcd-", "before-restore-", "salvaged-")
# Silence of etcd for this long ends a snapshot; a busy disk may be silent for a while.
_SILENCE = 60.0
# The same in the words of etcdctl and of the system.
_FULL = ("no space left on device", "disk quota exceeded")
_FULL_CODES = (errno.ENOSPC, errno.EDQUOT)
_AGAIN = "Nothing of it was kept: see with etcd_info whether etcd is well, then run this again."
_ROOM = "Nothing of it was kept: make room there, or choose another directory (option dir)."


class NoRoom(CareError):
    """etcdctl found the disk full."""


class Saving(NamedTuple):
    """What the task asks for."""

    directory: str
    name: Optional[str]
    max_age: Optional[int]
    method: str
    timeout: float


class Way(NamedTuple):
    """How a snapshot comes."""

    access: Access
    etcdctl: Optional[str]  # None lets the gateway send it
    spare: bool  # whether the gateway does when etcdctl cannot
    deadline: Deadline
    runner: Runner


def choose_method(wanted: str, size: int, gateway_works: bool, etcdctl: Optional[str]) -> str:
    """The way the snapshot comes.

    :param etcdctl: where that program is; None when there is none.
    """
    if wanted == "etcdctl" and not etcdctl:
        raise CareError("There is no etcdctl on this host, nor in etcd's container: use method=gateway, or install it.")
    if wanted != "auto":
        return wanted
    return "etcdctl" if etcdctl and (not gateway_works or size >= _BIG) else "gateway"


def look(etcd: Etcd, etcdctl: Optional[str], runner: Runner) -> tuple[Seen, bool]:
    """What is to be known of the cluster, and whether the gateway works.

    Where it does not, for instance because etcd's certificate lacks the usage clientAuth, etcdctl tells of this member.
    """
    seen = observe(etcd.access)
    if not seen.local.error or not etcdctl:
        return seen, not seen.local.error
    try:
        done = runner([etcdctl, "endpoint", "status", "--write-out=json"], env=ctl_environment(etcd.access))
        status = ctl_status(json.loads(done.out))
    except (CareError, ValueError, LookupError, TypeError):
        return seen, False
    return Seen(Answer(status), [], {}, [seen.local.error]), False


def describe(etcd: Etcd, status: dict[str, Any], began: float) -> dict[str, Any]:
    """What only the living cluster knows; goes into the sidecar beside the proof."""
    header = status.get("header") or {}
    return {
        "schema": 1,
        "host": socket.gethostname(),
        "member": etcd.name,
        "member_id": hexadecimal(header.get("member_id")),
        "cluster_id": hexadecimal(header.get("cluster_id")),
        "etcd_version": status.get("version"),
        "revision_before": number(header, "revision"),
        "ca_sha256": ca_sha256(),
        "taken": iso(began),
    }


def _late(deadline: Deadline, size: int) -> TimedOut:
    return TimedOut(
        f"The snapshot is not complete after {deadline.seconds:g} s ({size // 2**20} MiB came); "
        f"give it more time with option {deadline.option}.",
        timed_out=True,
    )


def stream(gateway: Gateway, file: WholeFile, deadline: Deadline) -> None:
    """Write etcd's snapshot into ``file``, within the deadline."""
    for blob in gateway.snapshot():
        file.write(blob)
        if deadline.passed:
            raise _late(deadline, file.size)


def by_etcdctl(etcdctl: str, access: Access, file: WholeFile, deadline: Deadline, runner: Runner) -> None:
    """Let etcdctl write the snapshot beside ``file``, and take it over."""
    # Named like a part of the part: whoever cleans up leaves it alone as long as that one is locked.
    beside = f"{file.part}.etcdctl"
    try:
        done = runner(
            [etcdctl, "snapshot", "save", beside], timeout=max(1.0, deadline.left), env=ctl_environment(access)
        )
        if done.rc:
            full = any(words in done.err.lower() for words in _FULL)
            words = f"{etcdctl} could not take the snapshot: {done.last_words.rstrip('.')}."
            raise NoRoom(words) if full else EtcdError(words)
        file.adopt(beside)
    except TimedOut as error:
        came = next((os.path.getsize(path) for path in (beside, f"{beside}.part") if os.path.exists(path)), 0)
        raise _late(deadline, came) from error
    finally:
        for leftover in (beside, f"{beside}.part"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(leftover)


def fetch(way: Way, file: WholeFile, warnings: list[str]) -> str:
    """Let the snapshot come into ``file``; the method by which it did."""
    if way.etcdctl:
        try:
            by_etcdctl(way.etcdctl, way.access, file, way.deadline, way.runner)
            return "etcdctl"
        except (TimedOut, NoRoom):
            raise
        except CareError as error:
            if not way.spare:
                raise
            warnings.append(f"{error.message} The gateway was used instead.")
    stream(Gateway(way.access, _SILENCE), file, way.deadline)
    return "gateway"


def take(way: Way, path: str, about: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Put a proven snapshot at ``path``, with all that is known of it beside it."""
    watch = time.monotonic()
    with WholeFile(path) as file:
        method = fetch(way, file, warnings)
        file.sync()
        about = {**about, "method": method, "stream_seconds": round(time.monotonic() - watch, 1)}
        proof = _proven(file, about["revision_before"])
        about["ca_sha256"] = about["ca_sha256"] or proof["root_ca_sha256"]
        snapshot = {**about, **without_text(proof), "seconds": round(time.monotonic() - watch, 1)}
        write_sidecar(path, snapshot)
        file.commit()
    return snapshot


def save(access: Access, saving: Saving, check_mode: bool, runner: Runner = run) -> dict[str, Any]:
    """Take a snapshot, prove it, put it in place. What the module etcd_snapshot does for state=saved."""
    deadline = Deadline(saving.timeout, "timeout")
    directory, name = saving.directory, saving.name
    if name:
        check_name(name)
        known = existing(os.path.join(directory, name))
        if known:
            return {"changed": False, "snapshot": without_text(known)}
    etcd = discover(access)
    etcdctl = None if saving.method == "gateway" else find_tool("etcdctl", etcd.pid)
    seen, gateway_works = look(etcd, etcdctl, runner)
    refusal = refuse_snapshot(seen)
    if refusal:
        raise CareError(f"No snapshot was taken. {refusal}")
    status = seen.local.status
    began = time.time()
    about = describe(etcd, status, began)
    young = newest_good(directory, about, saving.max_age, began) if saving.max_age is not None else None
    if young:
        return {"changed": False, "snapshot": without_text(young)}
    about.update(about_cluster(runner=runner))
    path = os.path.join(directory, name or default_name(etcd.name, began))
    expected = number(status, "dbSize")
    method = choose_method(saving.method, expected, gateway_works, etcdctl)
    need_space(directory, expected + expected // 5, "dir")
    refuse_open_directory(directory)
    if check_mode:
        about.update(path=path, size=expected, revision=about["revision_before"], method=method)
        return {"changed": True, "snapshot": about}
    private_directory(directory)
    remove_leftovers(directory, *_OURS)
    warnings = list(seen.trouble)
    spare = gateway_works and saving.method == "auto"
    way = Way(etcd.access, etcdctl if method == "etcdctl" else None, spare, deadline, runner)
    try:
        snapshot = take(way, path, about, warnings)
    except CareError as error:
        raise CareError(" ".join(filter(None, [error.message, _advice(error)])), warnings=warnings) from error
    return {"changed": True, "snapshot": {**snapshot, "path": path}, "warnings": warnings}


def _advice(error: CareError) -> str:
    """What to do about it, where the error itself does not say."""
    cause = error.__cause__
    if isinstance(error, NoRoom) or (isinstance(cause, OSError) and cause.errno in _FULL_CODES):
        return _ROOM
    return _AGAIN if isinstance(error, EtcdError) else ""


def _proven(file: WholeFile, revision_before: int) -> dict[str, Any]:
    try:
        proof = prove(file.part)
    except BrokenFile as error:
        raise CareError(
            f"etcd's snapshot did not arrive whole and was thrown away ({error.message.replace(file.part, 'it')}) "
            "etcd may have been stopped in the middle: look at it, and run this again."
        ) from error
    if proof["revision"] < revision_before:
        raise CareError(
            f"The snapshot was thrown away: it ends at revision {proof['revision']}, "
            f"but etcd was at {revision_before} before it was taken."
        )
    return proof
