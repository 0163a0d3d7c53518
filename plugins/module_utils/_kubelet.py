# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The kubelet of this host: its unit, the process that really runs, its flags, and whether it is stale."""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import ask
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import Process, is_roots, named

FLAGS_FILE = "/var/lib/kubelet/kubeadm-flags.env"  # the only one that kubeadm itself cleans of removed flags
CONFIG_FILE = "/var/lib/kubelet/config.yaml"
_PEOPLES_FILES = ("/etc/default/kubelet", "/etc/sysconfig/kubelet")
_DROP_INS = (
    "/etc/systemd/system/kubelet.service.d",
    "/run/systemd/system/kubelet.service.d",
    "/usr/local/lib/systemd/system/kubelet.service.d",
    "/usr/lib/systemd/system/kubelet.service.d",
    "/lib/systemd/system/kubelet.service.d",
)
_ASSIGNMENT = re.compile(r"^\s*(?:Environment=|export\s+)?[\"']?[A-Za-z_]\w*=")
_VERSION_WORD = re.compile(r"\bv?(\d+\.\d+\.\d+[-+~.\w]*)")


class Unit(NamedTuple):
    """What systemd knows of the kubelet."""

    main_pid: int
    needs_reload: bool
    fragment: str
    drop_ins: list[str]
    environment_files: list[str]
    restarts: int = 0  # by systemd itself since it was last started on purpose


def parse_unit(shown: str) -> Unit:
    """Read ``systemctl show``; properties may repeat."""
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        name, _equals, value = line.partition("=")
        found.setdefault(name, []).append(value)
    files = [value.rsplit(" (ignore_errors", 1)[0].strip() for value in found.get("EnvironmentFiles", []) if value]
    return Unit(
        main_pid=int((found.get("MainPID") or ["0"])[0] or 0),
        needs_reload=(found.get("NeedDaemonReload") or [""])[0] == "yes",
        fragment=(found.get("FragmentPath") or [""])[0],
        drop_ins=(found.get("DropInPaths") or [""])[0].split(),
        environment_files=files,
        restarts=int((found.get("NRestarts") or ["0"])[0] or 0),
    )


def look_at_unit(runner: Runner) -> Unit:
    """Ask systemd, and add the drop-ins that it has not read yet."""
    properties = "MainPID,NeedDaemonReload,FragmentPath,DropInPaths,EnvironmentFiles,NRestarts"
    unit = parse_unit(runner(["systemctl", "show", "kubelet.service", "--property", properties]).out)
    on_disk = sorted(os.path.realpath(path) for folder in _DROP_INS for path in glob.glob(f"{folder}/*.conf"))
    return unit._replace(drop_ins=list(dict.fromkeys([os.path.realpath(path) for path in unit.drop_ins] + on_disk)))


def sources(unit: Unit) -> list[str]:
    """The files that give the kubelet its flags, each once."""
    files = [FLAGS_FILE, *_PEOPLES_FILES, *unit.environment_files, *filter(None, [unit.fragment]), *unit.drop_ins]
    return [path for path in dict.fromkeys(files) if os.path.isfile(path)]


def flags_of_argv(argv: Sequence[str]) -> list[tuple[str, Optional[str]]]:
    """Flags and values of a command line: ``--a=b``, ``--a b`` and ``--a``."""
    flags: list[tuple[str, Optional[str]]] = []
    words = list(argv)
    for index, word in enumerate(words):
        if not word.startswith("--") or word == "--":
            continue
        flag, equals, value = word.partition("=")
        following = words[index + 1] if index + 1 < len(words) else "--"
        if equals:
            flags.append((flag, value))
        elif following.startswith(("-", "$")):
            flags.append((flag, None))
        else:
            flags.append((flag, following))
    return flags


