# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""kubeadm in a transient systemd unit of its own: a lost connection does not cut it, a later run finds it."""

from __future__ import annotations

import json
import os
import re
import time
from typing import NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

UNIT = "clustercare-kubeadm.service"
# The exit status outlives the unit in a file; the shell is there for that alone, every word is an argument.
_WRAPPER = """
out=$1 rc=$2; shift 2
"$@" >"$out" 2>&1 </dev/null
status=$?
echo "$status" >"$rc.new" && mv "$rc.new" "$rc"
exit "$status"
"""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # kubeadm paints its preflight table into files too
_SYSTEMD_PATIENCE = 15.0  # it is deaf for a moment while it executes itself anew
_AT_WORK = ("active", "activating", "deactivating", "reloading")


class Job(NamedTuple):
    """A kubeadm run: what it is for and how it stands."""

    step: str
    target: str
    run: str
    argv: list[str]
    started: float
    running: bool
    rc: Optional[int]  # None while it runs, or when it ended without one (power cut, killed)
    output: str
    seconds: float
    taken: bool  # its result has been worked into the record

    def same_work(self, step: str, target: str) -> bool:
        return (self.step, self.target) == (step, target)


def parse_properties(shown: str) -> dict[str, str]:
    """Read ``systemctl show``."""
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def start_argv(argv: list[str], output: str, rc: str, environment_file: Optional[str]) -> list[str]:
    """The command line that starts kubeadm beside us."""
    start = ["systemd-run", "--quiet", f"--unit={UNIT}", "--description=kubeadm, started by clustercare.kubeadm"]
    start += ["--property=Type=simple", "--setenv=HOME=/root"]
    if environment_file:
        start.append(f"--property=EnvironmentFile={environment_file}")
    return [*start, "--", "/bin/sh", "-c", _WRAPPER, "clustercare-kubeadm", output, rc, *argv]


class Jobs:
    """The one kubeadm job of this host."""

    def __init__(self, runner: Runner = run, directory: str = _record.DIRECTORY) -> None:
        self.runner = runner
        self.directory = directory

    def _file(self, name: str) -> str:
        return os.path.join(self.directory, "kubeadm", name)

    def _read(self, name: str) -> Optional[str]:
        try:
            with open(self._file(name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def at_work(self) -> bool:
        """Whether the unit runs now.

        :raises CareError: systemd does not tell; taking that for a no would start kubeadm beside itself.
        """
        deadline = Deadline(_SYSTEMD_PATIENCE, "timeout")
        while True:
            shown = self.runner(["systemctl", "show", UNIT, "--property=ActiveState,SubState,Result,ExecMainStatus"])
            state = parse_properties(shown.out).get("ActiveState")
            if shown.rc == 0 and state:
                return state in _AT_WORK
            if deadline.passed:
                raise CareError(
                    f"systemd does not tell whether kubeadm still runs in {UNIT}: {shown.last_words}. When it answers "
                    "again, the same command again goes on from here."
                )
            deadline.sleep(1)

    def look(self) -> Optional[Job]:
        """The newest job, running or ended; None when there never was one."""
        running = self.at_work()  # asked before the exit status is read: what ends in between counts as running
        told = self._read("job.json")
        if told is None:
            return None
        job = json.loads(told)
        rc = None if running else self._read("rc")
        ended = time.time() if running or rc is None else os.stat(self._file("rc")).st_mtime
        return Job(
            step=job["step"],
            target=job["target"],
            run=job["run"],
            argv=job["argv"],
            started=job["started"],
            running=running,
            rc=int(rc) if rc and rc.strip().isdigit() else None,
            output=_COLOUR.sub("", self._read("output") or ""),
            seconds=round(max(0.0, ended - job["started"]), 1),
            taken=bool(job.get("taken")),
        )

    def start(self, step: str, target: str, run_id: str, argv: list[str]) -> None:
        """Start kubeadm; the caller holds the host's lock and has looked that none runs.

        :raises CareError: systemd does not start it.
        """
        _record.private_directory("kubeadm", directory=self.directory)
        for name in ("rc", "rc.new"):
            if os.path.exists(self._file(name)):
                os.unlink(self._file(name))
        _record.write_private(self._file("output"), b"")
        job = {"step": step, "target": target, "run": run_id, "argv": argv, "started": round(time.time(), 2)}
        _record.write_private(self._file("job.json"), json.dumps(job).encode())
        proxies = [f'{name}="{os.environ[name]}"\n' for name in _PROXIES if os.environ.get(name)]
        if proxies:  # in a file, for they may hold a password
            _record.write_private(self._file("environment"), "".join(proxies).encode())
        self.runner(["systemctl", "reset-failed", UNIT])
        environment_file = self._file("environment") if proxies else None
        done = self.runner(start_argv(argv, self._file("output"), self._file("rc"), environment_file))
        if done.rc != 0:
            raise CareError(f"systemd-run cannot start kubeadm: {done.last_words}")

    def wait(self, deadline: Deadline) -> Job:
        """Wait for the end.

        :raises TimedOut: kubeadm still runs, and is left running: stopping it could cut its own rollback.
        """
        while True:
            job = self.look()
            if job is not None and not job.running:
                return job
            if deadline.passed:
                raise TimedOut(
                    f"kubeadm still runs after {deadline.seconds:g} s (option {deadline.option}) and was left running "
                    f"in {UNIT}; the same command again waits for it. It said last: "
                    f"{(job.output if job else '').strip()[-300:] or 'nothing'}",
                    timed_out=True,
                    changed=True,
                    output=job.output if job else "",
                )
            deadline.sleep(0.5)

    def mark_taken(self) -> None:
        """Note that the result stands in the record."""
        told = self._read("job.json")
        if told:
            _record.write_private(self._file("job.json"), json.dumps({**json.loads(told), "taken": True}).encode())
