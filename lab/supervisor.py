# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The process that stands beside a machine: starts it, starts it again when it reboots, and is its mains plug."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

from . import cgroups, network, state
from .processes import Process, children, identify, wait_for
from .state import Lab

# systemd-nspawn --keep-unit ends with it when the machine restarts itself.
REBOOT = 133
PR_SET_PDEATHSIG = 1


def nspawn_argv(lab: Lab, name: str) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={lab.root(name)}",
        f"--machine={lab.addresses.nspawn_name(name)}",
        f"--hostname={name}",
        "--register=no",
        "--keep-unit",
        f"--network-bridge={lab.addresses.bridge}",
        # A node is a whole machine to Kubernetes: it mounts, makes namespaces and loads programs into the kernel.
        "--capability=all",
        "--system-call-filter=add_key keyctl bpf perf_event_open @mount @module",
        "--private-users=no",
        "--bind=/dev/kmsg",
        "--bind-ro=/lib/modules",
        "--console=read-only",
    ]


def supervise(lab_name: str, name: str) -> int:
    lab = state.require(lab_name)
    groups = cgroups.create(lab_name, name)
    Path("/lib/modules").mkdir(parents=True, exist_ok=True)
    child: subprocess.Popen[bytes] | None = None
    unplugged = False

    def unplug(*_: object) -> None:
        nonlocal unplugged
        unplugged = True
        if child:
            pull(lab_name, name, child.pid)

    signal.signal(signal.SIGTERM, unplug)
    while not unplugged:
        # An earlier lab of the same number may have died so lately that the kernel still holds its cable.
        network.remove_cable(lab, name)
        child = subprocess.Popen(nspawn_argv(lab, name), stdin=subprocess.DEVNULL, preexec_fn=lambda: _enter(groups))
        _keep_cut(lab_name, name)
        code = child.wait()
        # Whatever of the machine is still there would hold its disk.
        cgroups.kill(lab_name, name)
        network.remove_cable(lab, name)
        print(f"{name} ended with {code}", flush=True)
        if code != REBOOT:
            break
    return 0


def pull(lab: str, name: str, nspawn: int) -> None:
    """With its first process the kernel ends all processes of the machine at once."""
    for pid in [*children(nspawn), nspawn]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cgroups.kill(lab, name)


def _enter(groups: list[Path]) -> None:
    cgroups.enter(groups)
    # If the supervisor is killed, the machine has lost its plug and goes with it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _keep_cut(lab_name: str, name: str) -> None:
    """A restart makes a new cable; one that was cut before stays cut."""
    lab = state.find(lab_name)
    if lab and lab.machine(name).cut:
        interface = Path("/sys/class/net", lab.addresses.interface(name), "master")
        if wait_for(interface.exists, 10, 0.01):
            network.cut(lab, name)


def find_leader(supervisor: Process | None) -> Process | None:
    """supervisor -> nspawn -> the machine's first process, which is number 1 in its own eyes."""
    if supervisor is None or not supervisor.alive():
        return None
    for nspawn in children(supervisor.pid):
        for pid in children(nspawn):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                if len(numbers) > 1 and numbers[-1] == "1":
                    return identify(pid)
    return None
