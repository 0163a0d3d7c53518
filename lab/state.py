# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is known about each lab, written step by step, so that also a half-made lab can be taken down."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import paths
from .addresses import Addresses
from .artifact import write
from .errors import LabError
from .processes import Process, identify

MAKING, UP = "making", "up"


@dataclass
class Machine:
    name: str
    role: str  # master, worker, or bare: has not joined
    octet: int
    supervisor: Process | None = None
    cut: bool = False

    @property
    def on(self) -> bool:
        return self.supervisor is not None and self.supervisor.alive()


@dataclass
class Lab:
    name: str
    number: int
    kubernetes: str
    boot_id: str
    phase: str = MAKING
    maker: Process | None = None
    machines: dict[str, Machine] = field(default_factory=dict)
    services: dict[str, Process] = field(default_factory=dict)
    # Absolute, so that the lab is found again whatever $LAB_CACHE says later.
    cache: str = ""

    @property
    def addresses(self) -> Addresses:
        return Addresses(self.number)

    @property
    def directory(self) -> Path:
        return paths.state_dir(self.name)

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory.yml"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    def log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    def root(self, machine: str) -> Path:
        """The machine's root file system, as the host sees it."""
        return paths.labs() / self.name / machine

    def machine(self, name: str) -> Machine:
        try:
            return self.machines[name]
        except KeyError:
            raise LabError(
                f"The lab {self.name} has no machine {name}; it has {', '.join(self.machines) or 'none'}."
            ) from None

    def address(self, name: str) -> str:
        return self.addresses.machine(self.machine(name).octet)

    def of_role(self, role: str) -> list[Machine]:
        return [machine for machine in self.machines.values() if machine.role == role]

    def save(self) -> None:
        write_private(self.directory / "state.json", json.dumps(dataclasses.asdict(self), indent=1))


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write_private(path: Path, text: str) -> None:
    write(path, text, 0o600)


def parse(text: str) -> Lab:
    raw: dict[str, Any] = json.loads(text)

    def process(value: dict[str, int] | None) -> Process | None:
        return Process(**value) if value else None

    machines = {
        name: Machine(**{**value, "supervisor": process(value.get("supervisor"))})
        for name, value in raw.pop("machines").items()
    }
    services = {name: Process(**value) for name, value in raw.pop("services").items()}
    return Lab(**{**raw, "maker": process(raw.get("maker")), "machines": machines, "services": services})


def find(name: str) -> Lab | None:
    try:
        return parse((paths.state_dir(name) / "state.json").read_text())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise LabError(
            f"{paths.state_dir(name)}/state.json cannot be read as a lab's state ({error}).",
            f"lab/lab down --name {name} with the lab's own version, or remove that file by hand",
        ) from error


def require(name: str) -> Lab:
    """A lab that is up."""
    lab = find(name)
    if lab is None:
        others = ", ".join(other.name for other in every())
        raise LabError(
            f"There is no lab {name}" + (f" (there is: {others})." if others else "."), f"lab/lab up --name {name}"
        )
    if why := unusable(lab, boot_id()):
        raise LabError(f"The lab {name} is no more: {why}.", f"lab/lab up --name {name} cleans it and makes a new one")
    return lab


def unusable(lab: Lab, boot: str) -> str:
    """Why a lab of the state file is not there any more; empty when it is (or is being made)."""
    if lab.boot_id != boot:
        return "this host has been restarted since"
    if lab.phase == MAKING:
        return "" if lab.maker and lab.maker.alive() else "the command that was making it has died"
    if lab.services and not any(process.alive() for process in lab.services.values()):
        return "its load balancer and package server are gone"
    return ""


def every() -> list[Lab]:
    if not paths.STATE.is_dir():
        return []
    names = sorted(path.parent.name for path in paths.STATE.glob("*/state.json"))
    return [lab for lab in map(find, names) if lab is not None]


def myself() -> Process:
    return identify(os.getpid())


@contextlib.contextmanager
def locked(name: str, patience: float = 60.0) -> Iterator[None]:
    """One command at a time for a lab, or (name "") for what all labs share."""
    path = paths.RUN / (f"lab-{name}.lock" if name else "all.lock")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + patience
    with path.open("a+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    raise LabError(
                        f"Another command has worked on {name or 'the labs'} for {patience:g} s"
                        f" (process {lock.read().strip() or 'unknown'})."
                    ) from None
                time.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
