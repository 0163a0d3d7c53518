# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lab from nothing to a cluster whose nodes are all Ready, and back to nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from . import (
    by_hand,
    cgroups,
    cluster,
    inventory,
    kinds,
    machines,
    network,
    paths,
    pool,
    remote,
    requirements,
    saves,
    state,
    template,
)
from .addresses import check_lab_name, check_machine_name, free_number, free_octet, role_by_name
from .errors import LabError
from .kinds import Kind
from .progress import Progress
from .state import Lab, Machine


def up(
    name: str,
    masters: int,
    workers: int,
    kubernetes: str,
    progress: Progress,
    fail_cgroup_v1: bool = False,
    kind: Kind = Kind(),  # noqa: B008
) -> Lab:
    """A new lab. Returns when all nodes are Ready."""
    if masters < 1 or workers < 0:
        raise LabError("A cluster has at least one master, and not less than no worker.")
    with state.locked(name):
        _begin(name, progress)
        with pool.held():
            disk = template.template(kubernetes)
            lab = _allocate(name, kubernetes)
        network.up(lab)
        for role, prefix, count in (("master", "cp", masters), ("worker", "w", workers)):
            for number in range(1, count + 1):
                _new_machine(lab, f"{prefix}{number}", role, disk)
        if kind.etcd == kinds.SYSTEMD:
            by_hand.furnish(lab, kind, progress)
        network.start_services(lab)
        for machine in lab.machines:
            machines.power_on(lab, machine)
        progress(f"{len(lab.machines)} machines are starting")
        if kind.control_plane == kinds.SYSTEMD:
            by_hand.form(lab, progress, fail_cgroup_v1)
        else:
            endpoints = by_hand.form_etcd(lab, progress) if kind.etcd == kinds.SYSTEMD else []
            cluster.form(lab, progress, fail_cgroup_v1, endpoints)
        cluster.await_ready(lab)
        _finish(lab)
    return lab


def load(name: str, save: str, progress: Progress) -> tuple[Lab, float]:
    """A saved cluster in the lab's place, or as a lab that was not there. Returns it and the seconds that it took."""
    with state.locked(name):
        with pool.held():
            about = saves.read(save)
        lab = state.find(name)
        if lab is None or state.unusable(lab, state.boot_id()):
            _begin(name, progress)
            lab = _allocate(name, about["kubernetes"], about["number"])
            network.up(lab)
            network.start_services(lab)
        saves.check_number(about, lab, save)
        lab.phase, lab.maker = state.MAKING, state.myself()
        lab.save()
        seconds = saves.load(lab, save, progress)
        _finish(lab)
    return lab, seconds


def _begin(name: str, progress: Progress) -> None:
    """Everything that can be in the way is found before anything is made."""
    check_lab_name(name)
    requirements.check()
    for other in state.every():
        why = state.unusable(other, state.boot_id())
        if why and other.name == name:
            progress(f"cleaning up the lab {other.name}: {why}")
            remove(other)
        elif why:
            with state.locked(other.name):
                again = state.find(other.name)
                if again and state.unusable(again, state.boot_id()):
                    progress(f"cleaning up the lab {other.name}: {why}")
                    remove(again)
    if state.find(name):
        raise LabError(f"The lab {name} is up already.", f"lab/lab status --name {name}, or lab/lab down --name {name}")


def _allocate(name: str, kubernetes: str, number: int | None = None) -> Lab:
    with state.locked(""):
        labs = {lab.number: lab.name for lab in state.every()}
        links, routes = network.taken()
        if number is None:
            number = free_number(labs, links, routes)
        elif number in labs:
            raise LabError(
                f"The save needs the addresses of the lab {labs[number]}.", f"lab/lab down --name {labs[number]}"
            )
        lab = Lab(name, number, kubernetes, state.boot_id(), maker=state.myself(), cache=str(paths.cache()))
        lab.save()
    pool.hold(f"lab-{name}")
    return lab


