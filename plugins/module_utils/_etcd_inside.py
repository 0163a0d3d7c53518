# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What is in an etcd database: its members, its keys, and which Kubernetes cluster it belongs to."""

from __future__ import annotations

import json
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _certificate, _protobuf
from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import hexadecimal

# The API server writes them below --etcd-prefix, which is /registry unless somebody changed it.
_ROOT_CA = b"/configmaps/kube-system/kube-root-ca.crt"
_KUBEADM = b"/configmaps/kube-system/kubeadm-config"
_NODE = b"/minions/"
_KUBERNETES_MESSAGE = b"k8s\x00"
_ALARMS = {1: "NOSPACE", 2: "CORRUPT"}


def inspect(file: BoltFile) -> dict[str, Any]:
    """Revision, members and versions, as stored in the database itself; without reading the records."""
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
    return {
        # An etcd that was never written to has no record yet, and revision 1.
        "revision": int.from_bytes(last[:8], "big") if last else 1,
        "members": sorted(members, key=lambda member: (member["name"], member["id_hex"])),
        "cluster_version": cluster.get(b"clusterVersion", b"").decode("ascii", "replace") or None,
        "storage_version": meta.get(b"storageVersion", b"").decode("ascii", "replace") or None,
        "consistent_index": int.from_bytes(meta.get(b"consistent_index", b""), "big"),
        "alarms": [stored_alarm(key) for key in _small(file, b"alarm")],
    }


def stored_alarm(key: bytes) -> dict[str, str]:
    """An alarm as the database keeps it; a restore keeps it, too, although its member is no more."""
    try:
        said = _protobuf.numbers(key)
    except ValueError as error:
        raise BrokenFile("The snapshot is damaged: an alarm in it cannot be read.") from error
    return {"member": hexadecimal(said.get(1)), "alarm": _ALARMS.get(said.get(2, 0), str(said.get(2, 0)))}


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


class Records:
    """Takes the records one by one, oldest first, and remembers what counts.

    That is 8 bytes of hash per key that is not deleted, and the few records that tell whose database this is.
    """

    def __init__(self) -> None:
        self.records = 0
        self._live: set[int] = set()
        self._kept: dict[bytes, bytes] = {}

    def take(self, revision: bytes, value: bytes) -> None:
        size = len(revision)
        if size not in (17, 18) or revision[8] != 0x5F or (size == 18 and revision[17] != 0x74):
            raise BrokenFile("The snapshot is damaged: one of its revisions is not one.")
        self.records += 1
        if not value:
            # etcdutl's --bump-revision leaves one such record, which only carries the new revision.
            return
        key = record_key(value)
        if size == 17:
            self._live.add(hash(key))
        else:
            self._live.discard(hash(key))
        if _NODE in key or key.endswith((_ROOT_CA, _KUBEADM)):
            if size == 17:
                self._kept[key] = value
            else:
                self._kept.pop(key, None)

    def found(self) -> dict[str, Any]:
        return {"keys": len(self._live), "records": self.records, **identity(self._kept)}


def record_key(value: bytes) -> bytes:
    """The key of a stored record: field 1 of its protobuf, which comes first."""
    try:
        if len(value) < 2 or value[0] != 0x0A:
            raise ValueError("it has no key")
        # Nearly all keys are short enough for a length of one byte.
        size, at = (value[1], 2) if value[1] < 0x80 else _protobuf.varint(value, 1)
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
