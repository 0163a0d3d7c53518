# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Saving a master's files in two archives: one that may travel, and one with what must not leave the host unasked."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _offline
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import ApiServer, access_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_archive import (
    digest,
    prove,
    row,
    write,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_files import Entry, gather, is_private, look
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    WholeFile,
    need_space,
    private_directory,
    refuse_open_directory,
    remove_leftovers,
    sync_directory,
)

PREFIX = "control-plane-"
KUBEADM_CONFIG = "cluster/kubeadm-config.yaml"
_KUBECONFIGS = ("/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf")
_CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dkubeadm-config"
# By name, so that nobody has to look into one to know what it holds. The private one is put in place first.
_SUFFIXES = {"private": "-private.tar", "plain": ".tar"}
_STAMP = "%Y%m%dT%H%M%SZ"
_STEM = re.compile(r"^(.+-\d{8}T\d{6}Z)(?:-private)?\.tar$")

# Both by the part of the files: plain or private.
Parts = dict[str, list[Entry]]
Rows = dict[str, list[dict[str, Any]]]
Described = dict[str, Any]


class Saving(NamedTuple):
    """What the task asks for."""

    directory: str
    paths: list[str]
    keep_last: int


def kubeadm_config(host: Host) -> tuple[Optional[Entry], Optional[str]]:
    """kubeadm's ClusterConfiguration as the cluster stores it, and why it could not be read.

    Neither when the cluster has none: not every one was made by kubeadm.
    """
    path = next(filter(os.path.isfile, _KUBECONFIGS), None)
    if path is None:
        return None, None
    try:
        server = ApiServer(access_of(_offline.read_kubeconfig(path, host.runner), path))
        with contextlib.closing(server):
            items = server.get(_CONFIG_MAP).get("items") or []
    except (CareError, ValueError) as error:
        why = error.message if isinstance(error, CareError) else str(error)
        return None, f"kubeadm's ClusterConfiguration is not in the archive, only in the snapshot of etcd: {why}"
    text = str((items[0].get("data") or {}).get("ClusterConfiguration") or "") if items else ""
    if not text:
        return None, None
    return Entry(KUBEADM_CONFIG, "file", content=text.encode(), private=is_private(text.encode(), True)), None


def divide(entries: list[Entry]) -> Parts:
    """What goes where. Directories and links go into both, so that each can be unpacked by itself."""
    private = [entry for entry in entries if entry.private or entry.kind != "file"]
    parts = {"plain": [entry for entry in entries if not entry.private]}
    return {"private": private, **parts} if any(entry.private for entry in entries) else parts


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CareError(f"The directory {directory} cannot be read: {error.strerror}.") from error


def stems(directory: str, host: str) -> list[str]:
    """The archives of a host without their endings, the newest first."""
    found = {match.group(1) for match in map(_STEM.match, _names(directory)) if match}
    return sorted((stem for stem in found if stem[: -len("-20260101T000000Z")] == PREFIX + host), reverse=True)


def present(directory: str, stem: str) -> dict[str, dict[str, Any]]:
    """The proven manifests of a stem's archives, by part.

    :raises CareError: one of them is not good.
    """
    paths = {part: os.path.join(directory, stem + suffix) for part, suffix in _SUFFIXES.items()}
    return {part: prove(path) for part, path in paths.items() if os.path.lexists(path)}


