# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Taking a snapshot of this host's etcd and proving it. The proof is the same wherever the file lies."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import time
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile, Bucket
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, Gateway, number
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd, discover
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import (
    hexadecimal,
    observe,
    refuse_snapshot,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    WholeFile,
    need_space,
    private_directory,
    write_whole,
)

SIDECAR = ".json"
CA_CERT = "/etc/kubernetes/pki/ca.crt"
_DIGEST = 32
_BLOCK = 512
_READ = 1 << 20
# Silence of etcd for this long ends a snapshot; a busy disk may be silent for a while.
_SILENCE = 60.0
_REVISION = re.compile(rb"^.{8}_.{8}t?$", re.DOTALL)


def sums(path: str) -> dict[str, Any]:
    """Size, the SHA-256 of the whole file, and of all but its last 32 bytes beside those 32 bytes."""
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
    return {"size": size, "sha256": whole.hexdigest(), "body": body.digest(), "tail": tail}


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
    found = sums(path)
    size = found["size"]
    if size % _BLOCK != _DIGEST:
        raise BrokenFile(
            f"{path} is no whole snapshot: its {size} bytes do not end with a SHA-256 (a copied database has none)."
        )
    if found["body"] != found["tail"]:
        raise BrokenFile(f"{path} is damaged: the SHA-256 at its end is not that of its data.")
    with BoltFile(path, size - _DIGEST) as file:
        pages = file.check()
        inside = inspect(file)
    if not inside["members"]:
        raise BrokenFile(f"{path} has no etcd member in it: it is no etcd snapshot, or one of an empty database.")
    return {"size": size, "sha256": found["sha256"], "pages": pages, **inside}


