# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which addresses and names a lab with a given number has. Pure arithmetic, so that two labs never meet."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import LabError

NUMBERS = range(32)
API_PORT = 6443
PACKAGES_PORT = 8000
FIRST_OCTET = {"master": 11, "worker": 21, "bare": 101}
LAST_OCTET = {"master": 19, "worker": 99, "bare": 199}

# The interface on the host is "vb-l<number>-<name>" and the kernel allows 15 characters.
MACHINE_NAME = re.compile(r"[a-z][a-z0-9-]{0,6}[a-z0-9]|[a-z]")
LAB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


@dataclass(frozen=True)
class Addresses:
    """Everything that follows from a lab's number."""

    number: int

    @property
    def bridge(self) -> str:
        return f"cclab{self.number}"

    @property
    def nodes(self) -> str:
        return f"10.90.{self.number}.0/24"

    @property
    def pods(self) -> str:
        return f"10.{160 + self.number}.0.0/16"

    @property
    def services(self) -> str:
        return f"10.{200 + self.number}.0.0/16"

    @property
    def gateway(self) -> str:
        """The host on the bridge: load balancer, packages, router between the nodes' pods."""
        return f"10.90.{self.number}.1"

    @property
    def api(self) -> str:
        return f"{self.gateway}:{API_PORT}"

    def machine(self, octet: int) -> str:
        return f"10.90.{self.number}.{octet}"

    def pods_of(self, octet: int) -> str:
        return f"10.{160 + self.number}.{octet}.0/24"

    def nspawn_name(self, machine: str) -> str:
        return f"l{self.number}-{machine}"

    def interface(self, machine: str) -> str:
        """The host's end of the machine's cable, as systemd-nspawn names it."""
        return f"vb-{self.nspawn_name(machine)}"


def check_lab_name(name: str) -> str:
    if not LAB_NAME.fullmatch(name):
        raise LabError(f"{name!r} cannot name a lab: use 1 to 20 lower case letters, digits and inner hyphens.")
    return name


def check_machine_name(name: str) -> str:
    if not MACHINE_NAME.fullmatch(name):
        raise LabError(
            f"{name!r} cannot name a machine: use 1 to 8 lower case letters, digits and inner hyphens, a letter first."
        )
    return name


def role_by_name(name: str) -> str:
    """cp2 is a master, w3 a worker; any other name says nothing."""
    if re.fullmatch(r"cp[0-9]+", name):
        return "master"
    return "worker" if re.fullmatch(r"w[0-9]+", name) else "bare"


def free_octet(kind: str, taken: Iterable[int]) -> int:
    """The last part of a new machine's address."""
    used = set(taken)
    for octet in range(FIRST_OCTET[kind], LAST_OCTET[kind] + 1):
        if octet not in used:
            return octet
    raise LabError(
        f"A lab has room for {LAST_OCTET[kind] - FIRST_OCTET[kind] + 1} machines of the kind {kind}, no more."
    )


def free_number(taken: Iterable[int], links: Iterable[str], routes: Iterable[str]) -> int:
    """The smallest number whose bridge and address ranges nobody has on this host.

    :param routes: destinations of the host's routes. A wider one (a default route, a company's 10.0.0.0/8)
        is no obstacle: the lab's own are more specific.
    """
    used, names = set(taken), set(links)
    known = [ipaddress.IPv4Network(route, strict=False) for route in routes if route != "default"]
    for number in NUMBERS:
        mine = Addresses(number)
        ranges = [ipaddress.IPv4Network(text) for text in (mine.nodes, mine.pods, mine.services)]
        free = number not in used and mine.bridge not in names
        if free and not any(route.subnet_of(own) for route in known for own in ranges):
            return number
    raise LabError(
        f"All {len(NUMBERS)} numbers for labs are taken on this host.", "lab/lab status --all, then lab/lab down"
    )
