# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Taking a static pod's manifest away from the kubelet, and giving the very same file back.

Always a copy, a rename and only then a removal: at no moment, power cut or not, is the only copy half-written, and
the two directories need not be on one file system. A temporary file begins with a dot, which the kubelet passes over.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Sequence

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

TEMPORARY = ".clustercare-"


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def copy_whole(source: str, target: str) -> None:
    """Copy a file with its owner, mode and times; a reader of ``target`` sees nothing or all of it."""
    folder = os.path.dirname(target)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as new, open(source, "rb") as old:
            about = os.fstat(old.fileno())
            shutil.copyfileobj(old, new)
            new.flush()
            os.fchown(new.fileno(), about.st_uid, about.st_gid)
            os.fchmod(new.fileno(), stat.S_IMODE(about.st_mode))
            os.utime(new.fileno(), ns=(about.st_atime_ns, about.st_mtime_ns))
            os.fsync(new.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    _record.sync_directory(folder)


def _remove(path: str) -> None:
    os.unlink(path)
    _record.sync_directory(os.path.dirname(path))


def _move(source: str, target: str) -> None:
    try:
        copy_whole(source, target)
        _remove(source)
    except OSError as error:
        raise CareError(
            f"{source} cannot be moved to {target}: {error.strerror}. Nothing is lost, a whole copy is in one of the "
            "two places; make that possible, then run the same again.",
            changed=os.path.exists(target),
        ) from error


def outside(parking: str, manifests_dir: str) -> None:
    """:raises CareError: the parked manifest would still be read by the kubelet."""
    one, other = os.path.realpath(parking), os.path.realpath(manifests_dir)
    if os.path.commonpath([one, other]) == other:
        raise CareError(f"{parking} is inside of {manifests_dir}: the kubelet would go on reading what is put there.")


def park(manifests: Sequence[str], parking: str) -> list[str]:
    """Take manifests out of the kubelet's sight; what lies parked from before under the same name is replaced.

    :param parking: a directory that is there already, for root alone.
    """
    moved = []
    for path in manifests:
        outside(parking, os.path.dirname(path))
        target = os.path.join(parking, os.path.basename(path))
        _move(path, target)
        moved.append(target)
    return moved


def put_back(parked: Sequence[str], manifests_dir: str) -> tuple[list[str], list[str]]:
    """Give parked manifests back.

    A file of that name that is there meanwhile wins: whoever wrote it knew more. The parked one is then kept under
    another name beside its place when it differs.

    :returns: where the manifests are now, and sentences on what was kept.
    """
    places, notes = [], []
    for path in parked:
        target = os.path.join(manifests_dir, os.path.basename(path))
        places.append(target)
        if not os.path.lexists(target):
            _move(path, target)
        elif _content(path) == _content(target):
            _remove(path)
        else:
            kept = os.path.join(os.path.dirname(path), f".old-{os.path.basename(path)}")
            os.replace(path, kept)
            notes.append(f"{target} was written while its component was stopped and is used; {kept} is the one before.")
    return places, notes
