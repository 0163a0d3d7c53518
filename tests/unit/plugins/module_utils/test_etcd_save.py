# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_save as saving
from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import WholeFile
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

NOBODY = Access("", None, None, None)
WHOLE = fakes.snapshot()


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


def no_program(argv: list[str], **_more: Any) -> Done:
    raise AssertionError(f"{argv} was run")


GOOD_STREAM = (200, fakes.lines(WHOLE[:9000], WHOLE[9000:-32], WHOLE[-32:]))


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take a snapshot of an etcd that gives these answers, into a directory that is not there yet."""

    def do(answers: dict[str, fakes.Reply], name: str = "one.db", check_mode: bool = False, **more: Any) -> Any:
        with fakes.gateway(answers) as url:
            etcd = Etcd("cp1", "/var/lib/etcd", Access(url, None, None, None), "test", None)
            monkeypatch.setattr(saving, "discover", lambda _wanted: etcd)
            monkeypatch.setattr(saving, "find_tool", lambda _name, _pid: more.get("etcdctl"))
            monkeypatch.setattr(saving, "ca_sha256", lambda: more.get("ca", "ca"))
            asked = saving.Saving(
                str(tmp_path / "backups"), name or None, more.get("max_age"), more.get("method", "auto"), 30
            )
            result = saving.save(NOBODY, asked, check_mode, more.get("runner", no_program))
            result.pop("warnings", None) if not more.get("warnings") else None
            return result

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
    file.write_bytes(fakes.flipped(5000))
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
        pytest.param(
            (200, fakes.lines(fakes.flipped(9000)[:-32], WHOLE[-32:])), "thrown away", id="flipped on the way"
        ),
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
    for check_mode in (True, False):
        with pytest.raises(CareError, match="chmod 0700"):
            save(replies(GOOD_STREAM), check_mode=check_mode)
    assert left(tmp_path) == []


def age(tmp_path: Path, name: str, seconds: float) -> None:
    """Let a snapshot be so old."""
    sidecar = tmp_path / "backups" / f"{name}.json"
    said = json.loads(sidecar.read_text())
    said["taken"] = iso(time.time() - seconds)
    sidecar.write_text(json.dumps(said))


def test_a_young_snapshot_is_enough(save: Any, tmp_path: Path) -> None:
    first = save(replies(GOOD_STREAM))
    again = save(replies(GOOD_STREAM), name="", max_age=3600)
    assert again == {"changed": False, "snapshot": first["snapshot"]}
    age(tmp_path, "one.db", 4000)
    assert save(replies(GOOD_STREAM), name="", max_age=3600)["changed"]


def test_a_host_without_the_ca_certificate_has_young_snapshots_too(save: Any) -> None:
    # The sidecar then names the CA in the snapshot, which the host cannot tell before it has one.
    save(replies(GOOD_STREAM), ca=None)
    assert not save(replies(GOOD_STREAM), name="", max_age=3600, ca=None)["changed"]


def test_the_sidecar_tells_what_else_a_restore_needs(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = {"kubernetes_version": "1.34.4", "etcd_image": "etcd:3.6.5-0", "encryption_config_sha256": "e" * 64}
    monkeypatch.setattr(saving, "about_cluster", lambda runner: around)
    save(replies(GOOD_STREAM))
    sidecar = json.loads((tmp_path / "backups" / "one.db.json").read_text())
    assert {name: sidecar[name] for name in around} == around


OTHER_HEADER = {"cluster_id": "8", "member_id": "10276657743932975437", "revision": "6"}


@pytest.mark.parametrize(
    ("seconds", "changed", "more"),
    [
        pytest.param(-500, {}, {}, id="clock that went back"),
        pytest.param(10, {"header": OTHER_HEADER}, {}, id="before a restore"),
        pytest.param(10, {}, {"ca": "another"}, id="another cluster"),
    ],
)
def test_a_young_snapshot_of_something_else_is_not_enough(
    save: Any, tmp_path: Path, seconds: float, changed: dict[str, Any], more: dict[str, Any]
) -> None:
    save(replies(GOOD_STREAM))
    age(tmp_path, "one.db", seconds)
    assert save(replies(GOOD_STREAM, **changed), name="", max_age=3600, **more)["changed"]


def test_a_young_snapshot_that_went_bad_is_not_enough(save: Any, tmp_path: Path) -> None:
    save(replies(GOOD_STREAM))
    (tmp_path / "backups" / "one.db").write_bytes(fakes.flipped(5000))
    assert save(replies(GOOD_STREAM), name="", max_age=3600)["changed"]


@pytest.mark.parametrize(
    ("wanted", "size", "works", "etcdctl", "chosen"),
    [
        ("auto", 1 << 20, True, "/etcdctl", "gateway"),
        ("auto", 1 << 30, True, "/etcdctl", "etcdctl"),
        ("auto", 1 << 30, True, None, "gateway"),
        ("auto", 1 << 20, False, "/etcdctl", "etcdctl"),
        ("auto", 1 << 20, False, None, "gateway"),
        ("gateway", 1 << 30, True, "/etcdctl", "gateway"),
        ("etcdctl", 1 << 20, True, "/etcdctl", "etcdctl"),
    ],
)
def test_the_way_is_what_works_and_is_faster(
    wanted: str, size: int, works: bool, etcdctl: Optional[str], chosen: str
) -> None:
    assert saving.choose_method(wanted, size, works, etcdctl) == chosen


def test_a_way_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(CareError, match="method=gateway"):
        saving.choose_method("etcdctl", 1, True, None)


class Etcdctl:
    """The program: writes this, and says how it went."""

    def __init__(
        self,
        data: Optional[bytes] = WHOLE,
        rc: int = 0,
        status: Optional[dict[str, Any]] = None,
        err: str = "Error: it went wrong",
    ) -> None:
        self.data, self.rc, self.status, self.err = data, rc, status, err
        self.ran: list[tuple[list[str], dict[str, str]]] = []

    def __call__(self, argv: list[str], timeout: float = 0, env: Optional[dict[str, str]] = None) -> Done:
        self.ran.append((argv, env or {}))
        if argv[1] == "endpoint":
            return Done(argv, 0, json.dumps([{"Endpoint": "x", "Status": self.status}]), "")
        if self.data is not None:
            Path(argv[3] if self.rc == 0 else argv[3] + ".part").write_bytes(self.data)
        return Done(argv, self.rc, "", self.err)


def test_etcdctl_brings_the_same_with_the_same_proof(save: Any, tmp_path: Path) -> None:
    program = Etcdctl()
    result = save(replies((500, b"")), method="etcdctl", etcdctl="/etcdctl", runner=program)
    assert result["changed"] and result["snapshot"]["method"] == "etcdctl"
    file = tmp_path / "backups" / "one.db"
    assert file.read_bytes() == WHOLE and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert left(tmp_path) == ["one.db", "one.db.json"]
    argv, env = program.ran[0]
    assert argv[:3] == ["/etcdctl", "snapshot", "save"] and env["ETCDCTL_ENDPOINTS"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        pytest.param(Etcdctl(rc=1), "it went wrong", id="fails half-way"),
        pytest.param(Etcdctl(data=None), "cannot be taken over", id="leaves nothing"),
        pytest.param(Etcdctl(data=WHOLE[:-32]), "thrown away", id="no digest"),
        pytest.param(Etcdctl(data=fakes.flipped(5000)), "thrown away", id="a flipped bit"),
    ],
)
def test_nothing_is_left_when_etcdctl_fails(save: Any, tmp_path: Path, program: Etcdctl, words: str) -> None:
    with pytest.raises(CareError, match=words):
        save(replies((500, b"")), method="etcdctl", etcdctl="/etcdctl", runner=program)
    assert left(tmp_path) == []


@pytest.mark.parametrize("full", ["one.db.part", "one.db.json.part"])
def test_a_disk_that_fills_up_is_said_and_nothing_is_left(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    write = os.write

    def no_room(file: int, data: Any) -> int:
        if os.readlink(f"/proc/self/fd/{file}").endswith(full):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", no_room)
    with pytest.raises(CareError, match=rf"{full} cannot be written: No space left.*kept: make room.*option dir"):
        save(replies(GOOD_STREAM))
    assert left(tmp_path) == []


@pytest.mark.parametrize("method", ["auto", "etcdctl"])
def test_where_etcdctl_finds_the_disk_full_the_gateway_is_not_tried(save: Any, tmp_path: Path, method: str) -> None:
    program = Etcdctl(rc=1, err="Error: could not write snapshot: write x.part: no space left on device")
    answers = replies((200, b""), dbSize=str(100 << 20))
    with pytest.raises(CareError, match=r"no space left on device.*kept: make room"):
        save(answers, method=method, etcdctl="/etcdctl", runner=program)
    assert left(tmp_path) == []


def test_when_both_ways_fail_both_are_told(save: Any, tmp_path: Path) -> None:
    answers = replies((503, b'{"message":"etcdserver: server stopped"}'), dbSize=str(100 << 20))
    with pytest.raises(CareError, match=r"server stopped. Nothing of it was kept: see with etcd_info") as caught:
        save(answers, etcdctl="/etcdctl", runner=Etcdctl(rc=1))
    assert "it went wrong" in caught.value.results["warnings"][0] and left(tmp_path) == []


def test_the_gateway_helps_out_when_etcdctl_fails(save: Any) -> None:
    big = {"dbSize": str(100 << 20)}
    answers = replies(GOOD_STREAM, **big)
    result = save(answers, etcdctl="/etcdctl", runner=Etcdctl(rc=1), warnings=True)
    assert result["changed"] and result["snapshot"]["method"] == "gateway"
    assert "The gateway was used instead" in result["warnings"][0]


BAD_CERTIFICATE = (503, b'{"error":"connection error: tls: bad certificate","code":14}')


def test_etcdctl_helps_out_where_the_gateway_does_not_work(save: Any) -> None:
    said = json.loads(status())
    # etcdctl writes numbers as numbers.
    said.update(leader=10276657743932975437, header={"cluster_id": 7, "member_id": 10276657743932975437, "revision": 6})
    answers: dict[str, fakes.Reply] = {"/v3/maintenance/status": BAD_CERTIFICATE}
    result = save(answers, etcdctl="/etcdctl", runner=Etcdctl(status=said), warnings=True)
    assert result["snapshot"]["method"] == "etcdctl" and result["snapshot"]["member_id"] == "8e9e05c52164694d"
    assert result["snapshot"]["cluster_id"] == "7" and "clientAuth" in result["warnings"][0]
    said["isLearner"] = True
    with pytest.raises(CareError, match="is a learner"):
        save(answers, name="two.db", etcdctl="/etcdctl", runner=Etcdctl(status=said))


def test_without_etcdctl_the_gateways_trouble_is_told(save: Any) -> None:
    with pytest.raises(CareError, match="serverAuth and clientAuth"):
        save({"/v3/maintenance/status": BAD_CERTIFICATE})


def test_what_dead_runs_left_is_cleaned_up_and_what_others_write_is_not(save: Any, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir(mode=0o700)
    for name in ("etcd-cp1-1.db.part", "etcd-cp1-1.db.part.etcdctl.part", "etcd-cp1-2.db.part.etcdctl", "other.part"):
        (backups / name).write_bytes(b"x")
    for name in ("before-restore-20260101T020304Z-1a2b3c.db.part", "salvaged-20260101T020304Z-1a2b3c.db.part"):
        (backups / name).write_bytes(b"x")
    with WholeFile(str(backups / "etcd-cp1-3.db")):
        (backups / "etcd-cp1-3.db.part.etcdctl").write_bytes(b"x")
        save(replies(GOOD_STREAM))
        assert left(tmp_path) == [
            "etcd-cp1-3.db.part",
            "etcd-cp1-3.db.part.etcdctl",
            "one.db",
            "one.db.json",
            "other.part",
        ]
