# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The archive of a master's files: a tar that says in its first member what all the others must be, and the proof.

Behind its end lies the SHA-256 of all before, as in etcd's snapshots. tar does not read that far.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import sums
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_files import Entry
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import WholeFile

MANIFEST = "MANIFEST.json"
_TYPES = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "directory": tarfile.DIRTYPE}
_MOST = 16 << 20  # no manifest is longer, and no file


class BrokenArchive(CareError):
    """An archive that is not what was written."""


def row(entry: Entry) -> dict[str, Any]:
    """What the manifest says of one entry. When it was changed last is no part of it: a copy is the same thing."""
    about = {"name": entry.name, "kind": entry.kind, "mode": f"{entry.mode:04o}", "uid": entry.uid, "gid": entry.gid}
    if entry.kind == "link":
        return {**about, "target": entry.target}
    if entry.kind == "directory":
        return about
    return {**about, "size": len(entry.content), "sha256": hashlib.sha256(entry.content).hexdigest()}


def write(file: WholeFile, about: dict[str, Any], entries: Iterable[Entry]) -> dict[str, Any]:
    """Write the archive into ``file`` and return its manifest, which begins with ``about``."""
    entries = list(entries)
    manifest = {**about, "files": [row(entry) for entry in entries]}
    text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    sink = _Sink(file)
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for entry in (Entry(MANIFEST, "file", content=text), *entries):
            info = tarfile.TarInfo(entry.name)
            info.type = _TYPES[entry.kind]
            info.mode, info.mtime, info.linkname = entry.mode, entry.mtime, entry.target
            info.uid, info.gid, info.uname, info.gname = entry.uid, entry.gid, entry.owner, entry.group
            info.size = len(entry.content)
            tar.addfile(info, io.BytesIO(entry.content))
    file.write(sink.sha256.digest())
    file.sync()
    return manifest


class _Sink(io.RawIOBase):
    """The one method of a file that a tar stream is written with."""

    def __init__(self, file: WholeFile) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self._file.write(data)
        return len(data)


def _entries(tar: tarfile.TarFile) -> Iterator[Entry]:
    for info in tar:
        kind = next((name for name, letter in _TYPES.items() if info.type == letter), "other")
        content = b""
        if kind == "file":
            if info.size > _MOST:
                raise ValueError(f"{info.name} is too big")
            reader = tar.extractfile(info)
            content = reader.read() if reader else b""
        yield Entry(info.name, kind, info.mode, info.uid, info.gid, content=content, target=info.linkname)


def prove(path: str) -> dict[str, Any]:
    """Read all of an archive and compare it with its manifest, which is returned.

    :raises BrokenArchive: it is not whole, or not what was written.
    """
    try:
        whole = sums(path)
        if whole["body"] != whole["tail"]:
            raise ValueError("the SHA-256 at its end is not that of its data")
        with tarfile.open(path, "r:") as tar:
            found = _entries(tar)
            first = next(found, None)
            if first is None or first.name != MANIFEST:
                raise ValueError("it does not begin with its manifest")
            manifest = json.loads(first.content)
            rows = [row(entry) for entry in found]
    except FileNotFoundError as error:
        raise CareError(f"There is no {path}.") from error
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise BrokenArchive(f"{path} is no good archive of a master's files: {error}.") from error
    if not isinstance(manifest, dict) or rows != manifest.get("files"):
        raise BrokenArchive(f"{path} is no good archive of a master's files: its files are not those of its manifest.")
    return manifest


def digest(path: str) -> str:
    """The SHA-256 of a whole file."""
    return str(sums(path)["sha256"])
