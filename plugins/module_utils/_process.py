# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The process table, read from /proc: who really runs, since when, from which file."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator
from typing import NamedTuple, Optional

_DELETED = " (deleted)"
_KUBEADM_WORK = {"init", "join", "upgrade", "reset"}
LOGS = "/var/log/pods"
_PODS = re.compile(r"kubepods.*?[/-]pod([0-9A-Za-z_-]+)")
# A kubelet with --cgroups-per-qos=false gives pods other cgroups; but these never run in a container.
_NO_CONTAINERS = ("kubelet", "containerd", "crio")
_STATIC_UID = re.compile(r"[0-9a-f]{32}")  # a hash of the manifest; pods of the API have a UUID with dashes
_PACKAGE_TOOLS = {"apt", "apt-get", "aptitude", "dpkg", "unattended-upgrade", "dnf", "dnf5", "yum", "rpm"}


class Process(NamedTuple):
    """One process as /proc shows it. ``exe`` is empty when the kernel does not tell."""

    pid: int
    exe: str
    argv: list[str]
    started: float

    @property
    def name(self) -> str:
        """The program's name: of the script for an interpreter, else of argv[0]; never comm, which is cut at 15."""
        words = [os.path.basename(word) for word in self.argv[:2]] or [os.path.basename(self.exe)]
        if len(words) > 1 and words[0].startswith(("python", "platform-python", "perl")):
            return words[1]
        return words[0]

    @property
    def what(self) -> str:
        """The program and its sub-commands, without any option: options may hold secrets."""
        skip = 2 if self.name != os.path.basename(self.argv[0] if self.argv else self.exe) else 1
        words = [self.name]
        for word in self.argv[skip:]:
            if word.startswith("-"):
                break
            words.append(word)
        return " ".join(words[:4])


def read_text(path: str) -> Optional[str]:
    """A small file's text, or None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def link(path: str) -> str:
    """Where a link leads; empty when it is none, or is gone."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _boot_time(proc: str) -> float:
    """Epoch of the boot by today's clock, to the hundredth; btime in /proc/stat is cut to whole seconds."""
    with open(os.path.join(proc, "uptime"), encoding="ascii") as uptime:
        return time.time() - float(uptime.read().split()[0])


def started(stat: str, boot: float, ticks: int) -> float:
    """Epoch of the start from a /proc/PID/stat line; the name in it may hold spaces and brackets."""
    return boot + int(stat[stat.rindex(")") + 2 :].split()[19]) / ticks


def read(pid: int, proc: str = "/proc", boot: Optional[float] = None) -> Optional[Process]:
    """One process, or None when it is gone or a kernel thread."""
    base = os.path.join(proc, str(pid))
    try:
        with open(os.path.join(base, "cmdline"), "rb") as cmdline:
            argv = [word.decode(errors="replace") for word in cmdline.read().rstrip(b"\0").split(b"\0")]
        with open(os.path.join(base, "stat"), encoding="utf-8", errors="replace") as stat_file:
            stat = stat_file.read()
    except OSError:
        return None
    if argv == [""] or stat[stat.rindex(")") + 2] == "Z":
        return None
    exe = link(os.path.join(base, "exe"))
    exe = exe[: -len(_DELETED)] if exe.endswith(_DELETED) else exe
    boot = _boot_time(proc) if boot is None else boot
    return Process(pid, exe, argv, started(stat, boot, os.sysconf("SC_CLK_TCK")))


def pod_of(cgroup: str) -> Optional[str]:
    """The UID of the pod in a /proc/PID/cgroup of version 1 or 2, by either cgroup driver."""
    pod = _PODS.search(cgroup)
    return pod.group(1).replace("_", "-") if pod else None


def is_static(uid: str, name: str, logs: str = LOGS) -> bool:
    """Whether a pod's UID is one of a static pod; a manifest may also bring a UID of its own."""
    return bool(_STATIC_UID.fullmatch(uid) or glob.glob(f"{logs}/kube-system_{glob.escape(name)}-*_{uid}"))


def is_hosts_own(pid: int, name: str, proc: str = "/proc", logs: str = LOGS) -> bool:
    """Whether a process is not one that somebody has put into a pod: what runs there may call itself anything."""
    home = os.path.join(proc, str(pid))
    pod = pod_of(read_text(os.path.join(home, "cgroup")) or "")
    if pod:
        return is_static(pod, name, logs)
    return name not in _NO_CONTAINERS or link(f"{home}/ns/pid") in ("", link(f"{proc}/self/ns/pid"))


def is_roots(path: str) -> bool:
    """Whether root alone (or whoever we are) could have written this program, so that root may run it."""
    try:
        about = os.stat(path)
    except OSError:
        return False
    return about.st_uid in (0, os.geteuid()) and not about.st_mode & 0o002


def processes(proc: str = "/proc", logs: str = LOGS) -> Iterator[Process]:
    """The host's own processes that have a command line, those of static pods among them."""
    boot = _boot_time(proc)
    for name in os.listdir(proc):
        if name.isdigit():
            process = read(int(name), proc, boot)
            if process and is_hosts_own(process.pid, process.name, proc, logs):
                yield process


def named(table: list[Process], name: str) -> list[Process]:
    """Those whose program is called ``name``, oldest first."""
    return sorted((p for p in table if p.name == name), key=lambda p: p.started)


def busy(table: list[Process], own: int) -> list[dict[str, object]]:
    """A kubeadm at work and package tools, ourselves excepted; a kubeadm that only tells something is no work."""

    def at_work(p: Process) -> bool:
        return p.name in _PACKAGE_TOOLS or (p.name == "kubeadm" and bool(_KUBEADM_WORK & set(p.argv[1:2])))

    return [{"pid": p.pid, "what": p.what} for p in sorted(table) if p.pid != own and at_work(p)]
