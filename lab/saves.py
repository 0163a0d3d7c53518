# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole stopped cluster, kept by file system snapshots and brought back in seconds."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from . import cluster, inventory, machines, network, paths, pool, state
from .addresses import check_lab_name
from .errors import LabError
from .progress import Progress
from .state import Lab

# What belongs to the cluster and lies outside the machines' disks.
KEPT = ["kubeconfig", "known_hosts", "inventory.yml"]


def folder(name: str) -> Path:
    return paths.saves() / check_lab_name(name)


def names() -> list[str]:
    return sorted(path.parent.name for path in paths.saves().glob("*/save.json"))


def save(lab: Lab, name: str, progress: Progress) -> float:
    """Power off all machines, keep their disks, power on again. Returns the seconds until all nodes are Ready."""
    target = folder(name)
    if (target / "save.json").exists():
        raise LabError(f"There is a save {name} already.", f"lab/lab saves --delete {name}, or choose another name")
    started = time.time()
    on = [machine.name for machine in lab.machines.values() if machine.on]
    _power_off_all(lab)
    machines.delete_disks(target)  # a save that was broken off
    target.mkdir(parents=True, mode=0o700)
    for machine in lab.machines:
        pool.snapshot(lab.root(machine), target / machine, read_only=True)
    for kept in KEPT:
        if (lab.directory / kept).exists():
            shutil.copy2(lab.directory / kept, target / kept)
    # Last: with this file the save is whole.
    about = {"lab": lab.name, "number": lab.number, "kubernetes": lab.kubernetes, "on": on, "saved": started}
    about["machines"] = [{"name": m.name, "role": m.role, "octet": m.octet} for m in lab.machines.values()]
    state.write_private(target / "save.json", json.dumps(about, indent=1))
    progress(f"saved {len(lab.machines)} machines as {name}")
    return _start(lab, on, started)


def read(name: str) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder(name) / "save.json").read_text())
    except FileNotFoundError:
        there = ", ".join(names())
        raise LabError(f"There is no save {name}" + (f"; there is: {there}." if there else ".")) from None
    return about


def check_number(about: dict[str, Any], lab: Lab, name: str) -> None:
    """Addresses are part of certificates and of etcd, so a save lives at its number only."""
    if about["number"] != lab.number:
        raise LabError(
            f"The save {name} was made in the lab number {about['number']} and {lab.name} is number {lab.number};"
            " a cluster cannot change its addresses.",
            f"lab/lab down --name {lab.name}; lab/lab load --name {lab.name} {name}",
        )


def load(lab: Lab, name: str, progress: Progress) -> float:
    """Put the saved disks in the place of the lab's own. Returns the seconds until all nodes are Ready."""
    started = time.time()
    about = read(name)
    check_number(about, lab, name)
    _power_off_all(lab)
    machines.delete_disks(paths.labs() / lab.name)
    (paths.labs() / lab.name).mkdir(parents=True, mode=0o700)
    lab.kubernetes = about["kubernetes"]
    lab.machines = {raw["name"]: state.Machine(**raw) for raw in about["machines"]}
    for machine in lab.machines.values():
        pool.snapshot(folder(name) / machine.name, lab.root(machine.name))
        network.add_route(lab, machine)
    for kept in KEPT:
        if (folder(name) / kept).exists():
            shutil.copy2(folder(name) / kept, lab.directory / kept)
    lab.save()
    state.write_private(lab.inventory, inventory.text(lab))
    network.balance(lab)
    progress(f"{len(lab.machines)} disks are as saved")
    return _start(lab, about["on"], started)


def delete(name: str) -> None:
    read(name)
    (folder(name) / "save.json").unlink()
    machines.delete_disks(folder(name))


def _power_off_all(lab: Lab) -> None:
    for machine in lab.machines.values():
        if machine.supervisor:
            machine.supervisor.signal(15)
    for name in lab.machines:
        machines.power_off(lab, name)


def _start(lab: Lab, names: list[str], started: float) -> float:
    powered = time.time()
    for name in names:
        machines.power_on(lab, name)
    for name in names:
        machines.await_ssh(lab, name)
    cluster.await_ready(lab, 300, since=powered)
    return time.time() - started
