# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A dead man's timer on the host: puts a stopped component back when nobody else has by its time, and is gone then.

The time is one of the clock on the wall and the units are files, so that it also comes after a restart of the host,
at once when its time has passed meanwhile. What it runs needs neither Ansible nor Python.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import re
import shlex
from typing import Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_job import parse_properties

UNITS = "/etc/systemd/system"
STAMPS = "/var/lib/systemd/timers"
_CALENDAR = re.compile(r"^OnCalendar=(.+) UTC$", re.MULTILINE)
_FORMAT = "%Y-%m-%d %H:%M:%S"

_MANIFESTS = """
    for file in {parking}/*; do
        target={directory}/"${{file##*/}}"
        [ -f "$file" ] && [ ! -e "$target" ] || continue
        new={directory}/.clustercare-"${{file##*/}}"
        cp -p "$file" "$new"
        sync "$new"
        mv "$new" "$target"
        sync {directory}
        rm "$file"
    done"""

_SCRIPT = """#!/bin/sh
# Puts {name} of this host back. Written by clustercare.kubeadm, run by {timer}.
set -eu
# A function is read whole before it runs: at its end it removes this very file.
put_back() {{{work}
    echo '{name} was put back: its time had come, and nobody had done it before'
    systemctl disable --now {timer}
    rm -f {service_file} {timer_file} {stamp}
    systemctl daemon-reload
    rm -f {script}
}}
put_back
exit 0
"""

_SERVICE = """# Written by clustercare.kubeadm; removes itself.
[Unit]
Description=Puts {name} back
StartLimitIntervalSec=0

[Service]
# Not oneshot: systemd before 244 does not restart such a one, and refuses the unit.
Type=simple
ExecStart=/bin/sh {script}
# A full disk may have room the next time.
Restart=on-failure
RestartSec=5
"""

_TIMER = """# Written by clustercare.kubeadm; removes itself.
[Unit]
Description=Puts {name} back when nobody else has

[Timer]
OnCalendar={when} UTC
AccuracySec=1s
Persistent=true
Unit={service}

[Install]
WantedBy=timers.target
"""


class DeadMan:
    """The timer of one component."""

    def __init__(
        self, name: str, runner: Runner, directory: str = _record.DIRECTORY, units: str = UNITS, stamps: str = STAMPS
    ) -> None:
        self.name = name
        self.runner = runner
        self.directory = directory
        self.timer = f"clustercare-restore-{name}.timer"
        self.service = f"clustercare-restore-{name}.service"
        self.timer_file = os.path.join(units, self.timer)
        self.service_file = os.path.join(units, self.service)
        self.script = os.path.join(directory, "restore", f"{name}.sh")
        self.stamp = os.path.join(stamps, f"stamp-{self.timer}")

    def due(self) -> Optional[str]:
        """When it will come, such as 2026-11-24T06:00:00Z; None when it is not armed."""
        try:
            with open(self.timer_file, encoding="utf-8") as file:
                found = _CALENDAR.search(file.read())
        except OSError:
            return None
        return found.group(1).replace(" ", "T") + "Z" if found else "unknown"

    def files(self, when: str, parking: str, manifests_dir: Optional[str], unit: Optional[str]) -> dict[str, str]:
        """All three files by path: for a static pod by its directories, for a unit by its name."""
        words = {
            "name": self.name,
            "when": when,
            "timer": self.timer,
            "service": self.service,
            "timer_file": shlex.quote(self.timer_file),
            "service_file": shlex.quote(self.service_file),
            "script": shlex.quote(self.script),
            "stamp": shlex.quote(self.stamp),
        }
        if unit:
            work = f"\n    systemctl start {shlex.quote(unit)}"
        else:
            work = _MANIFESTS.format(parking=shlex.quote(parking), directory=shlex.quote(str(manifests_dir)))
        return {
            self.script: _SCRIPT.format(work=work, **words),
            self.service_file: _SERVICE.format(**words),
            self.timer_file: _TIMER.format(**words),
        }

    def arm(self, at: float, parking: str = "", manifests_dir: Optional[str] = None, unit: Optional[str] = None) -> str:
        """Let it come at the epoch ``at``, and prove that systemd has it on its list.

        :raises CareError: systemd does not take it; nothing has been stopped yet then.
        """
        when = datetime.datetime.fromtimestamp(math.ceil(at), datetime.timezone.utc).strftime(_FORMAT)
        _record.private_directory("restore", directory=self.directory)
        for path, text in self.files(when, parking, manifests_dir, unit).items():
            _record.write_private(path, text.encode(), mode=0o700 if path == self.script else 0o644)
        for argv in (["daemon-reload"], ["enable", self.timer], ["restart", self.timer]):
            done = self.runner(["systemctl", *argv])
            if done.rc != 0:
                said = done.last_words
                self.disarm()
                raise CareError(f"systemd does not arm the timer of restore_after ({' '.join(argv)}): {said}.")
        self._keep()
        shown = self.runner(["systemctl", "show", self.timer, "--property=ActiveState,NextElapseUSecRealtime"])
        state = parse_properties(shown.out)
        if state.get("ActiveState") != "active" or not state.get("NextElapseUSecRealtime"):
            self.disarm()
            raise CareError(f"systemd took the timer of restore_after but does not plan it: {shown.out.strip()}.")
        return str(self.due())

    def _keep(self) -> None:
        """A power cut must not take it away; without its stamp a timer forgets what passed while the host was off."""
        for path in (self.stamp, os.path.dirname(self.stamp), os.path.dirname(self.timer_file)):
            with contextlib.suppress(OSError):
                _sync(path)
        with contextlib.suppress(OSError):
            _sync(os.path.join(os.path.dirname(self.timer_file), "timers.target.wants"))

    def disarm(self) -> bool:
        """Take it away; whether there was anything to take away."""
        files = [path for path in (self.timer_file, self.service_file, self.script) if os.path.exists(path)]
        if not files:
            return False
        self.runner(["systemctl", "disable", "--now", self.timer])
        for path in (*files, self.stamp):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.runner(["systemctl", "daemon-reload"])
        return True


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