def same(parts: Rows, old: dict[str, dict[str, Any]]) -> bool:
    """Whether archives hold just this. What the API server could not tell now may be in them from before."""

    def rows(found: list[dict[str, Any]], asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        told = any(each["name"] == KUBEADM_CONFIG for each in asked)
        return [each for each in found if told or each["name"] != KUBEADM_CONFIG]

    return parts.keys() == old.keys() and all(rows(old[part]["files"], asked) == asked for part, asked in parts.items())


def _paths(rows: list[dict[str, Any]]) -> list[str]:
    return [one["name"].replace("host/", "/", 1) for one in rows if one["kind"] == "file"]


def described(directory: str, stem: str, rows: Rows, host: str, taken: str, size: Optional[int] = None) -> Described:
    """The archives of a stem for the result.

    :param size: what they would have at most; they are not written yet then.
    """
    archives = []
    for part in sorted(rows):
        path = os.path.join(directory, stem + _SUFFIXES[part])
        about = {"path": path, "name": os.path.basename(path), "private": part == "private"}
        proof = {"size": os.path.getsize(path), "sha256": digest(path)} if size is None else {"size": size}
        archives.append({**about, **proof, "files": _paths(rows[part])})
    return {"host": host, "taken": taken, "archives": archives}


def prune(directory: str, old: list[str], check_mode: bool) -> list[str]:
    """Remove the archives of these stems, and tell their names."""
    names = [stem + suffix for stem in old for suffix in _SUFFIXES.values()]
    there = [name for name in names if os.path.lexists(os.path.join(directory, name))]
    if there and not check_mode:
        for name in there:
            os.unlink(os.path.join(directory, name))
        sync_directory(directory)
    return there


def write_all(directory: str, stem: str, about: dict[str, Any], parts: Parts) -> None:
    """Write the archives of a stem, read each again, and only then put them in place."""
    with contextlib.ExitStack() as stack:
        files = []
        for part, entries in parts.items():
            file = stack.enter_context(WholeFile(os.path.join(directory, stem + _SUFFIXES[part])))
            manifest = write(file, {**about, "part": part}, entries)
            if prove(file.part) != manifest:
                raise CareError(f"What was written to {file.part} is not what is read there: look at the disk.")
            files.append(file)
        for file in files:
            file.commit()


def save(saving: Saving, check_mode: bool, host: Optional[Host] = None) -> dict[str, Any]:
    """Write the archives when they would hold something else than the newest ones. The module's state=saved."""
    host = host or Host()
    directory, name, began = saving.directory, socket.gethostname(), time.time()
    refuse_open_directory(directory)
    found = gather(look(host, saving.paths))
    config, why = kubeadm_config(host)
    entries = [*([config] if config else []), *found.entries.values()]
    if not any(entry.kind == "file" for entry in entries):
        raise CareError("This host has no file of a control plane: run this on a master.")
    warnings = [*found.left_out, *([why] if why else [])]
    parts = divide(entries)
    rows = {part: [row(entry) for entry in each] for part, each in parts.items()}
    old = stems(directory, name)
    try:
        newest = present(directory, old[0]) if old else {}
    except CareError as error:
        newest = {}
        warnings.append(f"{error.message} A new one takes its place; look at the disk.")
    if newest and same(rows, newest):
        removed = prune(directory, old[saving.keep_last :], check_mode)
        stored = {part: manifest["files"] for part, manifest in newest.items()}
        files = described(directory, old[0], stored, name, next(iter(newest.values()))["taken"])
        return {"changed": bool(removed), "files": files, "removed": removed, "warnings": warnings}
    while (stem := f"{PREFIX}{name}-{time.strftime(_STAMP, time.gmtime(began))}") in old:
        began += 1
    # A header and what fills its last block for each, and the manifest.
    size = sum(len(entry.content) + 4096 for each in parts.values() for entry in each)
    need_space(directory, size, "dir")
    too_old = old[saving.keep_last - 1 :]
    if check_mode:
        files = described(directory, stem, rows, name, iso(began), size)
    else:
        private_directory(directory)
        remove_leftovers(directory, PREFIX)
        write_all(directory, stem, {"schema": 1, "host": name, "taken": iso(began)}, parts)
        files = described(directory, stem, rows, name, iso(began))
    return {"changed": True, "files": files, "removed": prune(directory, too_old, check_mode), "warnings": warnings}


def verify(directory: str, name: Optional[str]) -> dict[str, Any]:
    """Prove one archive, or all in a directory. The module's state=verified.

    :raises CareError: naming each that is not good, or when there is none at all.
    """
    if name and (name != os.path.basename(name) or not _STEM.match(name)):
        raise CareError(f"'{name}' is not the name of an archive in {directory} (option name).")
    names = [name] if name else sorted(filter(_STEM.match, _names(directory)))
    if not names:
        raise CareError(f"There is no archive of a master's files in {directory}.")
    archives = []
    for each in names:
        path = os.path.join(directory, each)
        about = {"path": path, "name": each, "private": each.endswith(_SUFFIXES["private"])}
        try:
            manifest = prove(path)
        except CareError as error:
            archives.append({**about, "good": False, "problem": error.message})
            continue
        more = {"host": manifest["host"], "taken": manifest["taken"], "files": _paths(manifest["files"])}
        archives.append({**about, "good": True, "problem": None, "sha256": digest(path), **more})
    bad = [str(archive["problem"]) for archive in archives if not archive["good"]]
    if bad:
        raise CareError(f"{len(bad)} of {len(archives)} archives not good: {' '.join(bad)}", archives=archives)
    return {"archives": archives}
