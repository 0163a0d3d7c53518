# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_snapshot as snapshots
from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

NOBODY = Access("", None, None, None)
WHOLE = fakes.snapshot()


def flipped(offset: int) -> bytes:
    data = bytearray(WHOLE)
    data[offset] ^= 0x01
    return bytes(data)


def test_proof_tells_what_is_inside(tmp_path: Path) -> None:
    file = tmp_path / "good.db"
    file.write_bytes(WHOLE)
    proof = snapshots.prove(str(file))
    assert proof["sha256"] == hashlib.sha256(WHOLE).hexdigest()
    assert (proof["size"], proof["revision"], proof["keys"], proof["records"]) == (len(WHOLE), 6, 2, 5)
    assert (proof["cluster_version"], proof["storage_version"], proof["consistent_index"]) == ("3.6.0", "3.6.0", 42)
    assert proof["members"] == [
        {
            "id_hex": "8e9e05c52164694d",
            "name": "cp1",
            "peer_urls": ["https://10.80.0.11:2380"],
            "client_urls": [],
            "learner": False,
        }
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "no whole snapshot", id="empty"),
        pytest.param(fakes.database(), "no whole snapshot", id="no digest"),
        pytest.param(WHOLE[:-1], "no whole snapshot", id="one byte short"),
        pytest.param(WHOLE[:-512], "is damaged", id="one block short"),
        pytest.param(WHOLE[: 4 * 4096 + 32], "is damaged", id="pages missing"),
        pytest.param(flipped(-1), "is damaged", id="flip in the digest"),
        pytest.param(flipped(len(WHOLE) // 2), "is damaged", id="flip in a page"),
        pytest.param(flipped(2 * 4096 + 99), "is damaged", id="flip in a free page"),
        pytest.param(fakes.snapshot(fakes.database()[: 6 * 4096]), "is cut off", id="cut before it was signed"),
        pytest.param(fakes.snapshot(fakes.database(members=[])), "no etcd member", id="no members"),
        pytest.param(fakes.snapshot(b"\0" * 8192), "no etcd database", id="zeroes, well signed"),
    ],
)
def test_whatever_is_no_good_snapshot_is_noticed(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "bad.db"
    file.write_bytes(data)
    with pytest.raises(BrokenFile, match=words):
        snapshots.prove(str(file))


@pytest.mark.parametrize("value", [b"", b"\x12\x01a", b"\x0a\x05ab", b"\x0a\xff\xff\xff\xff\xff\xff"])
def test_a_broken_record_is_noticed(value: bytes) -> None:
    with pytest.raises(BrokenFile):
        snapshots.record_key(value)


def test_a_long_key_is_read_whole() -> None:
    key = b"k" * 300
    assert snapshots.record_key(b"\x0a\xac\x02" + key + b"\x2a\x01v") == key


def status(**changed: Any) -> bytes:
    said = {
        "header": {"cluster_id": "7", "member_id": "10276657743932975437", "revision": "6"},
        "version": "3.6.5",
        "dbSize": "28672",
        "leader": "10276657743932975437",
        "raftAppliedIndex": "42",
        **changed,
    }
    return json.dumps(said).encode()


def replies(stream: fakes.Reply, **changed: Any) -> dict[str, fakes.Reply]:
    members = [{"ID": "10276657743932975437", "name": "cp1", "clientURLs": ["https://10.80.0.11:2379"]}]
    return {
        "/v3/maintenance/status": (200, status(**changed)),
        "/v3/cluster/member/list": (200, json.dumps({"members": members}).encode()),
        "/v3/kv/range": (200, b"{}"),
        "/v3/maintenance/snapshot": stream,
    }


GOOD_STREAM = (200, fakes.lines(WHOLE[:9000], WHOLE[9000:-32], WHOLE[-32:]))


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take a snapshot of an etcd that gives these answers, into a directory that is not there yet."""

    def do(answers: dict[str, fakes.Reply], name: str = "one.db", check_mode: bool = False) -> dict[str, Any]:
        with fakes.gateway(answers) as url:
            etcd = Etcd("cp1", "/var/lib/etcd", Access(url, None, None, None), "test", 1)
            monkeypatch.setattr(snapshots, "discover", lambda _wanted: etcd)
            return snapshots.save(NOBODY, str(tmp_path / "backups"), name, 30, check_mode)

    return do


def left(tmp_path: Path) -> list[str]:
    backups = tmp_path / "backups"
    return sorted(os.listdir(backups)) if backups.exists() else []


def test_save_puts_a_proven_private_file_in_place(save: Any, tmp_path: Path) -> None:
    result = save(replies(GOOD_STREAM))
    file = tmp_path / "backups" / "one.db"
    assert result["changed"] and file.read_bytes() == WHOLE
    assert left(tmp_path) == ["one.db", "one.db.json"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    sidecar = json.loads((tmp_path / "backups" / "one.db.json").read_text())
    assert sidecar["sha256"] == result["snapshot"]["sha256"] == hashlib.sha256(WHOLE).hexdigest()
    assert sidecar["revision"] == 6 and sidecar["cluster_id"] == "7"


def test_a_named_snapshot_is_taken_once(save: Any) -> None:
    first = save(replies(GOOD_STREAM))
    second = save({})
    assert second == {"changed": False, "snapshot": first["snapshot"]}


def test_a_named_snapshot_that_went_bad_is_not_taken_for_good(save: Any, tmp_path: Path) -> None:
    save(replies(GOOD_STREAM))
    file = tmp_path / "backups" / "one.db"
    file.write_bytes(flipped(5000))
    with pytest.raises(BrokenFile, match="SHA-256"):
        save(replies(GOOD_STREAM))
    file.write_bytes(fakes.snapshot(fakes.database([fakes.MEMBER, {"id": 1, "name": "cp2"}])))
    with pytest.raises(CareError, match=r"not the snapshot that .*one.db.json describes"):
        save(replies(GOOD_STREAM))


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        pytest.param((200, fakes.lines(WHOLE[:-32])), "thrown away", id="end without a digest"),
        pytest.param((200, fakes.lines(WHOLE[:9000])), "thrown away", id="end in the middle"),
        pytest.param((200, b""), "thrown away", id="nothing"),
        pytest.param((200, fakes.lines(WHOLE[:-32], b"\0" * 32)), "thrown away", id="wrong digest"),
        pytest.param((200, fakes.lines(flipped(9000)[:-32], WHOLE[-32:])), "thrown away", id="flipped on the way"),
        pytest.param((503, b'{"error":"tls: bad certificate","code":14}'), "clientAuth", id="bad certificate"),
        pytest.param(
            (200, fakes.lines(WHOLE[:9000]) + b'{"error":{"message":"etcdserver: server stopped"}}\n'),
            "server stopped",
            id="error in the stream",
        ),
    ],
)
def test_nothing_is_left_of_a_snapshot_that_failed(save: Any, tmp_path: Path, stream: fakes.Reply, words: str) -> None:
    with pytest.raises(CareError, match=words):
        save(replies(stream))
    assert left(tmp_path) == []


def test_an_older_state_than_before_is_refused(save: Any, tmp_path: Path) -> None:
    header = {"cluster_id": "7", "member_id": "10276657743932975437", "revision": "7"}
    with pytest.raises(CareError, match="ends at revision 6, but etcd was at 7"):
        save(replies(GOOD_STREAM, header=header))
    assert left(tmp_path) == []


def test_a_learner_is_refused(save: Any, tmp_path: Path) -> None:
    with pytest.raises(CareError, match=r"No snapshot was taken. This member is a learner"):
        save(replies(GOOD_STREAM, isLearner=True))
    assert left(tmp_path) == []


def test_no_room_is_said_before_anything_is_written(save: Any, tmp_path: Path) -> None:
    with pytest.raises(CareError, match=r"MiB are needed.*option dir"):
        save(replies(GOOD_STREAM, dbSize=str(1 << 60)))
    assert left(tmp_path) == []


def test_check_mode_writes_nothing(save: Any, tmp_path: Path) -> None:
    answers = replies(GOOD_STREAM)
    del answers["/v3/maintenance/snapshot"]
    result = save(answers, check_mode=True)
    assert result["changed"] and result["snapshot"]["path"].endswith("/backups/one.db")
    assert result["snapshot"]["revision"] == 6
    assert not (tmp_path / "backups").exists()


def test_a_directory_that_others_may_write_to_is_refused(save: Any, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    backups.chmod(0o777)
    with pytest.raises(CareError, match="chmod 0700"):
        save(replies(GOOD_STREAM))
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["../x.db", "/etc/x", "", " ", "x.db.json", "x.part", "-x", "a b"])
def test_names_stay_in_their_directory(name: str) -> None:
    with pytest.raises(CareError, match="option name"):
        snapshots.check_name(name)


def test_default_names_sort_by_time() -> None:
    names = [snapshots.default_name("cp1", when) for when in (1_700_000_000, 1_700_000_001, 1_800_000_000)]
    assert names == sorted(names) and names[0] == "etcd-cp1-20231114T221320Z.db"
    snapshots.check_name(names[0])
