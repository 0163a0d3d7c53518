# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_inside as inside
from ansible_collections.clustercare.kubeadm.plugins.module_utils import _protobuf
from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

DER = b"certificate" * 40
PEM = "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(DER).decode() + "-----END CERTIFICATE-----\n"
CA = hashlib.sha256(DER).hexdigest()
ROOT_CA = b"/registry/configmaps/kube-system/kube-root-ca.crt"
KUBEADM = b"/registry/configmaps/kube-system/kubeadm-config"
CONFIGURATION = "apiVersion: kubeadm.k8s.io/v1beta4\nclusterName: blue\n"


def read(tmp_path: Path, *more: tuple[bytes, bytes], data: Optional[bytes] = None) -> dict[str, Any]:
    file = tmp_path / "db"
    file.write_bytes(data or fakes.database(more=list(more)))
    records = inside.Records()
    with BoltFile(str(file)) as opened:
        opened.check(b"key", records.take)
        return {**inside.inspect(opened), **records.found()}


@pytest.mark.parametrize("value", [b"", b"\x12\x01a", b"\x0a\x05ab", b"\x0a\xff\xff\xff\xff\xff\xff"])
def test_a_broken_record_is_noticed(value: bytes) -> None:
    with pytest.raises(BrokenFile):
        inside.record_key(value)


def test_a_long_key_is_read_whole() -> None:
    key = b"k" * 300
    assert inside.record_key(fakes.record(key)) == key


def test_a_snapshot_tells_whose_it_is(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        (ROOT_CA, fakes.config_map(**{"ca.crt": PEM})),
        (KUBEADM, fakes.config_map(ClusterConfiguration=CONFIGURATION)),
        (b"/registry/minions/w1", b"k8s\x00node"),
        (b"/registry/minions/cp1", b"k8s\x00node"),
        (b"/registry/configmaps/other/kube-root-ca.crt", fakes.config_map(**{"ca.crt": "none"})),
    )
    assert found["root_ca_sha256"] == CA
    assert found["cluster_configuration"] == CONFIGURATION
    assert found["nodes"] == ["cp1", "w1"]


@pytest.mark.parametrize(
    ("key", "alarm"),
    [
        # As etcd 3.6.5 wrote it.
        (bytes.fromhex("088df2f48ec1f7a6d7bd011001"), {"member": "bdae9bbc11dd390d", "alarm": "NOSPACE"}),
        (b"\x08\x05\x10\x02", {"member": "5", "alarm": "CORRUPT"}),
    ],
)
def test_the_alarms_in_it_are_told(tmp_path: Path, key: bytes, alarm: dict[str, str]) -> None:
    assert read(tmp_path)["alarms"] == []
    assert read(tmp_path, data=fakes.database(alarms=[key]))["alarms"] == [alarm]


def test_a_broken_alarm_is_noticed() -> None:
    with pytest.raises(BrokenFile):
        inside.stored_alarm(b"\x08\xff")


def test_the_newest_word_counts(tmp_path: Path) -> None:
    old = fakes.config_map(**{"ca.crt": "an older one"})
    found = read(tmp_path, (ROOT_CA, old), (ROOT_CA, fakes.config_map(**{"ca.crt": PEM})))
    assert found["root_ca_sha256"] == CA


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(b"k8s:enc:aescbc:v1:key1:\x00\x01\x02", id="encrypted"),
        pytest.param(b"k8s\x00\xff\xff", id="cut off"),
        pytest.param(b"{not json", id="no JSON"),
        pytest.param(fakes.config_map(), id="no data"),
        pytest.param(
            fakes.config_map(**{"ca.crt": "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"}), id="bad"
        ),
    ],
)
def test_what_cannot_be_read_is_not_known(tmp_path: Path, stored: bytes) -> None:
    found = read(tmp_path, (ROOT_CA, stored))
    assert found["root_ca_sha256"] is None and found["cluster_configuration"] is None and found["nodes"] == []


def test_objects_stored_as_json_are_read_too(tmp_path: Path) -> None:
    stored = json.dumps({"kind": "ConfigMap", "data": {"ca.crt": PEM}}).encode()
    assert read(tmp_path, (ROOT_CA, stored))["root_ca_sha256"] == CA


def test_a_deleted_node_is_not_told(tmp_path: Path) -> None:
    node = fakes.record(b"/registry/minions/b")
    first = [(fakes.revision(2), node, False), (fakes.revision(3, deleted=True), node, False)]
    data = bytearray(fakes.database())
    data[5 * fakes.PAGE_SIZE : 6 * fakes.PAGE_SIZE] = fakes.leaf(5, first)
    assert read(tmp_path, data=bytes(data))["nodes"] == []


def test_the_record_of_a_raised_revision_is_none(tmp_path: Path) -> None:
    raised = [(fakes.revision(5, deleted=True), fakes.record(b"b"), False), (fakes.revision(1_000_000_006), b"", False)]
    data = bytearray(fakes.database())
    data[6 * fakes.PAGE_SIZE :] = fakes.leaf(6, raised)
    found = read(tmp_path, data=bytes(data))
    assert (found["revision"], found["keys"], found["records"]) == (1_000_000_006, 2, 5)


@pytest.mark.parametrize("revision", [b"", b"12345678_1234567", b"12345678_12345678x", b"12345678-12345678"])
def test_a_revision_that_is_none_is_noticed(revision: bytes) -> None:
    with pytest.raises(BrokenFile, match="revisions"):
        inside.Records().take(revision, fakes.record(b"a"))


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05abc", b"\x0b", b"\x80" * 11, b"\x08"])
def test_no_whole_message_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="protobuf"):
        list(_protobuf.byte_fields(data))


def test_other_fields_are_stepped_over() -> None:
    data = b"\x08\x96\x01" + b"\x11" + b"\0" * 8 + b"\x1d" + b"\0" * 4 + fakes.field(4, b"here")
    assert list(_protobuf.byte_fields(data)) == [(4, b"here")]
    assert _protobuf.first(data, 9) == b""
