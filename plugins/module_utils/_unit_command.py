# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a systemd unit would run: command line, environment, user. For components that do not run, so tell nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import read_text

_PROPERTIES = "LoadState,ExecStart,Environment,EnvironmentFiles,User,Group"
_ARGV = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")
_FILE = re.compile(r"^(.*?)(?: \(ignore_errors=(?:yes|no)\))?$")
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$\$")
_WHOLE_VARIABLE = re.compile(r"\$(\w+)")


class Command(NamedTuple):
    """What a unit would run."""

    argv: list[str]
    environment: dict[str, str]
    user: str = ""
    group: str = ""
    masked: bool = False

    @property
    def program(self) -> str:
        return self.argv[0] if self.argv else ""


def words(text: str) -> list[str]:
    """Words as systemd writes them; quotes that do not close are characters like others."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def environment_file(text: str) -> dict[str, str]:
    """The assignments of an EnvironmentFile."""
    found = {}
    for line in text.replace("\\\n", "").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name and name[0] not in "#;":
            found[name.strip()] = " ".join(words(value)) if value.strip()[:1] in ("'", '"') else value.strip()
    return found


def expanded(argv: list[str], environment: Mapping[str, str]) -> list[str]:
    """A command line with its variables, as systemd puts them in: ``${NAME}`` is in a word, ``$NAME`` is words."""
    found = []
    for word in argv:
        whole = _WHOLE_VARIABLE.fullmatch(word)
        if whole:
            found += words(environment.get(whole.group(1), ""))
        else:
            found.append(_VARIABLE.sub(lambda m: environment.get(m.group(1), "") if m.group(1) else "$", word))
    return found


def command_of(shown: str, files: Mapping[str, str]) -> Command:
    """Read ``systemctl show``.

    :param files: the texts of the environment files that could be read, by path.
    """
    rows: dict[str, list[str]] = {}
    for line in shown.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            rows.setdefault(name, []).append(value)
    assigned = [word for text in rows.get("Environment", []) for word in words(text) if "=" in word]
    environment = dict(word.split("=", 1) for word in assigned)
    for path in environment_files(shown):
        environment.update(environment_file(files.get(path, "")))
    commands = [found.group(1) for row in rows.get("ExecStart", []) for found in [_ARGV.search(row)] if found]
    return Command(
        argv=expanded(words(commands[-1]), environment) if commands else [],
        environment=environment,
        user="".join(rows.get("User", [])[:1]),
        group="".join(rows.get("Group", [])[:1]),
        masked=rows.get("LoadState") == ["masked"],
    )


def environment_files(shown: str) -> list[str]:
    """The paths of a unit's environment files, in order."""
    rows = [line.partition("=")[2] for line in shown.splitlines() if line.startswith("EnvironmentFiles=")]
    return [found.group(1) for row in rows for found in [_FILE.match(row)] if found and found.group(1)]


def exec_starts(text: str) -> list[str]:
    """The commands of a unit as they are written, out of what ``systemctl cat`` shows: the unit with its drop-ins."""
    found: list[str] = []
    section, whole = "", ""
    for line in text.splitlines():
        if line.lstrip()[:1] in ("#", ";"):
            continue  # also in the middle of a command
        whole += line
        if line.endswith("\\"):
            whole = whole[:-1] + " "
            continue
        name, equals, value = whole.strip().partition("=")
        if name.startswith("["):
            section = name
        elif section == "[Service]" and equals and name.strip() == "ExecStart":
            # One without a value takes those before it back.
            found = [*found, value.strip()] if value.strip() else []
        whole = ""
    return found


def read_command(unit: str, runner: Runner = run) -> Optional[Command]:
    """What the unit of this host would run, or None when systemd has no such unit."""
    try:
        done = runner(["systemctl", "show", unit, "--property", _PROPERTIES])
    except CareError:
        return None  # a host without systemd
    if done.rc != 0 or not re.search(r"^LoadState=(loaded|masked)$", done.out, re.MULTILINE):
        return None
    # One that cannot be read is an optional one; a setting that is missed by that is refused where it is needed.
    return command_of(done.out, {path: read_text(path) or "" for path in environment_files(done.out)})
