# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""To whom etcd's data belongs: what takes its place must be just as usable for the user that etcd runs as."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from typing import NamedTuple, Optional

_LABEL = "security.selinux"
PRIVATE = 0o700  # what etcd itself gives its directories


class Owner(NamedTuple):
    """Owner, mode of the directory, and SELinux label where there is one."""

    uid: int = 0
    gid: int = 0
    mode: int = PRIVATE
    label: Optional[bytes] = None


def named(user: str, group: str) -> Owner:
    """The user and group of a unit, by name or number; root when it names none, or one that systemd makes itself."""
    uid = gid = 0
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        uid, gid = entry.pw_uid, entry.pw_gid
    with contextlib.suppress(KeyError):
        gid = grp.getgrgid(int(group)).gr_gid if group.isdigit() else grp.getgrnam(group).gr_gid
    return Owner(uid, gid)


def label_of(path: str) -> Optional[bytes]:
    """The SELinux label of a file; None where there is none."""
    with contextlib.suppress(OSError):
        return os.getxattr(path, _LABEL)
    return None


def set_label(path: str, label: Optional[bytes]) -> None:
    if label is not None:
        with contextlib.suppress(OSError):
            os.setxattr(path, _LABEL, label, follow_symlinks=False)


def owner_of(data_dir: str, user: str = "", group: str = "") -> Owner:
    """Whose a data directory is: of the data in it, else of itself, else of the unit that will use it."""
    for path in (os.path.join(data_dir, "member"), data_dir):
        if os.path.isdir(path):
            about = os.stat(path)
            return Owner(about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode), label_of(path))
    return named(user, group)


def give(directory: str, owner: Owner) -> None:
    """Give a directory, with all in it, to an owner; the mode is that of the directory alone."""
    for folder, _folders, files in os.walk(directory):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
            set_label(path, owner.label)
    os.chmod(directory, owner.mode)


def make_missing(data_dir: str, owner: Owner) -> None:
    """A data directory that was lost altogether is made again, empty."""
    if not os.path.isdir(data_dir):
        os.makedirs(data_dir, mode=PRIVATE)
        give(data_dir, owner)
