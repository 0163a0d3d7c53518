# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A unit is told whom its etcd joins: by a drop-in beside it, which goes when the member has joined.

etcd takes a setting from its command line or its environment, and does not start when both have it; with a
configuration file it takes nothing from either. So each setting is overruled where it stands, and the user's own unit,
environment files and configuration file stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record, _restore_hold
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_config_file import flags_of, read_config
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import settings
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_owner import label_of, set_label
from ansible_collections.clustercare.kubeadm.plugins.module_utils._unit_command import (
    Command,
    exec_starts,
    read_command,
    words,
)

_PREFIXES = "@-:+!|"  # what systemd takes before a program
_TEXT = """# Written by clustercare.kubeadm: the etcd of this unit joins a restored cluster. Removed when it has joined.
[Service]
# It is ready when it has all data.
TimeoutStartSec=infinity
{lines}
"""


class Told(NamedTuple):
    """What is laid beside a unit: the drop-in, variables, and a configuration file that takes the place of ``over``."""

    drop_in: str
    variables: str = ""
    config: str = ""
    over: str = ""


def wanted(cluster: str) -> dict[str, str]:
    """The settings of a member that joins."""
    return {"initial-cluster": cluster, "initial-cluster-state": "existing"}


def overruled(unit: str, command: Command, starts: list[str], changes: Mapping[str, str]) -> Told:
    """The drop-in by which etcd has other settings on its command line and in its environment.

    :param starts: the commands of the unit as they are written.
    :raises CareError: there is no command that could be added to.
    """
    on_line = settings(command.argv)
    flags = [f"--{name}={value}" for name, value in changes.items() if name in on_line]
    variables = [
        f"ETCD_{name.upper().replace('-', '_')}={value}\n" for name, value in changes.items() if name not in on_line
    ]
    lines = []
    if variables:
        # A later file overrules earlier ones, and any file what Environment= says.
        lines.append(f"EnvironmentFile={_escaped(_restore_hold.told_path(unit, 'env'))}")
    if flags:
        if len(starts) != 1 or words(starts[0])[0].lstrip(_PREFIXES) != command.program:
            raise CareError(f"{unit} does not start etcd by just one ExecStart=, so no flag can be added to it.")
        # Of a flag that is there twice etcd takes the last one.
        lines += ["ExecStart=", f"ExecStart={starts[0]} {_escaped(' '.join(flags))}"]
    return Told(_TEXT.format(lines="\n".join(lines)), "".join(variables))


def replaced(unit: str, path: str, runner: Runner, changes: Mapping[str, str]) -> Told:
    """The drop-in by which etcd finds another configuration file in the place of its own.

    :raises CareError: the file cannot be read, or would say something else.
    """
    before = read_config(path, runner)
    after = {**before, **changes}
    if flags_of(after) != {**flags_of(before), **changes}:
        raise CareError(f"{path} cannot be told whom to join: it is written in a way that was not expected.")
    ours = _restore_hold.told_path(unit, "json")
    line = f"BindReadOnlyPaths={_escaped(ours)}:{_escaped(path)}"
    return Told(_TEXT.format(lines=line), config=json.dumps(after, indent=1) + "\n", over=path)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def plan(unit: str, cluster: str, runner: Runner) -> Told:
    """How this unit can be told; nothing is written.

    :raises CareError: it cannot.
    """
    command = read_command(unit, runner)
    if command is None or os.path.basename(command.program) != "etcd":
        program = command.program if command else "nothing"
        raise CareError(
            f"{unit} starts etcd by a program of its own ({program}), so it cannot be told whom to join: let its "
            "ExecStart= be etcd itself, or use all_members."
        )
    now = settings(command.argv, command.environment)
    config = now.get("config-file")
    whole = flags_of(read_config(config, runner)) if config else now
    found = [name for name in ("discovery", "discovery-endpoints", "discovery-srv") if whole.get(name)]
    if found:
        raise CareError(
            f"The etcd of {unit} finds its members by --{found[0]}, with which none can join a cluster: give it "
            "--initial-cluster instead, or use all_members."
        )
    if config:
        return replaced(unit, config, runner, wanted(cluster))
    done = runner(["systemctl", "cat", unit])
    if done.rc != 0:
        raise CareError(f"systemd does not show the text of {unit}: {done.last_words}.")
    return overruled(unit, command, exec_starts(done.out), wanted(cluster))


def tell(unit: str, cluster: str, runner: Runner) -> None:
    """Let the next start of this unit be that of a member that joins ``cluster``, and prove that systemd has it so.

    :raises CareError: it cannot be told; nothing is left of the try.
    """
    if says(unit, cluster, runner):
        return
    _restore_hold.forget([unit], runner)
    told = plan(unit, cluster, runner)
    path = _restore_hold.told_path(unit, "conf")
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if told.variables:
        _record.write_private(_restore_hold.told_path(unit, "env"), told.variables.encode())
    if told.config:
        _like(told.over, _restore_hold.told_path(unit, "json"), told.config.encode())
    _record.write_private(path, told.drop_in.encode(), mode=0o644)
    _record.sync_directory(os.path.dirname(os.path.dirname(path)))
    done = runner(["systemctl", "daemon-reload"])
    if done.rc != 0 or not says(unit, cluster, runner):
        _restore_hold.forget([unit], runner)
        why = done.last_words if done.rc else "another file of the unit overrules it"
        raise CareError(f"systemd does not take what {path} says of {unit}: {why}.")


def _like(model: str, path: str, content: bytes) -> None:
    """Write a file that whoever may read ``model`` may read, too."""
    about = os.stat(model)
    _record.write_private(path, content, mode=about.st_mode & 0o777)
    os.chown(path, about.st_uid, about.st_gid)
    set_label(path, label_of(model))


def says(unit: str, cluster: str, runner: Runner) -> bool:
    """Whether the next start of this unit would be that of a member that joins ``cluster``."""
    command = read_command(unit, runner)
    now = settings(command.argv, command.environment) if command else {}
    if not now.get("config-file"):
        return wanted(cluster).items() <= now.items()
    ours = _restore_hold.told_path(unit, "json")
    shown = runner(["systemctl", "show", unit, "--property", "BindReadOnlyPaths"]).out
    return f"{ours}:{now['config-file']}" in shown and wanted(cluster).items() <= (_read_json(ours) or {}).items()


def _read_json(path: str) -> Optional[dict[str, str]]:
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        found: dict[str, str] = json.load(file)
        return found
    return None
