# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Where a restore of etcd stands on this host: one small file on its disk, by which a killed run is finished or undone.

A Lease cannot hold it: the restore rewinds the very database in which Leases lie.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

FOLDER = "restore"
FILE = "state.json"
# How far a restore has come on a host. What ends in -ing was begun and may be half done.
PHASES = (
    "staged",
    "armed",
    "stopping",
    "stopped",
    "swapping",
    "swapped",
    "starting",
    "started",
    "agreed",
    "joining",
    "joined",
    "serving",
    "finished",
    "done",
)
# What only the mode seed_and_join knows of a run: all members, whom they join, and where its clients reach that one.
OF_MODE = ("members", "seed", "seed_url")
ROLLING_BACK = "rolling_back"
ROLLED_BACK = "rolled_back"
DEAD_MAN = "dead man"


def rank(phase: str) -> int:
    """How far that is; what was rolled back is at the very beginning."""
    return PHASES.index(phase) if phase in PHASES else -1


def reached(state: dict[str, Any], phase: str) -> bool:
    """Whether a host has come so far, or further."""
    return rank(state["phase"]) >= rank(phase)


def is_open(state: Optional[dict[str, Any]]) -> bool:
    """Whether a restore was begun on the host that is neither at its end nor undone; staging alone changes nothing."""
    return bool(state) and state is not None and state["phase"] not in ("staged", "done", ROLLED_BACK)


def settled(state: Optional[dict[str, Any]]) -> Optional[dict[str, Any]]:
    """The restore that has changed the host last: what was only staged since has not."""
    return state.get("before") if state and state["phase"] == "staged" else state


def of_run(state: Optional[dict[str, Any]], run: str) -> Optional[dict[str, Any]]:
    """What the host knows of a run, also when another one was staged since; else its newest state."""
    before = settled(state)
    return before if before and before["run"] == run else state


def path_of(directory: str = _record.DIRECTORY) -> str:
    return os.path.join(directory, FOLDER, FILE)


def load(directory: str = _record.DIRECTORY) -> Optional[dict[str, Any]]:
    """The state of the newest restore on this host, or None."""
    path = path_of(directory)
    try:
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CareError(f"The restore's state {path} cannot be read ({error}); look at it, move it away.") from error
    if not isinstance(state, dict) or not {"run", "phase"} <= set(state):
        raise CareError(f"The restore's state {path} is not what this collection writes; move it away.")
    return state


def save(state: dict[str, Any], phase: str, directory: str = _record.DIRECTORY) -> dict[str, Any]:
    """Note on the disk that the restore has come so far, and return the state as it is now."""
    now = _record.now()
    state = {**state, "phase": phase, "updated": now, "history": [*(state.get("history") or []), [phase, now]]}
    _record.private_directory(FOLDER, directory=directory)
    put(state, directory)
    return state


def put(state: Optional[dict[str, Any]], directory: str = _record.DIRECTORY) -> None:
    """Let the disk say just that; None is a host without a restore."""
    path = path_of(directory)
    if state is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    _record.write_private(path, (json.dumps(state, indent=1, sort_keys=True) + "\n").encode())
