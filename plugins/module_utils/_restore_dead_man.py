# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What gives a master its old data back when nobody else does: a unit, its timer, and the code of this very module.

The unit is there for people, too: starting it by hand gives that one master its old data back at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_timer import UNITS, DeadMan

NAME = "etcd-data"
UNIT = "clustercare-undo-restore.service"
_PACKAGE = "ansible_collections.clustercare.kubeadm.plugins.module_utils."

_PROGRAM = """# Written by clustercare.kubeadm: gives this master its etcd data from before the restore {run} back.
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, {code!r})

from {package}_restore_undo import main

sys.exit(main({directory!r}, {run!r}, sys.argv[1:]))
"""

_SERVICE = """# Written by clustercare.kubeadm; removed when the restore has ended.
[Unit]
Description=Gives this master its etcd data from before a restore back
StartLimitIntervalSec=0

[Service]
Type=oneshot
TimeoutStartSec=600
ExecStart={python} {program}
"""


def copy_code(target: str) -> list[str]:
    """Write the source of all our loaded helpers below ``target``, so that they run there without Ansible."""
    written = []
    for name, module in sorted(sys.modules.items()):
        if not name.startswith(_PACKAGE):
            continue
        loader = getattr(module, "__loader__", None)
        source = loader.get_source(name) if loader is not None and hasattr(loader, "get_source") else None
        if source is None:
            raise CareError(f"The source of {name} cannot be read, so the dead man's timer could not work.")
        parts = name.split(".")
        folder = os.path.join(target, *parts[:-1])
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path = os.path.join(folder, f"{parts[-1]}.py")
        _record.write_private(path, source if isinstance(source, bytes) else source.encode())
        written.append(path)
    return written


class Undo:
    """The unit of one run."""

    def __init__(self, run: str, runner: Runner, directory: str = _record.DIRECTORY, units: str = UNITS) -> None:
        self.run = run
        self.runner = runner
        self.directory = directory
        self.timer = DeadMan(NAME, runner, directory, units)
        self.unit_file = os.path.join(units, UNIT)
        self.home = os.path.join(directory, "restore", run)

    def due(self) -> Optional[str]:
        return self.timer.due()

    def arm(self, at: float) -> str:
        """Write it all, prove that it can run, and let it come at the epoch ``at``."""
        home = _record.private_directory("restore", self.run, directory=self.directory)
        code = os.path.join(home, "code")
        copy_code(code)
        program = os.path.join(home, "undo.py")
        text = _PROGRAM.format(run=self.run, code=code, package=_PACKAGE, directory=self.directory)
        _record.write_private(program, text.encode(), mode=0o700)
        python = sys.executable or "/usr/bin/python3"
        tried = self.runner([python, program, "--check"], timeout=60)
        if tried.rc != 0:
            raise CareError(f"The program of the dead man's timer cannot run: {tried.last_words}. Nothing was stopped.")
        words = {"python": shlex.quote(python), "program": shlex.quote(program)}
        _record.write_private(self.unit_file, _SERVICE.format(**words).encode(), mode=0o644)
        return self.timer.arm(at, unit=UNIT)

    def disarm(self) -> bool:
        """Take the timer and the unit away; whether there was anything to take away."""
        armed = self.timer.disarm()
        if not os.path.exists(self.unit_file):
            return armed
        os.unlink(self.unit_file)
        self.runner(["systemctl", "daemon-reload"])
        return True