def _new_machine(lab: Lab, name: str, role: str, disk: Path) -> Machine:
    kind = role_by_name(name) if role == "bare" else role
    machine = Machine(name, role, free_octet(kind, (other.octet for other in lab.machines.values())))
    lab.machines[name] = machine
    lab.save()
    machines.create(lab, machine, disk)
    network.add_route(lab, machine)
    return machine


def _finish(lab: Lab) -> None:
    state.write_private(lab.inventory, inventory.text(lab))
    lab.phase, lab.maker = state.UP, None
    lab.save()


def add_machine(lab: Lab, name: str) -> str:
    """A machine with everything but a cluster. Returns its address."""
    check_machine_name(name)
    if name in lab.machines:
        raise LabError(f"The lab {lab.name} has a machine {name} already.")
    _new_machine(lab, name, "bare", template.template(lab.kubernetes))
    # A future master is behind the load balancer from the start: it counts when it answers.
    network.balance(lab)
    machines.power_on(lab, name)
    machines.await_ssh(lab, name)
    state.write_private(lab.inventory, inventory.text(lab))
    return lab.address(name)


def down(name: str, progress: Progress) -> bool:
    """Remove a lab, whole or half-made. Returns whether there was one."""
    with state.locked(name, 5):
        lab = state.find(name)
        if lab is None:
            return False
        remove(lab)
        progress(f"the lab {name} is gone")
    return True


def remove(lab: Lab) -> None:
    """Everything of a lab; what is not there is passed over."""
    if lab.cache and Path(lab.cache) != paths.cache():
        os.environ["LAB_CACHE"] = lab.cache
    if lab.boot_id == state.boot_id():
        for machine in lab.machines.values():
            if machine.supervisor:
                machine.supervisor.signal(15)
        for service in lab.services.values():
            service.signal(15)
    cgroups.kill(lab.name)
    cgroups.remove(lab.name)
    network.down(lab)
    if paths.pool_file().exists():
        with pool.held():
            machines.delete_disks(paths.labs() / lab.name)
        pool.release(f"lab-{lab.name}")
    for name in lab.machines:
        leftover = Path("/run/systemd/nspawn/propagate", lab.addresses.nspawn_name(name))
        with contextlib.suppress(OSError):
            leftover.rmdir()
    shutil.rmtree(lab.directory, ignore_errors=True)
    with state.locked(""):
        if not state.every():
            network.restore_limits()
            with contextlib.suppress(OSError):
                paths.STATE.rmdir()


def status(lab: Lab) -> dict[str, Any]:
    """What a test or a person wants to know, as data."""
    why = state.unusable(lab, state.boot_id())
    kind = kinds.of(lab)
    ready = cluster.ready_nodes(lab) if not why and lab.kubeconfig.exists() else {}
    return {
        "name": lab.name,
        "number": lab.number,
        "phase": f"dead: {why}" if why else lab.phase,
        "kubernetes": lab.kubernetes,
        "control_plane": kind.control_plane,
        "etcd": kind.etcd,
        "cgroup": cgroups.version(),
        "api": f"https://{lab.addresses.api}",
        "nodes": lab.addresses.nodes,
        "pods": lab.addresses.pods,
        "services": lab.addresses.services,
        "packages": f"http://{lab.addresses.gateway}",
        "kubeconfig": str(lab.kubeconfig),
        "inventory": str(lab.inventory),
        "ssh_user": remote.USER,
        "ssh_key": str(paths.ssh_key()),
        "known_hosts": str(lab.known_hosts),
        "logs": str(lab.directory / "logs"),
        "machines": {
            machine.name: {
                "role": machine.role,
                "address": lab.address(machine.name),
                "power": "on" if machine.on else "off",
                "network": "cut" if machine.cut else "whole",
                "ready": ready.get(machine.name),
                "root": str(lab.root(machine.name)),
            }
            for machine in lab.machines.values()
        },
    }
