# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Where a restore of etcd stands on this host: one small file on its disk, by which a killed run is finished or undone.

A Lease cannot hold it: the restore rewinds the very database in which Leases lie.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now

FOLDER = "restore"
FILE = "state.json"
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
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


def standing(state: Optional[dict[str, Any]]) -> Optional[str]:
    """Where a host stands, in one word that no later step leaves as it is."""
    return f"{state['run']} {state['phase']} {state['updated']}" if state else None


def new_run(now: float) -> str:
    """What a plan calls a restore."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{uuid.uuid4().hex[:6]}"


def is_run(name: str) -> bool:
    """Whether that is such a name."""
    return bool(_RUN.fullmatch(name))


def path_of(directory: str = _record.DIRECTORY, run: str = "") -> str:
    """The file of the newest restore, or of an earlier one that another has taken the place of."""
    return os.path.join(directory, FOLDER, run, FILE)


def load(directory: str = _record.DIRECTORY, run: str = "") -> Optional[dict[str, Any]]:
    """The state of the newest restore on this host, or of that earlier one, or None."""
    path = path_of(directory, run)
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


def keep(state: dict[str, Any], directory: str = _record.DIRECTORY) -> None:
    """Let a restore's own directory tell what became of it, when another one's state takes its place."""
    text = json.dumps(state, indent=1, sort_keys=True) + "\n"
    _record.write_private(path_of(directory, state["run"]), text.encode())


def touched(state: Optional[dict[str, Any]], directory: str = _record.DIRECTORY) -> Optional[dict[str, Any]]:
    """The newest restore that has touched anything on this host: one that was only staged hides none."""
    if state is None or state["phase"] != "staged":
        return state
    earlier = [load(directory, name) for name in os.listdir(os.path.join(directory, FOLDER)) if is_run(name)]
    return max(filter(None, earlier), key=lambda one: str(one["updated"]), default=None)


def save(state: dict[str, Any], phase: str, directory: str = _record.DIRECTORY) -> dict[str, Any]:
    """Note on the disk that the restore has come so far, and return the state as it is now."""
    moment = now()
    state = {**state, "phase": phase, "updated": moment, "history": [*(state.get("history") or []), [phase, moment]]}
    _record.private_directory(FOLDER, directory=directory)
    _record.write_private(path_of(directory), (json.dumps(state, indent=1, sort_keys=True) + "\n").encode())
    return state
