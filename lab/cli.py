# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command line of the lab."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import (
    cluster,
    inventory,
    kinds,
    lifecycle,
    machines,
    network,
    pool,
    remote,
    requirements,
    saves,
    state,
    supervisor,
    workload,
)
from .addresses import check_lab_name
from .errors import LabError
from .prepare import prepare
from .progress import printer

DEFAULT_KUBERNETES = "1.34.4"
# What follows these words is for kubectl and ssh, options and all.
PASS_THROUGH = ("kubectl", "ssh")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="lab/lab", description="Real kubeadm clusters on this machine.", allow_abbrev=False
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        added.add_argument(
            "--name", default=os.environ.get("LAB_NAME", "lab"), type=check_lab_name, help="the lab ($LAB_NAME; lab)"
        )
        return added

    prepare = commands.add_parser("prepare", help="make and cache everything expensive", allow_abbrev=False)
    prepare.add_argument("--kubernetes", action="append", metavar="VERSION", help="may be given more than once")
    prepare.add_argument("--install", action="store_true", help="first install the Debian packages that are missing")

    up = command("up", "make a lab and wait until all its nodes are Ready")
    up.add_argument("--masters", type=int, default=1)
    up.add_argument("--workers", type=int, default=2)
    up.add_argument("--kubernetes", default=DEFAULT_KUBERNETES, metavar="VERSION")
    up.add_argument(
        "--fail-cgroup-v1",
        action="store_true",
        help="leave failCgroupV1 out of the kubelets' configuration: kubelet 1.35 then refuses cgroup v1",
    )
    up.add_argument(
        "--control-plane",
        choices=[kinds.STATIC_PODS, kinds.SYSTEMD],
        default=kinds.STATIC_PODS,
        help="systemd: etcd and the control plane as units on masters without kubelets, without kubeadm's ConfigMaps",
    )
    up.add_argument(
        "--etcd",
        choices=[kinds.STACKED, kinds.EXTERNAL],
        default=kinds.STACKED,
        help="external: a systemd unit on the masters, which kubeadm is told of and does not keep",
    )
    command("down", "remove a lab and everything of it, also a half-made one")
    status = command("status", "what there is, with the paths of its files")
    status.add_argument("--json", action="store_true")
    status.add_argument("--all", action="store_true", help="every lab of this host")
    for name, help_ in (("kubectl", "kubectl with the lab's admin.conf"), ("ssh", "log in to a machine as its user")):
        through = command(name, help_)
        if name == "ssh":
            through.add_argument("machine")
        through.add_argument("words", nargs="*", metavar="...")
    for name, help_ in (
        ("power-off", "cut a machine's power"),
        ("power-on", "give it back and wait until the machine answers"),
        ("reboot", "have a machine restart itself"),
        ("cut-network", "let nothing through a machine's cable any more"),
        ("mend-network", "let it through again"),
    ):
        command(name, help_).add_argument("machine")
    command("add-machine", "a machine that has not joined").add_argument("machine")
    command("save", "keep the whole cluster as it is now").add_argument("save")
    command("load", "bring a saved cluster back").add_argument("save")
    listing = commands.add_parser("saves", help="the saved clusters", allow_abbrev=False)
    listing.add_argument("--delete", metavar="SAVE")
    command("inventory", "write an Ansible inventory").add_argument("file", nargs="?", help="- for the screen")
    load = command("workload", "a web service and a probe that asks it without a pause")
    load.add_argument("action", choices=["start", "stop", "result"])
    load.add_argument("--rate", type=float, default=10.0, help="requests per second")
    load.add_argument("--limit", type=float, default=1.0, help="seconds after which no answer is a failure")
    load.add_argument("--replicas", type=int, default=2)
    # For the lab itself: stands beside a machine.
    beside = commands.add_parser("supervise")
    beside.add_argument("--name", required=True)
    beside.add_argument("machine")
    return top


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What argparse shall see of a command that passes words through, and the words."""
    if not argv or argv[0] not in PASS_THROUGH:
        return list(argv), []
    index = 1
    while index < len(argv) and argv[index].split("=")[0] in ("--name", "-h", "--help"):
        index += 2 if argv[index] == "--name" else 1
    index += argv[0] == "ssh"
    words = list(argv[index:])
    return list(argv[:index]), words[1:] if words[:1] == ["--"] else words


def main(argv: Sequence[str] | None = None) -> int:
    words, through = split(sys.argv[1:] if argv is None else argv)
    try:
        options = parser().parse_args(words)
        if os.geteuid() != 0:
            raise LabError("The lab makes machines, networks and mounts, so it must run as root.", "sudo lab/lab ...")
        code = COMMANDS[options.command](options, through)
        sys.stdout.flush()
        return code
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except BrokenPipeError:
        # Whoever read (head, less) has seen enough; nothing more is to be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("lab: broken off; what is half made is cleaned by the next up, or by lab/lab down", file=sys.stderr)
        return 130
    return 1


def _prepare(options: argparse.Namespace, _: list[str]) -> int:
    if options.install:
        requirements.install_requirements()
    prepare(options.kubernetes or [DEFAULT_KUBERNETES], printer())
    return 0


def _up(options: argparse.Namespace, _: list[str]) -> int:
    started = time.monotonic()
    kind = kinds.choose(options.control_plane, options.etcd, options.workers)
    lab = lifecycle.up(
        options.name, options.masters, options.workers, options.kubernetes, printer(), options.fail_cgroup_v1, kind
    )
    print(f"lab {lab.name}: {len(kinds.nodes(lab))} nodes Ready after {time.monotonic() - started:.1f} s")
    print(f"export KUBECONFIG={lab.kubeconfig}\nansible-playbook -i {lab.inventory} ...")
    return 0


def _down(options: argparse.Namespace, _: list[str]) -> int:
    if not lifecycle.down(options.name, printer()):
        print(f"lab: there is no lab {options.name}")
    return 0


def _status(options: argparse.Namespace, _: list[str]) -> int:
    if options.all:
        labs = state.every()
    else:
        lab = state.find(options.name)
        labs = [lab] if lab else []
        if not lab:
            state.require(options.name)
    reports = [lifecycle.status(lab) for lab in labs]
    if options.json:
        print(json.dumps(reports if options.all else reports[0], indent=1))
    else:
        print("\n\n".join(map(_table, reports)) or "There is no lab.")
    return 0


def _table(report: dict[str, Any]) -> str:
    words = kinds.Kind(report["control_plane"], report["etcd"]).words
    lines = [f"lab {report['name']}: {report['phase']}, Kubernetes {report['kubernetes']}, {report['api']}"]
    lines[0] += f", {words}" if words else ""
    for name, machine in report["machines"].items():
        ready = {True: "Ready", False: "not Ready", None: "no node"}[machine["ready"]]
        cut = "" if machine["network"] == "whole" else ", network cut"
        lines.append(f"  {name:8} {machine['role']:6} {machine['address']:14} power {machine['power']}{cut}, {ready}")
    return "\n".join([*lines, f"  kubeconfig {report['kubeconfig']}", f"  inventory  {report['inventory']}"])


def _kubectl(options: argparse.Namespace, words: list[str]) -> int:
    argv = cluster.kubectl_argv(state.require(options.name), *words)
    os.execv(argv[0], argv)


def _ssh(options: argparse.Namespace, words: list[str]) -> int:
    remote.interactive(state.require(options.name), options.machine, words)
    return 255


def _power(options: argparse.Namespace, _: list[str]) -> int:
    """power-off, power-on, reboot, cut-network, mend-network and add-machine of one machine."""
    started = time.monotonic()
    with state.locked(options.name):
        lab, name = state.require(options.name), options.machine
        if options.command == "add-machine":
            what = f"is there at {lifecycle.add_machine(lab, name)}"
        else:
            what = _switch(lab, name, options.command)
    print(f"{name} {what} after {time.monotonic() - started:.1f} s")
    return 0


def _switch(lab: state.Lab, name: str, command: str) -> str:
    machine = lab.machine(name)
    if command in ("cut-network", "mend-network"):
        machine.cut = command == "cut-network"
        lab.save()
        if machine.on:
            (network.cut if machine.cut else network.mend)(lab, name)
        return "is cut off" if machine.cut else "is connected"
    if command == "power-off":
        machines.power_off(lab, name)
        return "has no power"
    if command == "reboot":
        machines.reboot(lab, name)
        return "has restarted"
    machines.power_on(lab, name)
    if machine.cut:
        return "is on; its network is cut, so it cannot be asked"
    machines.await_ssh(lab, name)
    return "answers"


def _save(options: argparse.Namespace, _: list[str]) -> int:
    with state.locked(options.name):
        seconds = saves.save(state.require(options.name), options.save, printer())
    print(f"saved as {options.save}; all nodes Ready again after {seconds:.1f} s")
    return 0


def _load(options: argparse.Namespace, _: list[str]) -> int:
    lab, seconds = lifecycle.load(options.name, options.save, printer())
    print(f"lab {lab.name} is as saved in {options.save}; all nodes Ready after {seconds:.1f} s")
    return 0


def _saves(options: argparse.Namespace, _: list[str]) -> int:
    with pool.held():
        if options.delete:
            saves.delete(options.delete)
        for name in saves.names():
            about = saves.read(name)
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(about["saved"]))
            print(f"{name}: {len(about['machines'])} machines of the lab {about['lab']}, {about['kubernetes']}, {when}")
    return 0


def _inventory(options: argparse.Namespace, _: list[str]) -> int:
    lab = state.require(options.name)
    text = inventory.text(lab)
    if options.file == "-":
        print(text, end="")
        return 0
    path = Path(options.file) if options.file else lab.inventory
    path.write_text(text)
    print(path)
    return 0


def _workload(options: argparse.Namespace, _: list[str]) -> int:
    with state.locked(options.name):
        lab = state.require(options.name)
        if options.action == "start":
            workload.start(lab, options.rate, options.limit, options.replicas, printer())
            return 0
        report = workload.stop(lab) if options.action == "stop" else workload.result(lab)
    print(json.dumps(report, indent=1))
    for problem in report["problems"]:
        print(f"lab: {problem}", file=sys.stderr)
    return 0 if report["ok"] else 1


def _supervise(options: argparse.Namespace, _: list[str]) -> int:
    return supervisor.supervise(options.name, options.machine)


COMMANDS = {
    "prepare": _prepare,
    "up": _up,
    "down": _down,
    "status": _status,
    "kubectl": _kubectl,
    "ssh": _ssh,
    "save": _save,
    "load": _load,
    "saves": _saves,
    "inventory": _inventory,
    "workload": _workload,
    "supervise": _supervise,
    **dict.fromkeys(["power-off", "power-on", "reboot", "cut-network", "mend-network", "add-machine"], _power),
}
