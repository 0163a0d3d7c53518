# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A control group of its own for every machine, in every hierarchy, so that the machines' systemds do not meet.

They also tell which processes are a lab's, whoever started them: what is in its groups is ended with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

TOP = "clustercare-lab"
# The group of what runs on the host for a lab: load balancer, package server, supervisors, probe.
HOST = "host"


@dataclass(frozen=True)
class Hierarchy:
    mount: Path
    version: int
    controllers: frozenset[str]

    def group(self, lab: str, unit: str = "") -> Path:
        return self.mount / TOP / lab / unit


def parse_mounts(mountinfo: str) -> list[Hierarchy]:
    """The hierarchies of this host; of several mounts of one, the first."""
    found: dict[Path, Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            mount = Path(left.split(" ")[4])
            words = frozenset(options.split(",")) if kind == "cgroup" else frozenset({"unified"})
            found.setdefault(mount, Hierarchy(mount, 1 if kind == "cgroup" else 2, words))
    return list(found.values())


def hierarchies() -> list[Hierarchy]:
    found = parse_mounts(Path("/proc/self/mountinfo").read_text())
    if not found:
        raise LabError("No control groups are mounted on this host; systemd and Kubernetes cannot run without them.")
    return found


def tracking(found: list[Hierarchy]) -> Hierarchy:
    """The one that systemd counts processes with: it is there in every layout."""
    return next((h for h in found if "name=systemd" in h.controllers), None) or next(
        (h for h in found if h.version == 2), found[0]
    )


def version() -> int:
    """What Kubernetes sees: 1 as soon as any controller is in a version 1 hierarchy."""
    return 1 if any(h.version == 1 for h in hierarchies()) else 2


def create(lab: str, unit: str) -> list[Path]:
    """Make the groups of a machine (or of the host's part) and return their process lists, to be written to."""
    found = hierarchies()
    chosen = [tracking(found)] if unit == HOST else found
    lists = []
    for hierarchy in chosen:
        group = hierarchy.group(lab, unit)
        group.mkdir(parents=True, exist_ok=True)
        if "cpuset" in hierarchy.controllers:
            _inherit_cpuset(hierarchy.mount, group)
        if hierarchy.version == 2 and len(found) == 1:
            _delegate(hierarchy.mount, group)
        lists.append(group / "cgroup.procs")
    return lists


def enter(lists: list[Path]) -> None:
    """Move the calling process into groups that were made before."""
    for path in lists:
        path.write_text(str(os.getpid()))


def _inherit_cpuset(mount: Path, group: Path) -> None:
    """A new cpuset is empty, and a process cannot enter it before it has processors and memory."""
    for level in reversed([group, *group.parents]):
        if level.is_relative_to(mount) and level != mount:
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not (level / name).read_text().strip():
                    (level / name).write_text((level.parent / name).read_text())


def _delegate(mount: Path, group: Path) -> None:
    """Version 2: controllers reach a group only through all groups above it."""
    for level in reversed(group.parents):
        if level.is_relative_to(mount):
            for controller in (level / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):
                    (level / "cgroup.subtree_control").write_text(f"+{controller}")


def pids(lab: str, unit: str = "") -> list[int]:
    """The processes of a lab or of one of its machines."""
    top = tracking(hierarchies()).group(lab, unit)
    found: list[int] = []
    for folder, _, _ in os.walk(top):
        with contextlib.suppress(OSError):
            found += [int(line) for line in (Path(folder) / "cgroup.procs").read_text().split()]
    return [pid for pid in found if pid]


def kill(lab: str, unit: str = "", seconds: float = 60) -> None:
    """End every process of a group, also those that are born meanwhile; one may be writing to a slow disk yet."""
    deadline = time.monotonic() + seconds
    while left := pids(lab, unit):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LabError(f"Processes {left} of the lab {lab} do not end although they were killed.")
        time.sleep(0.05)


def remove(lab: str, unit: str = "", seconds: float = 20) -> None:
    """Remove the empty groups. A group stays busy for a moment after its last process."""
    for hierarchy in hierarchies():
        top = hierarchy.group(lab, unit)
        deadline = time.monotonic() + seconds
        while top.exists():
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            if top.exists() and time.monotonic() > deadline:
                raise LabError(f"The control group {top} cannot be removed: something still uses it.")
            if top.exists():
                time.sleep(0.05)
        with contextlib.suppress(OSError):
            os.rmdir(hierarchy.mount / TOP)
