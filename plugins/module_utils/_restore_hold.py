# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Units that a restore has stopped stay stopped: whoever asks for them, and after a restart of the host too.

Masking cannot do that: a unit whose file is in /etc cannot be masked. So each gets a condition that its own file is
not there: without the file it starts as before, even when systemd has not been told yet.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_timer import UNITS

DIRECTORY = UNITS
NAME = "zz-clustercare-restore.conf"  # the last one of them all, so nothing takes the condition back
# What a unit whose etcd joins is told (``_restore_told``): the drop-in, and what that points to.
_TOLD = "zz-clustercare-join"
_TOLD_KINDS = ("conf", "env", "json")

_TEXT = """# Written by clustercare.kubeadm: a restore of etcd has stopped this unit and will start it again.
[Unit]
ConditionPathExists=!{path}
"""


def path_of(unit: str) -> str:
    return os.path.join(DIRECTORY, f"{unit}.d", NAME)


def told_path(unit: str, kind: str) -> str:
    return os.path.join(DIRECTORY, f"{unit}.d", f"{_TOLD}.{kind}")


def hold(units: Iterable[str], runner: Runner) -> None:
    """Let nothing start these units, and let them forget whom an earlier run told them to join.

    :raises CareError: systemd does not take it; nothing has been stopped yet then.
    """
    units = list(units)
    forgotten = _remove([told_path(unit, kind) for unit in units for kind in _TOLD_KINDS])
    new = [path for path in map(path_of, units) if not os.path.exists(path)]
    for path in new:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        _record.write_private(path, _TEXT.format(path=path.replace("%", "%%")).encode(), mode=0o644)
        _record.sync_directory(os.path.dirname(os.path.dirname(path)))
    if new or forgotten:
        done = runner(["systemctl", "daemon-reload"])
        if done.rc != 0:
            raise CareError(f"systemd does not read the drop-ins of {', '.join(units)}: {done.last_words}.")


def release(units: Iterable[str], runner: Runner) -> None:
    """Let them be started again."""
    if _remove([path_of(unit) for unit in units]):
        runner(["systemctl", "daemon-reload"])


def forget(units: Iterable[str], runner: Runner) -> None:
    """Let their next start be as the user's own files have it."""
    if _remove([told_path(unit, kind) for unit in units for kind in _TOLD_KINDS]):
        runner(["systemctl", "daemon-reload"])


def _remove(paths: list[str]) -> bool:
    """Whether there was anything to remove."""
    found = [path for path in paths if os.path.exists(path)]
    for path in found:
        os.unlink(path)
        with contextlib.suppress(OSError):  # somebody's own drop-ins are in it
            os.rmdir(os.path.dirname(path))
    return bool(found)
