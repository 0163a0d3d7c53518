# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The machine and the process that run Ansible, so that a later run can tell whether an earlier one is gone."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import link, read_text

_PROGRAMS = {"ansible-playbook", "ansible", "ansible-console"}
# The kernel's own number of the PID namespace of a machine's first process (PROC_PID_INIT_INO).
_FIRST_NAMESPACE = "pid:[4026531836]"


class Entry(NamedTuple):
    """One process; ``start`` is in clock ticks since the boot, which no change of the clock moves."""

    pid: int
    parent: int
    start: int
    argv: list[str]

    @property
    def runs_ansible(self) -> bool:
        """Whether it is a run of Ansible (its workers have the same command line)."""
        names = [os.path.basename(word) for word in self.argv[:2]]
        return bool(_PROGRAMS & set(names)) or self.argv[1:3] == ["-m", "ansible"]


def read_entry(pid: int, proc: str = "/proc") -> Optional[Entry]:
    """One process, or None when it is gone."""
    try:
        with open(os.path.join(proc, str(pid), "stat"), encoding="utf-8", errors="replace") as file:
            stat = file.read()
        with open(os.path.join(proc, str(pid), "cmdline"), "rb") as file:
            argv = [word.decode(errors="replace") for word in file.read().rstrip(b"\0").split(b"\0")]
    except OSError:
        return None
    # The name before the last bracket may hold spaces and brackets.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] == "Z" else Entry(pid, int(fields[1]), int(fields[19]), argv)


def topmost(pid: int, proc: str = "/proc") -> Optional[Entry]:
    """The outermost run of Ansible that ``pid`` is part of."""
    found = None
    entry = read_entry(pid, proc)
    while entry is not None:
        found = entry if entry.runs_ansible else found
        entry = read_entry(entry.parent, proc) if entry.parent > 0 else None
    return found


def runs(proc: str = "/proc") -> Optional[list[dict[str, int]]]:
    """All runs of Ansible on this machine; None when other users' processes are hidden: absence proves nothing then."""
    if not os.path.exists(os.path.join(proc, "1", "stat")):
        return None
    entries = [read_entry(int(name), proc) for name in os.listdir(proc) if name.isdigit()]
    found = [entry for entry in entries if entry is not None and entry.runs_ansible]
    return [{"pid": entry.pid, "start": entry.start} for entry in sorted(found)]


def describe(pid: int, environ: Mapping[str, str], proc: str = "/proc", etc: str = "/etc") -> dict[str, Any]:
    """All that the lookup plugin tells; what this machine does not have is empty."""
    namespace = link(os.path.join(proc, "self", "ns", "pid"))
    run = topmost(pid, proc)
    return {
        "machine_id": (read_text(os.path.join(etc, "machine-id")) or "").strip(),
        "boot_id": (read_text(os.path.join(proc, "sys", "kernel", "random", "boot_id")) or "").strip(),
        "hostname": platform.node(),
        "in_pod": bool(environ.get("KUBERNETES_SERVICE_HOST")),
        "pid_namespace": namespace,
        "first_namespace": namespace == _FIRST_NAMESPACE,
        "pid": run.pid if run else None,
        "start": run.start if run else None,
        "running": runs(proc),
    }
