# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes that outlive this command: started apart, known by pid and start time, ended for certain."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError


@dataclass(frozen=True)
class Process:
    """A pid alone may have been given to somebody else meanwhile; with its start time it is one process."""

    pid: int
    started: int

    def alive(self) -> bool:
        return self.pid > 0 and start_time(self.pid) == self.started

    def signal(self, number: int) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, patience: float = 10.0) -> None:
        """Ask it to end, then end it."""
        self.signal(signal.SIGTERM)
        if not wait_for(lambda: not self.alive(), patience):
            self.signal(signal.SIGKILL)
            wait_for(lambda: not self.alive(), 5)


def start_time(pid: int) -> int | None:
    """Clock ticks between the host's boot and the process's start; None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def identify(pid: int) -> Process:
    return Process(pid, start_time(pid) or 0)


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


def spawn(argv: Sequence[str | Path], log: Path, before: Callable[[], None] | None = None) -> Process:
    """Start a process that stays when this one ends; what it says goes to the log.

    :param before: run in the new process before the program starts (to enter a cgroup).
    """
    words = [str(word) for word in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        try:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=before,
            )
        except FileNotFoundError as error:
            raise LabError(f"The command {words[0]} is not there.", "lab/lab prepare says what to install") from error
    process = identify(child.pid)
    # Nobody waits for it: whoever starts it may be gone long before it ends.
    child.returncode = 0
    return process


def wait_for(condition: Callable[[], bool], seconds: float, interval: float = 0.05) -> bool:
    """Whether the condition became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True
