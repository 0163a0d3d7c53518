# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What is in an etcd database: its members, its keys, and which Kubernetes cluster it belongs to."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _certificate, _protobuf
from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile, Bucket
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import hexadecimal

_REVISION = re.compile(rb"^.{8}_.{8}t?$", re.DOTALL)
# The API server writes them below --etcd-prefix, which is /registry unless somebody changed it.
_ROOT_CA = b"/configmaps/kube-system/kube-root-ca.crt"
_KUBEADM = b"/configmaps/kube-system/kubeadm-config"
_NODE = b"/minions/"
_KUBERNETES_MESSAGE = b"k8s\x00"


class Records(NamedTuple):
    """Stored versions of keys, keys that are not deleted, and those of them that tell whose database this is."""

    records: int
    live: int
    kept: dict[bytes, bytes]


def inspect(file: BoltFile, records: bool = True) -> dict[str, Any]:
    """Revision, members, number of live keys, versions and identity, as stored in the database itself.

    :param records: read them all; without, what only they tell is left out.
    """
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
    found = read_records(keys) if records else None
    return {
        # An etcd that was never written to has no record yet, and revision 1.
        "revision": int.from_bytes(last[:8], "big") if last else 1,
        "members": sorted(members, key=lambda member: (member["name"], member["id_hex"])),
        "cluster_version": cluster.get(b"clusterVersion", b"").decode("ascii", "replace") or None,
        "storage_version": meta.get(b"storageVersion", b"").decode("ascii", "replace") or None,
        "consistent_index": int.from_bytes(meta.get(b"consistent_index", b""), "big"),
        **({"keys": found.live, "records": found.records, **identity(found.kept)} if found else {}),
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


def read_records(bucket: Bucket) -> Records:
    """Read them all, oldest first. Keeps 8 bytes of hash per key, and only the few records that tell the identity."""
    records = 0
    live: set[int] = set()
    kept: dict[bytes, bytes] = {}
    for revision, value in bucket.items():
        if not _REVISION.match(revision):
            raise BrokenFile("The snapshot is damaged: one of its revisions is not one.")
        records += 1
        if not value:
            # etcdutl's --bump-revision leaves one such record, which only carries the new revision.
            continue
        key = record_key(value)
        deleted = len(revision) == 18
        if deleted:
            live.discard(hash(key))
        else:
            live.add(hash(key))
        if _NODE in key or key.endswith((_ROOT_CA, _KUBEADM)):
            if deleted:
                kept.pop(key, None)
            else:
                kept[key] = value
    return Records(records, len(live), kept)


def record_key(value: bytes) -> bytes:
    """The key of a stored record: field 1 of its protobuf, which comes first."""
    try:
        if not value or value[0] != 0x0A:
            raise ValueError("it has no key")
        size, at = _protobuf.varint(value, 1)
        key = value[at : at + size]
        if len(key) < size:
            raise ValueError("its key is cut off")
    except ValueError as error:
        raise BrokenFile(f"The snapshot is damaged: one of its records is none ({error}).") from error
    return key


def config_map(record: bytes) -> dict[str, str]:
    """The data of a ConfigMap out of its stored record; empty when it is encrypted or cannot be read."""
    try:
        stored = _protobuf.first(record, 5)
        if stored.startswith(b"{"):
            data = json.loads(stored).get("data") or {}
            return {str(name): str(text) for name, text in data.items()}
        if not stored.startswith(_KUBERNETES_MESSAGE):
            return {}
        object_bytes = _protobuf.first(stored[len(_KUBERNETES_MESSAGE) :], 2)
        pairs = [content for number, content in _protobuf.byte_fields(object_bytes) if number == 2]
        return {_protobuf.first(pair, 1).decode(): _protobuf.first(pair, 2).decode() for pair in pairs}
    except (ValueError, AttributeError):
        return {}


def identity(kept: dict[bytes, bytes]) -> dict[str, Any]:
    """Which cluster this is: its CA certificate, kubeadm's description of it, its Nodes."""
    root_ca = next((record for key, record in kept.items() if key.endswith(_ROOT_CA)), b"")
    kubeadm = next((record for key, record in kept.items() if key.endswith(_KUBEADM)), b"")
    return {
        "root_ca_sha256": pem_sha256(config_map(root_ca).get("ca.crt", "")),
        "cluster_configuration": config_map(kubeadm).get("ClusterConfiguration"),
        "nodes": sorted(key.rpartition(_NODE)[2].decode("utf-8", "replace") for key in kept if _NODE in key),
    }


def pem_sha256(text: str) -> Optional[str]:
    """The SHA-256 of the first certificate in a PEM text; None when there is none."""
    try:
        der = _certificate.der_of_pem(text)
    except ValueError:
        return None
    return _certificate.sha256(der) if der else None