def inspect(file: BoltFile) -> dict[str, Any]:
    """Revision, members, number of live keys and versions, as stored in the database itself."""
    keys = file.bucket(b"key")
    if keys is None:
        raise BrokenFile(f"{file.path} is not an etcd database: it has no bucket of keys.")
    last = keys.last_key()
    meta = _small(file, b"meta")
    cluster = _small(file, b"cluster")
    try:
        members = [stored_member(json.loads(value)) for value in _small(file, b"members").values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenFile(f"{file.path} is damaged: a member in it cannot be read.") from error
    records, live = count_keys(keys)
    return {
        # An etcd that was never written to has no record yet, and revision 1.
        "revision": int.from_bytes(last[:8], "big") if last else 1,
        "keys": live,
        "records": records,
        "members": sorted(members, key=lambda member: (member["name"], member["id_hex"])),
        "cluster_version": cluster.get(b"clusterVersion", b"").decode("ascii", "replace") or None,
        "storage_version": meta.get(b"storageVersion", b"").decode("ascii", "replace") or None,
        "consistent_index": int.from_bytes(meta.get(b"consistent_index", b""), "big"),
    }


def stored_member(member: dict[str, Any]) -> dict[str, Any]:
    """A member as the database keeps it, in our words."""
    return {
        "id_hex": hexadecimal(member["id"]),
        "name": member.get("name", ""),
        "peer_urls": member.get("peerURLs") or [],
        "client_urls": member.get("clientURLs") or [],
        "learner": bool(member.get("isLearner")),
    }


def _small(file: BoltFile, name: bytes) -> dict[bytes, bytes]:
    bucket = file.bucket(name)
    return dict(bucket.items()) if bucket else {}


def count_keys(bucket: Bucket) -> tuple[int, int]:
    """Records, and distinct keys that are not deleted. Keeps 8 bytes of hash per key, not the keys."""
    records = 0
    live: set[int] = set()
    for revision, value in bucket.items():
        if not _REVISION.match(revision):
            raise BrokenFile("The snapshot is damaged: one of its revisions is not one.")
        records += 1
        key = hash(record_key(value))
        if revision.endswith(b"t") and len(revision) == 18:
            live.discard(key)
        else:
            live.add(key)
    return records, len(live)


def record_key(value: bytes) -> bytes:
    """The key of a stored record: field 1 of its protobuf, which comes first."""
    if not value or value[0] != 0x0A:
        raise BrokenFile("The snapshot is damaged: one of its records has no key.")
    size = shift = 0
    for at in range(1, min(len(value), 6)):
        size |= (value[at] & 0x7F) << shift
        shift += 7
        if not value[at] & 0x80:
            key = value[at + 1 : at + 1 + size]
            if len(key) == size:
                return key
            break
    raise BrokenFile("The snapshot is damaged: one of its records is cut off.")


def ca_sha256(path: str = CA_CERT) -> Optional[str]:
    """The cluster's identity: the SHA-256 of its CA certificate (DER). None when there is no such file."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except (OSError, ValueError):
        return None
    found = re.search("-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", text, re.DOTALL)
    return hashlib.sha256(base64.b64decode(found.group(1))).hexdigest() if found else None


def default_name(member: str, now: float) -> str:
    """``etcd-<member>-<time in UTC>.db``: names sort by time."""
    return f"etcd-{member}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}.db"


def check_name(name: str) -> None:
    if not re.match(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", name) or name.endswith((SIDECAR, ".part")):
        raise CareError(
            f"'{name}' cannot be the name of a snapshot: use letters, digits and . _ + - only, "
            "and another ending than .json and .part (option name)."
        )


def _iso(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def existing(path: str) -> Optional[dict[str, Any]]:
    """The proven snapshot that already lies at ``path``, with its sidecar's words, or None.

    :raises CareError: when something lies there that is no good snapshot, or another one than the sidecar says.
    """
    if not os.path.lexists(path):
        return None
    proof = prove(path)
    try:
        with open(path + SIDECAR, encoding="utf-8") as file:
            said = json.load(file)
    except FileNotFoundError:
        said = {}
    except (OSError, ValueError) as error:
        raise CareError(f"{path}{SIDECAR} beside the snapshot cannot be read: {error}") from error
    if said and said.get("sha256") != proof["sha256"]:
        raise CareError(
            f"{path} is not the snapshot that {path}{SIDECAR} describes: move both away, or take another name."
        )
    return {**said, **proof, "path": path}


def describe(etcd: Etcd, status: dict[str, Any], began: float) -> dict[str, Any]:
    """What only the living cluster knows; goes into the sidecar beside the proof."""
    header = status.get("header") or {}
    return {
        "schema": 1,
        "host": socket.gethostname(),
        "member": etcd.name,
        "member_id": hexadecimal(header.get("member_id")),
        "cluster_id": hexadecimal(header.get("cluster_id")),
        "etcd_version": status.get("version"),
        "revision_before": number(header, "revision"),
        "ca_sha256": ca_sha256(),
        "taken": _iso(began),
    }


def stream(gateway: Gateway, file: WholeFile, deadline: Deadline) -> None:
    """Write etcd's snapshot into ``file``, within the deadline."""
    for blob in gateway.snapshot():
        file.write(blob)
        if deadline.passed:
            raise TimedOut(
                f"The snapshot is not complete after {deadline.seconds:g} s ({file.size // 2**20} MiB came); "
                f"give it more time with option {deadline.option}.",
                timed_out=True,
            )


def save(access: Access, directory: str, name: Optional[str], timeout: float, check_mode: bool) -> dict[str, Any]:
    """Take a snapshot, prove it, put it in place. What the module etcd_snapshot does for state=saved."""
    deadline = Deadline(timeout, "timeout")
    if name:
        check_name(name)
        known = existing(os.path.join(directory, name))
        if known:
            return {"changed": False, "snapshot": known}
    etcd = discover(access)
    seen = observe(etcd.access)
    refusal = refuse_snapshot(seen)
    if refusal:
        raise CareError(f"No snapshot was taken. {refusal}")
    status = seen.local.status
    began = time.time()
    path = os.path.join(directory, name or default_name(etcd.name, began))
    expected = number(status, "dbSize")
    need_space(directory, expected + expected // 5, "dir")
    about = describe(etcd, status, began)
    if check_mode:
        about.update(path=path, size=expected, revision=about["revision_before"])
        return {"changed": True, "snapshot": about}
    private_directory(directory)
    watch = time.monotonic()
    with WholeFile(path) as file:
        stream(Gateway(etcd.access, _SILENCE), file, deadline)
        file.sync()
        streamed = time.monotonic() - watch
        try:
            proof = prove(file.part)
        except BrokenFile as error:
            raise CareError(
                f"etcd's snapshot did not arrive whole and was thrown away ({error.message.replace(file.part, 'it')}) "
                "etcd may have been stopped in the middle: look at it, and run this again."
            ) from error
        if proof["revision"] < about["revision_before"]:
            raise CareError(
                f"The snapshot was thrown away: it ends at revision {proof['revision']}, "
                f"but etcd was at {about['revision_before']} before it was taken."
            )
        snapshot = {
            **about,
            **proof,
            "stream_seconds": round(streamed, 1),
            "seconds": round(time.monotonic() - watch, 1),
        }
        write_whole(path + SIDECAR, json.dumps(snapshot, indent=2, sort_keys=True).encode() + b"\n")
        file.commit()
    return {"changed": True, "snapshot": {**snapshot, "path": path}}
