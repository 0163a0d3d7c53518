# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The data directory of one member out of a snapshot, with etcd's own etcdutl. Nothing that exists is touched."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_about import images
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd, discover
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_inside import inspect
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_member import plain_url
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_owner import PRIVATE, give, owner_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import (
    etcd_of,
    existing,
    refuse_etcd,
    without_text,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_tools import (
    find_tool,
    tool_of_image,
    tool_version,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import MANIFESTS
from ansible_collections.clustercare.kubeadm.plugins.module_utils._record import DIRECTORY
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    need_space,
    private_directory,
    refuse_open_directory,
    sync_directory,
    write_whole,
)

RECORD = ".json"
# etcd writes its log in files of 64 MB, and one in advance.
_LOG = 128 << 20
# Tools that know --bump-revision, by their minor.
_BUMP = {(3, 4): 27, (3, 5): 10}


class Wanted(NamedTuple):
    """What the task asks for; what is None is found out from this host's etcd or its manifest."""

    snapshot: str
    data_dir: str
    name: Optional[str]
    peer_url: Optional[str]
    initial_cluster: Optional[str]
    token: Optional[str]
    bump_revision: int
    etcdutl: Optional[str]
    allow_version_change: bool


class Seat(NamedTuple):
    """The member that is to be made."""

    name: str
    peer_url: str
    initial_cluster: str
    token: Optional[str]


def parse_cluster(written: str) -> dict[str, list[str]]:
    """``cp1=https://...,cp2=https://...`` as names with their peer URLs.

    :raises CareError: when it is not that.
    """
    found: dict[str, list[str]] = {}
    for pair in written.split(","):
        name, equals, url = pair.strip().partition("=")
        if not equals or not name:
            raise CareError(
                f"'{pair}' is no part of a cluster; write it like cp1=https://10.0.0.11:2380 (option initial_cluster)."
            )
        found.setdefault(name, []).append(plain_url(url))
    return found


def choose_seat(wanted: Wanted, name: Optional[str], peer_url: Optional[str]) -> Seat:
    """Who the member is.

    :param name: what this host's etcd says about itself, like ``peer_url``.
    """
    name = wanted.name or name
    peer_url = wanted.peer_url or peer_url
    if not name or not peer_url:
        raise CareError(
            "Neither a running etcd nor its manifest says what this host's member is called and where its peers reach "
            "it: name both (options member_name and peer_url)."
        )
    peer_url = plain_url(peer_url)
    cluster = wanted.initial_cluster or f"{name}={peer_url}"
    members = parse_cluster(cluster)
    # etcdutl would take a space for a part of the name.
    cluster = ",".join(f"{one}={url}" for one, urls in members.items() for url in urls)
    if peer_url not in members.get(name, []):
        raise CareError(
            f"initial_cluster does not have this member as {name}={peer_url}, but only {cluster}: etcd would not start."
        )
    if len(members) > 1 and not wanted.token:
        raise CareError(
            "Several members are restored together, so all of them need the same token (option "
            "initial_cluster_token), another one at each restore: else members of different restores could take each "
            "other for theirs."
        )
    return Seat(name, peer_url, cluster, wanted.token)


def refuse_versions(inside: dict[str, Any], tool: Version, bump: int, allowed: bool) -> Optional[str]:
    """Why this tool must not restore this snapshot, or None."""
    refusal = refuse_etcd(inside, tool, "etcdutl here is", None if allowed else "allow_version_change")
    if refusal:
        return refusal
    if bump and tool.patch < _BUMP.get(tool.series, 0 if tool.series > (3, 5) else 1 << 30):
        return (
            f"etcdutl {tool} cannot raise the revision (needs 3.4.27, 3.5.10 or newer). Copy a newer one of the same "
            "minor to the host and name it (etcdutl, of a restore etcd_restore_etcdutl). Where only a directory is "
            "made, bump_revision=0 does without; everything that watches the API has to be restarted afterwards then."
        )
    return None


def arguments(tool: str, snapshot: str, seat: Seat, token: str, bump: int, directory: str) -> list[str]:
    """The whole command line."""
    raised = [f"--bump-revision={bump}", "--mark-compacted"] if bump else []
    return [
        tool,
        "snapshot",
        "restore",
        snapshot,
        f"--name={seat.name}",
        f"--initial-cluster={seat.initial_cluster}",
        f"--initial-cluster-token={token}",
        f"--initial-advertise-peer-urls={seat.peer_url}",
        f"--data-dir={directory}",
        *raised,
    ]


def database(directory: str) -> str:
    return os.path.join(directory, "member", "snap", "db")


def prove_directory(directory: str, revision: int, seat: Seat) -> dict[str, Any]:
    """Prove that a new data directory has all of the snapshot, at the revision it should have.

    :raises CareError: when it does not.
    """
    path = database(directory)
    try:
        with BoltFile(path) as file:
            file.check()
            inside = inspect(file)
        logs = [name for name in os.listdir(os.path.join(directory, "member", "wal")) if name.endswith(".wal")]
    except OSError as error:
        raise CareError(f"etcdutl left no whole data directory: {path} cannot be read ({error.strerror}).") from error
    if inside["revision"] != revision:
        raise CareError(
            f"The new database is at revision {inside['revision']}, but should be at {revision}; it is not used."
        )
    if not logs:
        raise CareError(f"etcdutl left no write-ahead log in {directory}/member/wal; it is not used.")
    wanted = parse_cluster(seat.initial_cluster)
    made = {member["name"]: [plain_url(url) for url in member["peer_urls"]] for member in inside["members"]}
    if made != wanted:
        raise CareError(f"The new database has the members {made}, but should have {wanted}; it is not used.")
    return inside


def same_as_before(wanted: Wanted, seat: Seat, sha256: str) -> Optional[dict[str, Any]]:
    """The record of a data directory that was made of just this before, or None when there is nothing there.

    :raises CareError: when something else is there.
    """
    if not os.path.lexists(wanted.data_dir):
        return None
    try:
        with open(wanted.data_dir + RECORD, encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
        before = (record["sha256"], record["name"], record["initial_cluster"], record["bump_revision"])
        asked = (sha256, seat.name, seat.initial_cluster, wanted.bump_revision)
        if before == asked and seat.token in (None, record["token"]):
            prove_directory(wanted.data_dir, record["revision"], seat)
            return record
    except (OSError, ValueError, KeyError, CareError):
        record = {}
    raise CareError(
        f"{wanted.data_dir} exists already and is left alone: give the new data directory another name "
        "(option data_dir)."
    )


@contextlib.contextmanager
def _workshop(data_dir: str) -> Iterator[str]:
    """A directory that is not there yet, in one of ours beside the final place; whatever is left in it is removed."""
    path = data_dir + ".part"
    new = os.path.join(path, "new")
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise CareError(f"{path} cannot be made: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if set(os.listdir(path)) - {"new"}:
            raise CareError(f"{path} is in the way: move it away.")
        # What a run left there that was killed.
        shutil.rmtree(new, ignore_errors=True)
        try:
            yield new
        finally:
            shutil.rmtree(new, ignore_errors=True)
            os.rmdir(path)
    except BlockingIOError as error:
        raise CareError(f"{path} is being written by somebody else: wait for it to end.") from error
    finally:
        os.close(lock)


def _own_images(runner: Runner) -> list[str]:
    """The images of this host's etcd and API server, also while their manifests are put aside."""
    aside = [os.path.join(DIRECTORY, "services", name) for name in ("etcd", "kube-apiserver")]
    return [image for directory in (MANIFESTS, *aside) for image in images(directory, runner).values() if image]


@contextlib.contextmanager
def _etcdutl(
    wanted: Optional[str], pid: Optional[int], minor: Optional[Version], runner: Runner
) -> Iterator[tuple[str, Version]]:
    """The program and its version: as asked for, beside etcd, on the host, or in containerd's image of etcd.

    Before 3.6 etcdctl does the same with the same words, and old images have nothing else.
    """
    with contextlib.ExitStack() as stack:

        def of_image(name: str) -> Optional[str]:
            return stack.enter_context(tool_of_image(name, minor, runner, _own_images(runner)))

        tool = wanted or find_tool("etcdutl", pid) or of_image("etcdutl")
        # A host's own etcdctl is whatever its distribution has.
        tool = tool or (None if pid else of_image("etcdctl")) or find_tool("etcdctl", pid)
        if not tool:
            raise CareError(
                "There is no etcdutl: not in etcd's container, not on this host, and containerd has no image of etcd. "
                "Copy it out of an etcd image of the cluster's version, and name it (etcdutl, of a restore "
                "etcd_restore_etcdutl)."
            )
        version = parse(tool_version(tool, runner))
        if os.path.basename(tool) == "etcdctl" and version.series > (3, 5):
            raise CareError(f"There is only {tool} {version}, which no longer restores: name an etcdutl.")
        yield tool, version


def _run_etcdutl(words: list[str], snapshot: str, deadline: Deadline, runner: Runner) -> None:
    try:
        done = runner(words, timeout=max(1.0, deadline.left), env={"ETCDCTL_API": "3"})
    except TimedOut as error:
        raise TimedOut(
            f"etcdutl had not restored {snapshot} after {deadline.seconds:g} s and was stopped; give it more time with "
            f"option {deadline.option}.",
            timed_out=True,
        ) from error
    if done.rc:
        raise CareError(f"etcdutl could not restore {snapshot}: {done.last_words}")


def _make(record: dict[str, Any], seat: Seat, tool: str, like: str, deadline: Deadline, runner: Runner) -> None:
    """Make what ``record`` tells of, give it to whoever owns ``like``, and write the record down beside it."""
    began = time.monotonic()
    path, snapshot = record["data_dir"], record["snapshot"]
    private_directory(os.path.dirname(path))
    with _workshop(path) as new:
        words = arguments(tool, snapshot, seat, record["token"], record["bump_revision"], new)
        _run_etcdutl(words, snapshot, deadline, runner)
        prove_directory(new, record["revision"], seat)
        if os.path.isdir(like):
            give(new, owner_of(like)._replace(mode=PRIVATE))
        record["seconds"] = round(time.monotonic() - began, 1)
        write_whole(path + RECORD, json.dumps(record, indent=2, sort_keys=True).encode() + b"\n")
        os.rename(new, path)
        sync_directory(os.path.dirname(path))


def restore(
    access: Access, wanted: Wanted, deadline: Deadline, check_mode: bool, runner: Runner = run
) -> dict[str, Any]:
    """Make the directory. What the module etcd_snapshot does for state=restored."""
    if not os.path.isabs(wanted.data_dir):
        raise CareError(f"'{wanted.data_dir}' is no absolute path for the new data directory (option data_dir).")
    snapshot = existing(wanted.snapshot)
    if not snapshot:
        raise CareError(f"There is no snapshot {wanted.snapshot} (options dir and name).")
    try:
        etcd: Optional[Etcd] = discover(access)
    except CareError:
        etcd = None  # Then the options have to say it all.
    flags = etcd.flags if etcd else {}
    urls = flags.get("initial-advertise-peer-urls", "")
    seat = choose_seat(wanted, etcd.name if etcd else None, urls.split(",")[0] or None)
    before = same_as_before(wanted, seat, snapshot["sha256"])
    if before:
        return {"restored": before, "snapshot": without_text(snapshot)}
    parent = os.path.dirname(wanted.data_dir)
    with _etcdutl(wanted.etcdutl, etcd.pid if etcd else None, etcd_of(snapshot), runner) as (tool, version):
        refusal = refuse_versions(snapshot, version, wanted.bump_revision, wanted.allow_version_change)
        if refusal:
            raise CareError(f"Nothing was restored. {refusal}")
        need_space(parent, snapshot["size"] + _LOG, "data_dir")
        refuse_open_directory(parent)
        record = {
            **seat._asdict(),
            "data_dir": wanted.data_dir,
            "snapshot": wanted.snapshot,
            "sha256": snapshot["sha256"],
            "token": seat.token or f"restore-{uuid.uuid4()}",
            "bump_revision": wanted.bump_revision,
            "revision": snapshot["revision"] + wanted.bump_revision,
            "etcdutl": str(version),
        }
        if not check_mode:
            _make(record, seat, tool, etcd.data_dir if etcd else "", deadline, runner)
    return {"changed": True, "restored": record, "snapshot": without_text(snapshot)}
