# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Machines are reached as users reach theirs: SSH, a plain user with a key, host keys checked."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from . import paths, shell, state
from .state import Lab

USER = "lab"


def ssh_options(known_hosts: Path) -> list[str]:
    return ["-o", f"UserKnownHostsFile={known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"] + [
        "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5",
    ]  # fmt: skip


def argv(lab: Lab, name: str, *options: str) -> list[str]:
    """The command that logs in to a machine; the user's own SSH configuration has no say."""
    own = ["-F", "/dev/null", "-i", str(paths.ssh_key()), *ssh_options(lab.known_hosts)]
    return ["ssh", *own, *options, f"{USER}@{lab.address(name)}"]


def run(
    lab: Lab, name: str, command: Sequence[str], *, check: bool = True, timeout: float | None = None
) -> shell.Result:
    """Run a command on a machine; passing the timeout counts as a failure to connect when check is off."""
    words = [*argv(lab, name, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"), shlex.join(command)]
    try:
        return shell.run(words, check=check, timeout=timeout)
    except shell.CommandFailed as error:
        if check:
            raise
        return error.result


def interactive(lab: Lab, name: str, command: Sequence[str]) -> None:
    """Become the SSH client; does not return. The words are joined as ssh itself joins them."""
    terminal = [] if command else ["-t"]
    words = [*argv(lab, name, "-o", "LogLevel=ERROR", *terminal), *command]
    os.execvp(words[0], words)


def boot_id(lab: Lab, name: str) -> str:
    """Changes with every start of the machine; empty when it does not answer."""
    return run(lab, name, ["cat", "/proc/sys/kernel/random/boot_id"], check=False, timeout=10).stdout.strip()


def trust(lab: Lab, address: str, public_key: str) -> None:
    """The lab made the machine's host key, so it knows it without asking the network."""
    try:
        known = lab.known_hosts.read_text().splitlines()
    except FileNotFoundError:
        known = []
    kind, key = public_key.split()[:2]
    lines = [line for line in known if line.split(" ")[0] != address] + [f"{address} {kind} {key}"]
    state.write_private(lab.known_hosts, "\n".join(lines) + "\n")
