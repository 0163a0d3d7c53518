# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Ansible inventory of a lab. Its options live here, never in the project's own ansible.cfg."""

from __future__ import annotations

import json
import shlex

from . import paths, remote
from .kubeadm import IGNORED_ERRORS
from .state import Lab, Machine


def text(lab: Lab) -> str:
    """YAML by hand: groups masters and workers (and bare, when there are machines that have not joined)."""
    options = ["-F", "/dev/null", *remote.ssh_options(lab.known_hosts)]
    variables = {
        "ansible_user": remote.USER,
        "ansible_ssh_private_key_file": str(paths.ssh_key()),
        "ansible_ssh_common_args": shlex.join(options),
        "ansible_python_interpreter": "/usr/bin/python3",
        "upgrade_ignore_preflight_errors": IGNORED_ERRORS,
    }
    lines = [f"# The lab {lab.name}, written by lab/lab; it goes with the lab.", "all:", "  vars:"]
    lines += [f"    {name}: {json.dumps(value)}" for name, value in variables.items()]
    lines.append("  children:")
    for group, role in (("masters", "master"), ("workers", "worker"), ("bare", "bare")):
        members = lab.of_role(role)
        if members or role != "bare":
            lines += [f"    {group}:", *_hosts(lab, members)]
    return "\n".join(lines) + "\n"


def _hosts(lab: Lab, members: list[Machine]) -> list[str]:
    if not members:
        return ["      hosts: {}"]
    return ["      hosts:"] + [f"        {m.name}: {{ansible_host: {lab.address(m.name)}}}" for m in members]
