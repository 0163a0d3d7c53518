# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The first step of a restore on one master: all is made ready beside the present data, and nothing is touched."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record, _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import Wanted, parse_cluster, restore
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_owner import give, make_missing, owner_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_save import Saving, save
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import SIDECAR, existing
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_earlier import at_work
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_join import make_empty
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_look import (
    Found,
    etcd_now,
    etcd_summary,
    find_etcd,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import OF_MODE, settled
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import ROOM, prove_renames, room_for
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import SERVERS, units_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import private_directory

if TYPE_CHECKING:
    from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Restore

_SAFETY = "before-restore-{}.db"
_RUN = re.compile(r"^\d{8}T\d{6}Z-[0-9a-f]{6}$")


def stage(step: Restore) -> dict[str, Any]:
    """Make the new data, and note all that the later steps have to know; whole, or nothing of it is left."""
    state = step.state
    if state and state["run"] == step.run:
        return {"state": state}
    now = state["run"] if state else None
    if now != step.plan["seen"].get(step.node) and not left_behind(step):
        raise CareError(f"Another run is at work on {step.node}: {now} was begun since this one looked.")
    home = os.path.join(step.host.directory, _restore_state.FOLDER, step.run)
    made = [home]
    try:
        forget_staged(step)
        return make(step, home, made)
    except BaseException:
        remove(made, safety_of(step))
        raise


def left_behind(step: Restore) -> bool:
    """Whether what was staged since this run looked is of a run before it, which died while its module went on."""
    state = step.state
    if state is None or state["phase"] != "staged" or state["run"] > step.run:
        return False
    return at_work(state, step.options.controller, time.time()) is None


def make(step: Restore, home: str, places: list[str]) -> dict[str, Any]:
    """Make all of it.

    :param places: is told of each directory that is this run's alone.
    """
    _record.private_directory(_restore_state.FOLDER, step.run, directory=step.host.directory)
    before = settled(step.state)
    etcd = step.host.look("etcd")
    found = find_etcd(etcd, step.host.look("kube-apiserver"), step.options.etcd, step.host.runner)
    flags, access = found.flags, found.access
    data_dir = flags["data-dir"]
    owner = owner_of(data_dir, found.user, found.group)
    make_missing(data_dir, owner)
    room = room_for(data_dir, home)
    if room != home:
        places.append(room)
        forget_rooms(data_dir, os.path.dirname(home))
    private_directory(room)
    prove_renames(room, data_dir)
    old = etcd_now(etcd, access)
    safety = keep_present(step) if step.options.safety else salvaged(step)
    joins = flags["name"] not in parse_cluster(step.plan["initial_cluster"])
    made: Optional[dict[str, Any]] = None
    if joins:
        make_empty(room, etcd)
    else:
        made = new_data(step, found, home, room)
    give(os.path.join(room, "new", "member"), owner)
    step.state = {}
    step.save(
        "staged",
        run=step.run,
        begun=_record.now(),
        node=step.node,
        snapshot=step.plan["snapshot"],
        initial_cluster=step.plan["initial_cluster"],
        token=step.plan["token"],
        bump_revision=step.plan["bump_revision"],
        mode=step.plan["mode"],
        **{name: step.plan.get(name) for name in OF_MODE},
        joins=joins,
        revision=int(step.plan["snapshot"]["revision"]) + int(step.plan["bump_revision"]),
        member=flags["name"],
        peer_url=flags["initial-advertise-peer-urls"].split(",")[0],
        data_dir=data_dir,
        room=room,
        home=home,
        had_data=os.path.isdir(os.path.join(data_dir, "member")),
        old_cluster_id=old["cluster_id"],
        lost=not etcd_summary(old)["quorum"],
        access=list(access),
        kubeconfig=step.options.kubeconfig,
        manifests_dir=step.host.manifests_dir(),
        units=units_of(step.host, ["etcd", *SERVERS]),
        safety=safety,
        # Until something is stopped, that is what has happened to this host.
        before={name: value for name, value in before.items() if name != "before"} if before else None,
    )
    return step.shown(restored=made, safety=safety)


def new_data(step: Restore, etcd: Found, home: str, room: str) -> dict[str, Any]:
    """The new data out of the snapshot, beside the present one."""
    snapshot = os.path.join(home, "snapshot.db")
    found = existing(snapshot)
    if found is None or found["sha256"] != step.plan["snapshot"]["sha256"]:
        raise CareError(f"{snapshot} on {step.node} is not the snapshot that was proven on the controller.")
    wanted = Wanted(
        snapshot=snapshot,
        data_dir=os.path.join(room, "new"),
        name=etcd.flags["name"],
        peer_url=etcd.flags["initial-advertise-peer-urls"].split(",")[0],
        initial_cluster=step.plan["initial_cluster"],
        token=step.plan["token"],
        bump_revision=step.plan["bump_revision"],
        etcdutl=etcd.etcdutl,
        allow_version_change=step.options.allow_version_change,
    )
    made: dict[str, Any] = restore(etcd.access, wanted, step.deadline, False, step.host.runner)["restored"]
    return made


def unstage(step: Restore) -> dict[str, Any]:
    """Take away what was staged, since it failed elsewhere: then nothing at all has happened to this host."""
    state = step.state
    if not state or state["run"] != step.run or state["phase"] != "staged":
        return {"state": state}
    forget(state)
    step.state = state["before"]
    _restore_state.put(step.state, step.host.directory)
    return step.shown()


def forget(state: dict[str, Any]) -> None:
    """Remove all that was staged; a snapshot of the present data too, unless it was salvaged."""
    safety = str(state["safety"] or "")
    own = os.path.basename(safety) == _SAFETY.format(state["run"])
    remove([state["home"], state["room"]], safety if own else "")


def remove(places: list[str], safety: str = "") -> None:
    """Remove what staging has made: it is all our own, and no data of etcd's."""
    for path in sorted(set(places)):
        inside = os.listdir(path) if os.path.isdir(path) else []
        if not any(name.startswith(("previous", "failed")) for name in inside):
            shutil.rmtree(path, ignore_errors=True)
    for path in (safety, safety + SIDECAR) if safety else ():
        with contextlib.suppress(OSError):
            os.unlink(path)


def forget_staged(step: Restore) -> None:
    """Remove what runs left that never came further than staging."""
    old = step.state
    if old and old["phase"] == "staged":
        forget(old)
    elif old and os.path.isdir(str(old.get("home"))):
        # Its own directory tells what became of it, when this one's state takes its place.
        path = os.path.join(old["home"], _restore_state.FILE)
        _record.write_private(path, (json.dumps(old, indent=1, sort_keys=True) + "\n").encode())
    folder = os.path.join(step.host.directory, _restore_state.FOLDER)
    kept = {step.run, (settled(old) or {}).get("run")}
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        # A run that was killed in the middle of staging has left no word at all.
        if _RUN.match(name) and name not in kept and not os.path.exists(os.path.join(path, _restore_state.FILE)):
            remove([path])


def forget_rooms(data_dir: str, folder: str) -> None:
    """The same beside data that is a file system of its own: of a run that has no directory any more."""
    for name in os.listdir(data_dir):
        if name.startswith(ROOM) and not os.path.isdir(os.path.join(folder, name[len(ROOM) :])):
            remove([os.path.join(data_dir, name)])


def safety_of(step: Restore) -> str:
    """Where the snapshot of the present data is put by this run; empty when it takes none here."""
    return os.path.join(step.options.safety_dir, _SAFETY.format(step.run)) if step.options.safety else ""


def keep_present(step: Restore) -> str:
    """A proven snapshot of what is about to be replaced; where it is."""
    name = os.path.basename(safety_of(step))
    saving = Saving(step.options.safety_dir, name, None, "auto", step.options.timeout)
    return str(save(step.options.etcd, saving, False, step.host.runner)["snapshot"]["path"])


def salvaged(step: Restore) -> Optional[str]:
    """Where the snapshot of the present data is, when this host's was salvaged."""
    path = os.path.join(step.options.safety_dir, str(step.plan["snapshot"]["name"]))
    return path if step.plan["mode"] == "salvage" and os.path.exists(path) else None
