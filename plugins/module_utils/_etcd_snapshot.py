# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A snapshot as a file with its sidecar, and the proof that it is good: the same wherever it lies."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_inside import Records, inspect, pem_sha256
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse_or_none
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import write_whole

SIDECAR = ".json"
CA_CERT = "/etc/kubernetes/pki/ca.crt"
_DIGEST = 32
_BLOCK = 512
# Big pieces: each one waits for its turn in the interpreter.
_READ = 4 << 20


def sums(path: str) -> dict[str, Any]:
    """The SHA-256 of the whole file, and of all but its last 32 bytes beside those 32 bytes."""
    size = os.path.getsize(path)
    body = hashlib.sha256()
    with open(path, "rb") as file:
        left = max(0, size - _DIGEST)
        while left:
            data = file.read(min(_READ, left))
            if not data:
                break
            body.update(data)
            left -= len(data)
        tail = file.read()
    whole = body.copy()
    whole.update(tail)
    return {"sha256": whole.hexdigest(), "body": body.digest(), "tail": tail}


def prove(path: str) -> dict[str, Any]:
    """Prove that ``path`` is a whole, undamaged snapshot, and read what is in it.

    The SHA-256 at its end agrees, every page in use can be read and lies where it belongs, and it has a member.

    :raises CareError: when it is not, saying why.
    """
    try:
        return _prove(path)
    except OSError as error:
        raise CareError(f"The snapshot {path} cannot be read: {error.strerror}.") from error


def _prove(path: str) -> dict[str, Any]:
    size = os.path.getsize(path)
    if size % _BLOCK != _DIGEST:
        raise BrokenFile(
            f"{path} is no whole snapshot: its {size} bytes do not end with a SHA-256 (a copied database has none)."
        )
    # Hashing leaves the interpreter to others, so both go on at the same time.
    with ThreadPoolExecutor(max_workers=1) as pool:
        reading = pool.submit(_read_all, path, size - _DIGEST)
        found = sums(path)
    if found["body"] != found["tail"]:
        raise BrokenFile(f"{path} is damaged: the SHA-256 at its end is not that of its data.")
    inside = reading.result()
    if not inside["members"]:
        raise BrokenFile(f"{path} has no etcd member in it: it is no etcd snapshot, or one of an empty database.")
    return {"size": size, "sha256": found["sha256"], **inside}


def _read_all(path: str, size: int) -> dict[str, Any]:
    records = Records()
    with BoltFile(path, size) as file:
        pages = file.check(b"key", records.take)
        return {"pages": pages, **inspect(file), **records.found()}


def ca_sha256(path: str = CA_CERT) -> Optional[str]:
    """The cluster's identity: the SHA-256 of its CA certificate (DER). None when there is no such file."""
    try:
        with open(path, encoding="ascii") as file:
            return pem_sha256(file.read())
    except (OSError, ValueError):
        return None


def default_name(member: str, now: float) -> str:
    """``etcd-<member>-<time in UTC>.db``: names sort by time."""
    return f"etcd-{member}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}.db"


def check_name(name: str) -> None:
    if not re.match(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", name) or name.endswith((SIDECAR, ".part")):
        raise CareError(
            f"'{name}' cannot be the name of a snapshot: use letters, digits and . _ + - only, "
            "and another ending than .json and .part (option name)."
        )


def taken_at(said: dict[str, Any]) -> Optional[float]:
    """When a sidecar says that its snapshot was begun; None when it does not, or writes times in another way."""
    try:
        return epoch(str(said.get("taken")))
    except ValueError:
        return None


def write_sidecar(path: str, snapshot: dict[str, Any]) -> None:
    """Write down beside the snapshot ``path`` what is known of it."""
    write_whole(path + SIDECAR, json.dumps(snapshot, indent=2, sort_keys=True).encode() + b"\n")


def read_sidecar(path: str) -> dict[str, Any]:
    """What was written beside the snapshot ``path`` when it was taken; empty when nothing was.

    :raises CareError: when something lies there that cannot be read.
    """
    try:
        with open(path + SIDECAR, encoding="utf-8") as file:
            said = json.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CareError(f"{path}{SIDECAR} beside the snapshot cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CareError(
            f"{path}{SIDECAR} beside the snapshot cannot be read, as it is damaged or cut off ({error}): move it away. "
            "The snapshot can be proven without it."
        ) from error
    if not isinstance(said, dict):
        raise CareError(f"{path}{SIDECAR} beside the snapshot does not describe one.")
    return said


def existing(path: str) -> Optional[dict[str, Any]]:
    """The proven snapshot that already lies at ``path``, with its sidecar's words, or None.

    :raises CareError: when something lies there that is no good snapshot, or another one than the sidecar says.
    """
    if not os.path.lexists(path):
        return None
    proof = prove(path)
    said = read_sidecar(path)
    if said and said.get("sha256") != proof["sha256"]:
        raise CareError(
            f"{path} is not the snapshot that {path}{SIDECAR} describes: move both away, or take another name."
        )
    if taken_at(said) is None:
        said.pop("taken", None)
    return {**said, **proof, "ca_sha256": said.get("ca_sha256") or proof["root_ca_sha256"], "path": path}


def etcd_of(snapshot: dict[str, Any]) -> Optional[Version]:
    """The etcd that a snapshot is of: the newest that its data names, else what its sidecar says; None when unknown."""
    written = [parse_or_none(snapshot.get(name)) for name in ("cluster_version", "storage_version")]
    return max([version for version in written if version], default=parse_or_none(snapshot.get("etcd_version")))


def refuse_etcd(snapshot: dict[str, Any], etcd: Version, there: str, option: Optional[str]) -> Optional[str]:
    """Why this etcd must not get a snapshot's data, or None. Nothing allows the data of a newer one.

    :param there: whose etcd it is, as the sentence goes on, such as "cp1 has".
    :param option: what would allow an older snapshot; None when it was said.
    """
    stored = etcd_of(snapshot)
    if stored is None or stored.series == etcd.series:
        return None
    minor = f"{stored.major}.{stored.minor}"
    what = f"The snapshot is of etcd {minor}, {there} {etcd}"
    if stored.series > etcd.series:
        return f"{what}: no etcd starts on the data of a newer one. Install etcd {minor} there first."
    if option:
        cure = f"say {option}=true after you have tried it elsewhere"
        return f"{what}: restore it with the etcd that it comes from, or {cure}."
    return None


def without_text(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot's description for results and sidecars: without kubeadm's long text."""
    return {name: value for name, value in snapshot.items() if name != "cluster_configuration"}
