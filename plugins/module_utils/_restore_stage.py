# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The first step of a restore on one master: all is made ready beside the present data, and nothing is touched."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record, _restore_manifest, _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import Wanted, parse_cluster, restore
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_owner import give, make_missing, owner_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_save import Saving, save
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import existing
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_earlier import at_work
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_join import make_empty
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_look import (
    Found,
    etcd_now,
    etcd_summary,
    find_etcd,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import OF_MODE, standing
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import ROOM, prove_renames, room_for
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import SERVERS, units_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import private_directory

if TYPE_CHECKING:
    from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Restore


def stage(step: Restore) -> dict[str, Any]:
    """Make the new data, and note all that the later steps have to know; of a failure nothing is left.

    :raises CareError: another run is at work, or the data cannot be made.
    """
    found = standing(step.state)
    home = os.path.join(step.host.directory, _restore_state.FOLDER, step.run)
    made = [home]  # the snapshot has been sent there
    try:
        if found != step.plan["seen"].get(step.node) and not left_behind(step):
            raise CareError(f"Another run is at work on {step.node}: it is at {found} since this one looked.")
        forget_staged(step)
        _record.private_directory(_restore_state.FOLDER, step.run, directory=step.host.directory)
        return _stage(step, home, made)
    except BaseException:
        if standing(_restore_state.load(step.host.directory)) == found:
            for path in made:
                shutil.rmtree(path, ignore_errors=True)
        raise


def left_behind(step: Restore) -> bool:
    """Whether what was staged since this run looked is of a run before it, which died while its module went on."""
    state = step.state
    if state is None or state["phase"] != "staged" or state["run"] > step.run:
        return False
    return at_work(state, step.options.controller, time.time()) is None


def _stage(step: Restore, home: str, directories: list[str]) -> dict[str, Any]:
    """All of it, below ``home`` and what is added to ``directories``."""
    etcd = step.host.look("etcd")
    found = find_etcd(etcd, step.host.look("kube-apiserver"), step.options.etcd, step.host.runner)
    flags, access = found.flags, found.access
    data_dir = flags["data-dir"]
    owner = owner_of(data_dir, found.user, found.group)
    make_missing(data_dir, owner)
    forget_unfinished(step, data_dir, ROOM)
    room = room_for(data_dir, home)
    directories.append(room)
    private_directory(room)
    prove_renames(room, data_dir)
    old = etcd_now(etcd, access)
    safety = keep_present(step) if step.options.safety else salvaged(step)
    joins = flags["name"] not in parse_cluster(step.plan["initial_cluster"])
    made = None
    manifest = None
    if joins:
        make_empty(room, step.host)
        manifest = None if etcd.unit else _restore_manifest.keep(etcd, home)
    else:
        made = new_data(step, found, home, room)
    give(os.path.join(room, "new", "member"), owner)
    step.state = {}
    step.save(
        "staged",
        run=step.run,
        begun=now(),
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
        manifest_before=manifest,
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
        etcdutl=step.options.etcdutl or etcd.etcdutl,
        allow_version_change=step.options.allow_version_change,
    )
    made: dict[str, Any] = restore(etcd.access, wanted, step.deadline, False, step.host.runner)["restored"]
    return made


def forget_staged(step: Restore) -> None:
    """Remove what runs left that never came further than staging: it is all our own, and no data of etcd's."""
    forget_unfinished(step, os.path.join(step.host.directory, _restore_state.FOLDER))
    old = step.state
    if not old or not os.path.isdir(str(old.get("home"))):
        return
    if old["phase"] != "staged":
        # Its own directory tells what became of it, when this one's state takes its place.
        _restore_state.keep(old, step.host.directory)
        return
    for path in sorted({old["home"], old["room"]}):
        if not os.path.exists(os.path.join(path, "previous")):
            shutil.rmtree(path, ignore_errors=True)


def forget_unfinished(step: Restore, parent: str, prefix: str = "") -> None:
    """Remove what runs left that were killed while they staged: no state tells of them."""
    known = {step.run, step.state["run"] if step.state else None}
    for name in os.listdir(parent) if os.path.isdir(parent) else []:
        run = name[len(prefix) :]
        if not name.startswith(prefix) or not _restore_state.is_run(run) or run in known:
            continue
        told = os.path.exists(_restore_state.path_of(step.host.directory, run))
        if not told and not os.path.exists(os.path.join(parent, name, "previous")):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)


def keep_present(step: Restore) -> str:
    """A proven snapshot of what is about to be replaced; where it is."""
    saving = Saving(step.options.safety_dir, f"before-restore-{step.run}.db", None, "auto", step.options.timeout)
    path = str(save(step.options.etcd, saving, False, step.host.runner)["snapshot"]["path"])
    step.changed = True
    return path


def salvaged(step: Restore) -> Optional[str]:
    """Where the snapshot of the present data is, when this host's was salvaged."""
    path = os.path.join(step.options.safety_dir, str(step.plan["snapshot"]["name"]))
    return path if step.plan["mode"] == "salvage" and os.path.exists(path) else None
