# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machines of a lab: their disks, and power on, off (a true cut) and restart."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from . import cgroups, network, pool, remote
from .addresses import Addresses
from .artifact import write
from .errors import LabError
from .processes import Process, spawn, wait_for
from .shell import run
from .state import Lab, Machine
from .supervisor import find_leader

BOOT_SECONDS = 90

# Kubernetes writes to control groups and kernel settings, which nspawn hands over read-only.
OPEN_SCRIPT = """#!/bin/sh
mount -o remount,rw /sys/fs/cgroup
for group in /sys/fs/cgroup/*/; do
    mountpoint -q "$group" && mount -o remount,bind,rw,nosuid,nodev,noexec "$group"
done
mount -o remount,rw /proc/sys
mount -o remount,rw /sys
exec mount --make-rshared /
"""

OPEN_UNIT = """[Unit]
Description=Control groups and kernel settings for Kubernetes
DefaultDependencies=no
Before=basic.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-open
"""

# Write verbs only, without bodies: enough to prove that nobody wrote.
AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection]
  - level: None
"""


def network_unit(addresses: Addresses, octet: int) -> str:
    # By ip, not by networkd: that one waits for udev when /sys can be written to.
    return f"""[Unit]
Description=The lab's network
DefaultDependencies=no
Before=network.target sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set lo up
ExecStart=ip link set host0 up
ExecStart=ip address replace {addresses.machine(octet)}/24 dev host0
ExecStart=ip route replace default via {addresses.gateway}
# The name server of /etc/resolv.conf, which nobody has: looking there fails at once.
ExecStart=ip route replace unreachable 192.0.2.0/24
ExecStart=sysctl -q -w net.ipv4.ip_forward=1
"""


def cni_config(addresses: Addresses, octet: int) -> str:
    """One bridge per node; the host routes between the nodes' pods."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": addresses.pods_of(octet)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "lab", "plugins": [bridge, portmap]}, indent=1)


def hosts_file(addresses: Addresses, name: str, octet: int) -> str:
    return f"127.0.0.1 localhost\n{addresses.machine(octet)} {name}\n{addresses.gateway} packages.lab\n"


def create(lab: Lab, machine: Machine, template: Path) -> None:
    """A new disk: a snapshot of the template with the machine's own names, addresses and host key."""
    root = lab.root(machine.name)
    pool.snapshot(template, root)
    mine = lab.addresses
    write(root / "etc/hostname", f"{machine.name}\n")
    write(root / "etc/machine-id", f"{uuid.uuid4().hex}\n")
    write(root / "etc/hosts", hosts_file(mine, machine.name, machine.octet))
    write(root / "etc/cni/net.d/10-lab.conflist", cni_config(mine, machine.octet))
    write(root / "etc/lab/audit-policy.yaml", AUDIT_POLICY)
    write(root / "usr/local/sbin/lab-open", OPEN_SCRIPT, 0o755)
    _unit(root, "lab-open.service", OPEN_UNIT, "basic.target")
    _unit(root, "lab-network.service", network_unit(mine, machine.octet), "sysinit.target")
    key = root / "etc/ssh/ssh_host_ed25519_key"
    for leftover in key.parent.glob("ssh_host_*"):
        leftover.unlink()
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.name, "-f", key])
    remote.trust(lab, mine.machine(machine.octet), key.with_suffix(".pub").read_text())


def _unit(root: Path, name: str, text: str, wanted_by: str) -> None:
    write(root / f"etc/systemd/system/{name}", text)
    link = root / "etc/systemd/system" / f"{wanted_by}.wants" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(f"../{name}")


def power_on(lab: Lab, name: str) -> None:
    """Start the machine's supervisor; does not wait for the machine."""
    machine = lab.machine(name)
    if machine.on:
        return
    groups = cgroups.create(lab.name, cgroups.HOST)
    command = Path(__file__).resolve().with_name("lab")
    machine.supervisor = spawn(
        [sys.executable, command, "supervise", "--name", lab.name, name],
        lab.log(name),
        lambda: cgroups.enter(groups),
    )
    lab.save()


def power_off(lab: Lab, name: str) -> None:
    """A power cut: every process of the machine is gone at once, nothing is told, nothing shut down."""
    machine = lab.machine(name)
    if machine.supervisor:
        machine.supervisor.stop(20)
    cgroups.kill(lab.name, name)
    cgroups.remove(lab.name, name)
    network.remove_cable(lab, name)
    machine.supervisor = None
    lab.save()


def await_ssh(lab: Lab, name: str, progress: Callable[[str], None] | None = None) -> None:
    """Until the machine answers as a user would ask it."""
    machine = lab.machine(name)

    def answers() -> bool:
        return not machine.on or remote.run(lab, name, ["true"], check=False, timeout=10).rc == 0

    if not wait_for(answers, BOOT_SECONDS, 0.2) or not machine.on:
        said = lab.log(name).read_text(errors="replace").strip().splitlines()[-5:]
        what = f"did not answer over SSH within {BOOT_SECONDS} s" if machine.on else "ended while it started"
        raise LabError(
            f"The machine {name} {what}. Its log, {lab.log(name)}, ends with: {' / '.join(said) or 'nothing'}"
        )
    if progress:
        progress(f"{name} answers")


def reboot(lab: Lab, name: str) -> None:
    """The machine restarts itself, as an administrator would have it do."""
    if not lab.machine(name).on:
        raise LabError(f"{name} is powered off.", f"lab/lab power-on {name}")
    before = remote.boot_id(lab, name)
    if not before:
        raise LabError(
            f"{name} cannot be reached, so it cannot restart itself.",
            f"lab/lab power-off {name}; lab/lab power-on {name}",
        )
    # The connection may be cut before it has answered.
    remote.run(lab, name, ["sudo", "systemctl", "reboot", "--no-block"], check=False, timeout=20)
    if not wait_for(lambda: remote.boot_id(lab, name) not in ("", before), 180, 0.3):
        raise LabError(f"{name} did not come back within 180 s.", f"lab/lab power-off {name}; lab/lab power-on {name}")


def delete_disks(folder: Path) -> None:
    """Delete a folder of subvolumes, with those that the machines' own systemd made inside them."""
    if not folder.is_dir():
        return
    for root in folder.iterdir():
        if root.is_dir() and not root.is_symlink():
            pool.delete(root)
        else:
            root.unlink()
    folder.rmdir()


def leader(lab: Lab, name: str) -> Process:
    """The first process of a running machine, by which its namespaces are entered."""
    found = find_leader(lab.machine(name).supervisor)
    if found is None:
        raise LabError(f"{name} is powered off.", f"lab/lab power-on {name}")
    return found
