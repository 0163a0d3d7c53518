# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""How far a node's maintenance has come, kept on its own disk; and whether the host needs a reboot."""

from __future__ import annotations

import glob
import os
import re
import shutil
import time
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

_RECORD = "maintenance.json"
STEPS = ("begun", "drained", "worked", "returned", "finished")


# --- the record -------------------------------------------------------------------------------------------------


def load(directory: str = _record.DIRECTORY) -> Optional[dict[str, Any]]:
    """The record of the newest maintenance, or None."""
    record = _record.load(directory, _RECORD)
    if record is not None and not isinstance(record.get("steps"), dict):
        path = os.path.join(directory, _RECORD)
        raise CareError(f"The record {path} is not what this collection writes; move it away.")
    return record


def save(record: dict[str, Any], directory: str = _record.DIRECTORY) -> None:
    """Write the record to the disk."""
    _record.save(record, directory, _RECORD)


def noted(
    record: Optional[dict[str, Any]], maintenance: str, step: str, run: str, wish: Optional[dict[str, Any]], now: str
) -> dict[str, Any]:
    """The record with a step noted; that of another maintenance is history and dropped.

    :raises CareError: the step belongs to a maintenance that was never begun here.
    """
    same = record is not None and record.get("maintenance") == maintenance
    if not same and step != "begun":
        raise CareError(
            f"Maintenance {maintenance} was never begun on this host, so its step '{step}' is not noted; "
            "has another run been here meanwhile?"
        )
    if same and record is not None and step in record["steps"]:
        return record
    kept: dict[str, Any] = {"maintenance": maintenance, "wish": wish or {}, "steps": {}}
    if same and record is not None:
        kept = record
    return {**kept, "run": run, "steps": {**kept["steps"], step: now}}


# --- the boot ---------------------------------------------------------------------------------------------------


def boot_id(proc: str = "/proc") -> str:
    """Changes with every boot."""
    with open(os.path.join(proc, "sys", "kernel", "random", "boot_id"), encoding="ascii") as file:
        return file.read().strip()


def booted(proc: str = "/proc") -> float:
    """When this boot began, by today's clock."""
    with open(os.path.join(proc, "uptime"), encoding="ascii") as file:
        return round(time.time() - float(file.read().split()[0]), 2)


def reboot_done(record: Optional[dict[str, Any]], boot: str) -> bool:
    """Whether the reboot that this maintenance asked for has happened: the host is in another boot now."""
    asked = (record or {}).get("reboot")
    return asked is not None and asked["boot_id"] != boot


def reboot_reasons(runner: Runner = run, root: str = "/") -> list[str]:
    """Why the host needs a reboot, in words; empty when it does not."""
    reasons = []
    sentinel = os.path.join(root, "var/run/reboot-required")
    if os.path.exists(sentinel):
        packages = ", ".join(sorted(set(_lines(sentinel + ".pkgs"))))
        reasons.append("/var/run/reboot-required is there" + (f" ({packages})" if packages else ""))
    if _needs_restarting(runner):
        reasons.append("needs-restarting says so")
    installed = [path.rsplit("vmlinuz-", 1)[1] for path in glob.glob(os.path.join(root, "boot/vmlinuz-*"))]
    newer = newer_kernel(os.uname().release, installed)
    if newer:
        reasons.append(f"kernel {newer} is installed, {os.uname().release} runs")
    return reasons


def _needs_restarting(runner: Runner) -> bool:
    """What the Red Hat family has: a program, or only dnf's plugin, as on minimal hosts."""
    if shutil.which("needs-restarting"):
        argv = ["needs-restarting", "-r"]
    elif shutil.which("dnf"):
        argv = ["dnf", "--cacheonly", "needs-restarting", "-r"]
    else:
        return False
    done = runner(argv, timeout=120)
    # It ends with 1 when a reboot is needed, but also when dnf does not know it.
    return done.rc == 1 and "Reboot is required" in done.out + done.err


def newer_kernel(running: str, installed: list[str]) -> Optional[str]:
    """The newest installed kernel of the running one's kind, when it is newer.

    A running kernel that is not among them comes from elsewhere (a container's host), and says nothing.
    """
    if running not in installed:
        return None
    newest = max((name for name in installed if _kind(name) == _kind(running)), key=_order)
    return newest if _order(newest) > _order(running) else None


def _kind(kernel: str) -> str:
    """``6.1.0-18-cloud-amd64`` and ``6.1.0-21-cloud-amd64`` are of one kind, ``6.1.0-21-amd64`` is not."""
    return re.sub(r"[\d.]+(_\d+)?", "", kernel)  # el9 and el9_4 are one distribution


def _order(kernel: str) -> list[int]:
    version = re.split(r"\.(?:el|fc|amzn)\d", kernel)[0]  # 427.el9 is older than 427.5.1.el9_4
    return [int(number) for number in re.findall(r"\d+", version)]


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file if line.strip()]
    except OSError:
        return []
