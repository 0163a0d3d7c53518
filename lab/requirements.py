# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What this host must have before anything is made: each missing thing one sentence, with the command that mends it."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .errors import LabError
from .shell import output, run

GIGABYTE = 1 << 30
MEMORY_GB = 6
DISK_GB = 4


@dataclass(frozen=True)
class Tool:
    """A command, the Debian package that has it, and what the lab does with it."""

    command: str
    package: str
    purpose: str


TOOLS = (
    Tool("apt-get", "apt", "takes Debian's packages as the host does"),
    Tool("btrfs", "btrfs-progs", "keeps the machines' disks as snapshots"),
    Tool("mkfs.btrfs", "btrfs-progs", "keeps the machines' disks as snapshots"),
    Tool("dpkg-deb", "dpkg", "makes the Kubernetes packages"),
    Tool("gcc", "gcc", "compiles the pods' first process"),
    Tool("gpg", "gnupg", "signs the package repository"),
    Tool("haproxy", "haproxy", "balances the load of the API servers"),
    Tool("ip", "iproute2", "lays the machines' network"),
    Tool("iptables", "iptables", "lays the machines' network"),
    Tool("mmdebstrap", "mmdebstrap", "makes the machines' root file system"),
    Tool("ssh", "openssh-client", "reaches the machines"),
    Tool("ssh-keygen", "openssh-client", "makes the machines' keys"),
    Tool("systemd-nspawn", "systemd-container", "runs the machines"),
    Tool("unshare", "util-linux", "keeps the making of a machine apart"),
)
# gcc alone cannot link a static program.
STATIC_LIBRARY = Tool("libc.a", "libc6-dev", "compiles the pods' first process")
FILE_SYSTEMS = {"btrfs": "the machines' disks", "overlay": "the containers' disks"}


@dataclass(frozen=True)
class Host:
    """What the checks look at, so that they can be tried on any host."""

    uid: int
    missing: tuple[Tool, ...]
    file_systems: frozenset[str]
    cgroup: int  # 1, 2, or 0 for none
    nspawn: int  # version of systemd-nspawn, 0 when it is not there
    memory: int  # bytes
    disk: int  # free bytes where the cache lies


def look() -> Host:
    missing = [tool for tool in TOOLS if not shutil.which(tool.command)]
    if not any(Path("/usr/lib").glob("*/libc.a")):
        missing.append(STATIC_LIBRARY)
    for module in FILE_SYSTEMS:
        if module not in _file_systems() and shutil.which("modprobe"):
            run(["modprobe", module], check=False)
    place = paths.cache()
    while not place.exists():
        place = place.parent
    return Host(
        uid=os.geteuid(),
        missing=tuple(missing),
        file_systems=_file_systems(),
        cgroup=_cgroup(),
        nspawn=_nspawn(),
        memory=_memory(),
        disk=shutil.disk_usage(place).free,
    )


def problems(host: Host) -> list[LabError]:
    """Everything that this host lacks."""
    found = []
    if host.uid != 0:
        found.append(
            LabError("The lab needs root: it mounts file systems and runs whole machines.", "sudo lab/lab prepare")
        )
    for tool in host.missing:
        found.append(LabError(f"{tool.command} is not there, which {tool.purpose}.", f"apt-get install {tool.package}"))  # noqa: PERF401
    for name, purpose in FILE_SYSTEMS.items():
        if name not in host.file_systems:
            found.append(
                LabError(
                    f"This kernel has no {name} file system, which is needed for {purpose}.",
                    f"modprobe {name}, or another kernel",
                )
            )
    if host.cgroup == 0:
        found.append(
            LabError(
                "No control groups are mounted at /sys/fs/cgroup, which every pod needs.",
                "start systemd, or mount -t cgroup2 none /sys/fs/cgroup",
            )
        )
    if host.cgroup == 1 and host.nspawn >= 256:
        found.append(
            LabError(
                f"systemd-nspawn {host.nspawn} refuses the control groups of this host, which are version 1.",
                "boot the host with cgroup v2",
            )
        )
    if host.memory < MEMORY_GB * GIGABYTE:
        found.append(
            LabError(
                f"The lab needs {MEMORY_GB} GB of memory; this host has {host.memory / GIGABYTE:.1f} GB.",
                "a bigger machine: a cluster of 5 nodes takes 3 GB, a build from source another 3 GB",
            )
        )
    if host.disk < DISK_GB * GIGABYTE:
        found.append(
            LabError(
                f"{paths.cache()} has {host.disk / GIGABYTE:.1f} GB of free disk; labs need at least {DISK_GB} GB.",
                "free some space, or set LAB_CACHE to a folder on a bigger disk",
            )
        )
    return found


def summary(found: list[LabError]) -> LabError:
    """All of it at once, so that nobody has to come back for each."""
    packages = sorted({error.remedy.split()[-1] for error in found if error.remedy.startswith("apt-get install")})
    other = [error.remedy for error in found if not error.remedy.startswith("apt-get install")]
    remedies = ([f"apt-get install {' '.join(packages)}   (or: lab/lab prepare --install)"] if packages else []) + other
    return LabError("\n".join(error.message for error in found), "\n       ".join(remedies))


def check() -> None:
    """Raise one error that names everything that is missing."""
    found = problems(look())
    if found:
        raise summary(found)


def install_requirements() -> list[str]:
    """Install the Debian packages that are missing; returns their names."""
    host = look()
    if host.uid != 0:
        raise summary(problems(host))
    packages = sorted({tool.package for tool in host.missing})
    if packages:
        print(f"installing {' '.join(packages)}")
        env = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
        run(["apt-get", "-qq", "update"], env=env)
        run(["apt-get", "-qq", "install", "--no-install-recommends", *packages], env=env)
    return packages


def _file_systems() -> frozenset[str]:
    return frozenset(line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines())


def _cgroup() -> int:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return 2
    return 1 if (root / "memory").is_dir() else 0


def _nspawn() -> int:
    if not shutil.which("systemd-nspawn"):
        return 0
    match = re.match(r"systemd (\d+)", output(["systemd-nspawn", "--version"]))
    return int(match[1]) if match else 0


def _memory() -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
