# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lab's own network: bridge, routes that keep everything on this machine, load balancer, package server."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from pathlib import Path

from . import cgroups, paths, state
from .addresses import API_PORT, PACKAGES_PORT, Addresses
from .errors import LabError
from .processes import spawn, wait_for
from .shell import CommandFailed, run
from .state import Lab, Machine

# Five kubelets and containerds watch more files than one host's defaults allow.
LIMITS = {"fs.inotify.max_user_instances": 8192, "fs.inotify.max_user_watches": 1048576}


def firewall_rules(addresses: Addresses) -> list[list[str]]:
    """A chain and a rule each. Nothing leaves the lab, and a host that forbids forwarding does not break it."""
    bridge = addresses.bridge
    return [
        ["INPUT", "-i", bridge, "-j", "ACCEPT"],
        # Rejected, not dropped: who asks for the world learns at once that it is not there.
        ["FORWARD", "-i", bridge, "!", "-o", bridge, "-j", "REJECT"],
        ["FORWARD", "!", "-i", bridge, "-o", bridge, "-j", "REJECT"],
        ["FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"],
        # The host is the router between the nodes' pods on purpose; no shorter way is to be learned.
        ["OUTPUT", "-o", bridge, "-p", "icmp", "--icmp-type", "redirect", "-j", "DROP"],
    ]


def haproxy_config(addresses: Addresses, masters: list[Machine]) -> str:
    servers = "\n".join(f"  server {m.name} {addresses.machine(m.octet)}:{API_PORT}" for m in masters)
    return f"""global
  maxconn 4000
defaults
  mode tcp
  timeout connect 2s
  timeout client 10m
  timeout server 10m
frontend api
  bind {addresses.api}
  default_backend masters
backend masters
  option httpchk GET /readyz
  http-check expect status 200
  # Only the health question goes without verification; users' TLS passes through untouched.
  default-server check check-ssl verify none inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


def taken() -> tuple[list[str], list[str]]:
    """Names of this host's links, destinations of its routes."""
    links = [link["ifname"] for link in json.loads(run(["ip", "-j", "link"]).stdout)]
    routes = [route["dst"] for route in json.loads(run(["ip", "-j", "-4", "route"]).stdout or "[]")]
    return links, routes


def up(lab: Lab) -> None:
    """Bridge, blackholes and firewall. Everything is named by the lab's number, so down() needs no record."""
    mine = lab.addresses
    for words in (
        ["link", "add", mine.bridge, "type", "bridge"],
        ["addr", "add", f"{mine.gateway}/24", "dev", mine.bridge],
        ["link", "set", mine.bridge, "up"],
        # The more specific routes to the nodes' pods win; what has no node goes nowhere.
        ["route", "replace", "blackhole", mine.pods],
        ["route", "replace", "blackhole", mine.services],
    ):
        run(["ip", *words])
    # Forwarding on this bridge only: the host's own setting stays as it is.
    Path(f"/proc/sys/net/ipv4/conf/{mine.bridge}/forwarding").write_text("1")
    for rule in firewall_rules(mine):
        run(["iptables", "-w", "-I", *rule])
    raise_limits()


def add_route(lab: Lab, machine: Machine) -> None:
    mine = lab.addresses
    run(["ip", "route", "replace", mine.pods_of(machine.octet), "via", mine.machine(machine.octet), "dev", mine.bridge])


def down(lab: Lab) -> None:
    """Remove whatever of up() is there."""
    mine = lab.addresses
    for rule in firewall_rules(mine):
        # Twice the same rule after a half-made lab: until there is none.
        while not run(["iptables", "-w", "-D", *rule], check=False).rc:
            pass
    for destination in (mine.pods, mine.services):
        run(["ip", "route", "del", "blackhole", destination], check=False)
    if mine.bridge in taken()[0]:
        run(["ip", "link", "del", mine.bridge])


def raise_limits() -> None:
    """Raise the host's limits where they are lower; what they were is kept for the last lab that goes."""
    with state.locked(""):
        record = paths.STATE / "limits.json"
        before: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            kept = json.loads(record.read_text())
            before = kept["values"] if kept["boot_id"] == state.boot_id() else {}
        for name, wanted in LIMITS.items():
            current = int(_sysctl(name).read_text())
            if current < wanted:
                before.setdefault(name, current)
        state.write_private(record, json.dumps({"boot_id": state.boot_id(), "values": before}))
        for name, wanted in LIMITS.items():
            if int(_sysctl(name).read_text()) < wanted:
                _sysctl(name).write_text(str(wanted))


def restore_limits() -> None:
    record = paths.STATE / "limits.json"
    with contextlib.suppress(FileNotFoundError):
        kept = json.loads(record.read_text())
        if kept["boot_id"] == state.boot_id():
            for name, value in kept["values"].items():
                _sysctl(name).write_text(str(value))
        record.unlink()


def _sysctl(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def start_services(lab: Lab) -> None:
    """Load balancer and package server, on the bridge's address only."""
    groups = cgroups.create(lab.name, cgroups.HOST)
    lab.services["packages"] = spawn(
        [sys.executable, "-m", "http.server", "--bind", lab.addresses.gateway]
        + ["--directory", str(paths.repository()), str(PACKAGES_PORT)],
        lab.log("packages"),
        lambda: cgroups.enter(groups),
    )
    lab.save()
    balance(lab)
    _await_port(lab, "packages", PACKAGES_PORT)


def balance(lab: Lab) -> None:
    """(Re)start the load balancer with the masters that there are now; open connections are kept."""
    config = lab.directory / "haproxy.cfg"
    state.write_private(config, haproxy_config(lab.addresses, lab.of_role("master")))
    groups = cgroups.create(lab.name, cgroups.HOST)
    before = lab.services.get("haproxy")
    takeover = ["-sf", str(before.pid)] if before and before.alive() else []
    lab.services["haproxy"] = spawn(
        ["haproxy", "-db", "-f", config, *takeover], lab.log("haproxy"), lambda: cgroups.enter(groups)
    )
    lab.save()
    _await_port(lab, "haproxy", API_PORT)


def _await_port(lab: Lab, service: str, port: int) -> None:
    process = lab.services[service]

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((lab.addresses.gateway, port), 1):
            return True
        return not process.alive()

    if not wait_for(answers, 10) or not process.alive():
        said = lab.log(service).read_text(errors="replace").strip().splitlines()[-3:]
        raise LabError(
            f"{service} does not answer on {lab.addresses.gateway}:{port}: {' / '.join(said) or 'no reason'}."
        )


def cut(lab: Lab, name: str) -> None:
    """Pull the machine's cable: its link stays up, and nothing arrives any more."""
    _plug(lab, name, ["nomaster"])


def mend(lab: Lab, name: str) -> None:
    _plug(lab, name, ["master", lab.addresses.bridge])


def remove_cable(lab: Lab, name: str) -> None:
    """The kernel takes its time to remove the cable of a machine that is gone, and somebody may hold its namespace."""
    interface = lab.addresses.interface(name)
    if Path("/sys/class/net", interface).exists():
        run(["ip", "link", "del", interface], check=False)


def _plug(lab: Lab, name: str, words: list[str]) -> None:
    try:
        run(["ip", "link", "set", lab.addresses.interface(name), *words])
    except CommandFailed as error:
        raise LabError(f"{name} has no cable: it is powered off.", f"lab/lab power-on {name}") from error
