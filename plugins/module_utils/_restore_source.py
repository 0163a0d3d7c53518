# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a member without a majority still has, and a proven snapshot of it: from etcd itself, or from its disk."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import database
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import ask
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_save import Saving, save
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import (
    ca_sha256,
    existing,
    prove,
    without_text,
    write_sidecar,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_wal import read_log
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_disk import behind
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_look import find_etcd
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import operate, set_going
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    WholeFile,
    need_space,
    private_directory,
)

if TYPE_CHECKING:
    from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Restore

_TIMEOUT = 3.0
_READING = 60.0  # seconds for a start and the log
_PIECE = 4 << 20


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Nobody else may have the database open: etcd holds this lock as long as it does."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CareError(f"{path} is in use by a process that is not this host's etcd: find out which.") from error
        yield


def copy_database(data_dir: str, path: str, about: dict[str, Any]) -> dict[str, Any]:
    """The database itself as a snapshot: a copy with its SHA-256 behind it, as etcd would have sent it.

    :raises CareError: a page of it cannot be read, or it is in use.
    """
    source = database(data_dir)
    private_directory(os.path.dirname(path))
    need_space(os.path.dirname(path), os.path.getsize(source), "safety_dir")
    with _alone(source), open(source, "rb") as data, WholeFile(path) as file:
        digest = hashlib.sha256()
        while piece := data.read(_PIECE):
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())
        file.sync()
        about = {**about, "method": "file", "taken": iso(os.path.getmtime(source))}
        snapshot = {**about, **without_text(prove(file.part))}
        write_sidecar(path, snapshot)
        file.commit()
    return {**snapshot, "path": path}


def salvage(step: Restore) -> dict[str, Any]:
    """A proven snapshot of this host's member, of which etcd needs no majority.

    Once restarted, etcd answers nobody before it has a majority, but it does read its log. So one whose database does
    not have all of its log is started on its data, as by a restart of the host, and then its database is taken.
    """
    name = str(step.plan["snapshot_name"])
    path = os.path.join(step.options.safety_dir, name)
    known = existing(path)
    if known:
        return {"changed": False, "snapshot": without_text(known)}
    host, options = step.host, step.options
    access = find_etcd(host.look("etcd"), host.look("kube-apiserver"), options.etcd, host.runner).access
    if not ask(access, _TIMEOUT).error:
        return save(options.etcd, Saving(options.safety_dir, name, None, "auto", options.timeout), False, host.runner)
    data_dir = str(step.plan["data_dir"])
    warnings = []
    if behind(data_dir):
        deadline = Deadline(min(_READING, step.deadline.left), "timeout")
        try:
            operate(host, access, options.kubeconfig, ["etcd"], "started", deadline.seconds, "process")
            wait_until(lambda: behind(data_dir), deadline, f"Waiting until the etcd of {step.node} has read its log")
        except CareError as error:
            warnings.append(error.message)
    operate(host, access, options.kubeconfig, ["etcd"], "stopped", max(1.0, step.deadline.left))
    try:
        left = behind(data_dir)
        about = {"schema": 1, "host": socket.gethostname(), "member": step.plan["member"], "ca_sha256": ca_sha256()}
        snapshot = copy_database(data_dir, path, about)
    except CareError as error:
        raise CareError(f"{' '.join([*warnings, error.message])} Name another master's data.", changed=True) from error
    finally:
        set_going(host, ["etcd"])
    if left:
        warnings.append(f"The database of {step.node} was taken as it lies: {left}.")
    elif read_log(os.path.join(data_dir, "member", "wal")) is None:
        warnings.append(f"The database of {step.node} was taken, but its log cannot be read, so some may be lost.")
    return {"changed": True, "snapshot": snapshot, "warnings": warnings}