def flags_of_text(text: str) -> list[tuple[str, Optional[str]]]:
    """Flags in an environment file or a unit file; comments do not count."""
    flags: list[tuple[str, Optional[str]]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith(("#", ";")) or "--" not in line:
            continue
        value = _ASSIGNMENT.sub("", line, count=1).strip()
        try:
            words = shlex.split(value)
        except ValueError:  # the closing quote of Environment="NAME=..." is left over
            words = value.replace('"', " ").replace("'", " ").split()
        flags += flags_of_argv([part for word in words for part in word.split()])
    return flags


def flags(texts: dict[str, str], running: Sequence[str]) -> list[dict[str, Any]]:
    """Every flag that the kubelet has or would get, with the file that sets it; ``process`` when no file does."""
    rows: list[dict[str, Any]] = []
    for path, text in texts.items():
        for flag, value in flags_of_text(text):
            rows.append({"flag": flag, "value": value, "source": path, "cleaned_by_kubeadm": path == FLAGS_FILE})
    known = {row["flag"] for row in rows}
    for flag, value in flags_of_argv(running):
        if flag not in known:
            rows.append({"flag": flag, "value": value, "source": "process", "cleaned_by_kubeadm": False})
    return rows


def flag_value(rows: list[dict[str, Any]], flag: str) -> Optional[str]:
    """The value that wins: the last one, as on a command line."""
    values = [row["value"] for row in rows if row["flag"] == flag and row["value"] is not None]
    return values[-1] if values else None


def running_kubelet(table: list[Process], unit: Unit) -> Optional[Process]:
    """The unit's own process, else the newest program of that name."""
    kubelets = named(table, "kubelet")
    for process in kubelets:
        if process.pid == unit.main_pid:
            return process
    return kubelets[-1] if kubelets else None


def same_binary(process: Process, path: str) -> bool:
    """Whether the process runs the very file that is installed now; a package upgrade puts another one in its place."""
    try:
        ours, installed = os.stat(f"/proc/{process.pid}/exe"), os.stat(path)
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (installed.st_dev, installed.st_ino)


def why_stale(started: float, same_file: bool, needs_reload: bool, changed: dict[str, float]) -> list[str]:
    """Reasons for which a restart would make a difference.

    :param changed: modification time of each file that the kubelet reads at its start.
    """
    reasons = [] if same_file else ["the installed kubelet is another file than the running one"]
    if needs_reload:
        reasons.append("systemd has not read the changed unit files")
    reasons += [f"{path} is newer than the process" for path, when in sorted(changed.items()) if when > started]
    return reasons


def changed_times(paths: Sequence[str]) -> dict[str, float]:
    """Modification times of those that are there."""
    return {path: os.stat(path).st_mtime for path in paths if os.path.exists(path)}


def version_in(said: str) -> Optional[str]:
    """``Kubernetes v1.34.4`` -> ``1.34.4``."""
    found = _VERSION_WORD.search(said)
    return found.group(1) if found else None


def said_version(argv: Sequence[str], runner: Runner) -> Optional[str]:
    """The version that a program prints; None when it cannot be run, or fails.

    A process is known by the name that it gives itself, which any user's may do: then the file has to be root's.
    """
    if argv[0].startswith("/proc/") and not is_roots(argv[0]):
        return None
    try:
        done = runner(list(argv), timeout=10)
    except CareError:
        return None
    return version_in(done.out) if done.rc == 0 else None


def restart(runner: Runner, timeout: float) -> None:
    """Start it anew from the files as they are now.

    :raises CareError: systemd does not do that.
    """
    for argv in (["systemctl", "daemon-reload"], ["systemctl", "restart", "kubelet.service"]):
        done = runner(argv, timeout=timeout)
        if done.rc != 0:
            raise CareError(f"{' '.join(argv)} fails: {done.last_words}")


def installed_path() -> Optional[str]:
    """Where the kubelet is installed."""
    path = shutil.which("kubelet", path=os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/opt/bin")
    return os.path.realpath(path) if path else None


def healthz_of(config: dict[str, Any]) -> Optional[tuple[str, int]]:
    """Where the kubelet tells that it is well; None when that is switched off."""
    port = int(config.get("healthzPort", 10248))
    address = config.get("healthzBindAddress") or "127.0.0.1"
    return (("127.0.0.1" if address in ("0.0.0.0", "::") else address), port) if port else None


def healthz(where: Optional[tuple[str, int]]) -> Optional[str]:
    """Ask the kubelet's own health port; None when it is well, or switched off."""
    return ask(*where, "/healthz") if where else None
