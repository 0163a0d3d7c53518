# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What etcd_snapshot and etcd_snapshot_info do with snapshots that are there; no etcd runs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
import yaml

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_data_dir as data_dir
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd, NoEtcd
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_inside import pem_sha256
from ansible_collections.clustercare.kubeadm.plugins.modules import etcd_snapshot_info
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

WHOLE = fakes.snapshot()
PEM = "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"x" * 99).decode() + "\n-----END CERTIFICATE-----\n"
ROOT_CA = b"/registry/configmaps/kube-system/kube-root-ca.crt"
Run = Callable[..., dict[str, Any]]


def put(directory: Path, name: str, taken: Optional[str] = None, data: bytes = WHOLE, ca: str = "blue") -> Path:
    """A snapshot on the shelf; with a sidecar when it says when it was taken."""
    path = directory / name
    path.write_bytes(data)
    if taken:
        said = {
            "schema": 1,
            "sha256": hashlib.sha256(data).hexdigest(),
            "taken": taken,
            "ca_sha256": ca,
            "member": "cp1",
        }
        path.with_name(name + ".json").write_text(json.dumps(said))
    return path


@pytest.fixture
def snapshot(run_module: Any, tmp_path: Path) -> Run:
    def run(state: str, check: bool = False, **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = run_module(
            "etcd_snapshot", {"dir": str(tmp_path), "state": state, **options}, check=check
        )
        return result

    return run


@pytest.fixture
def info(run_module: Any, tmp_path: Path) -> Run:
    def run(**options: Any) -> dict[str, Any]:
        result: dict[str, Any] = run_module("etcd_snapshot_info", {"dir": str(tmp_path), **options})
        assert not result["changed"]
        return result

    return run


def left(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_all_good_ones_are_verified(snapshot: Run, tmp_path: Path) -> None:
    put(tmp_path, "a.db", "2026-01-01T00:00:00Z")
    put(tmp_path, "b.db")
    put(tmp_path, "note.txt", data=b"not a snapshot")
    result = snapshot("verified")
    assert not result["changed"] and [one["name"] for one in result["snapshots"]] == ["b.db", "a.db"]
    assert all(one["good"] for one in result["snapshots"])


def test_every_flipped_bit_is_noticed_without_a_sidecar(snapshot: Run, tmp_path: Path) -> None:
    rng = random.Random(4711)
    for bit in rng.sample(range(len(WHOLE) * 8), 40):
        put(tmp_path, "a.db", data=fakes.flipped(bit // 8, bit % 8))
        result = snapshot("verified", name="a.db")
        assert result["failed"] and not result["changed"] and not result["snapshots"][0]["good"], bit


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda path: path.write_bytes(WHOLE[:-512]), "is damaged", id="cut off"),
        pytest.param(lambda path: path.write_bytes(fakes.database()), "a copied database has none", id="no digest"),
        pytest.param(
            lambda path: path.write_bytes(fakes.snapshot(fakes.database([{"id": 1, "name": "x"}]))),
            "is not the snapshot that",
            id="another good one",
        ),
        pytest.param(lambda path: Path(f"{path}.json").write_text("{"), "cannot be read", id="sidecar cut off"),
        pytest.param(lambda path: Path(f"{path}.json").write_text("[]"), "does not describe one", id="no sidecar"),
        pytest.param(lambda path: path.unlink(), "cannot be read: No such file", id="gone"),
    ],
)
def test_what_is_not_good_fails(snapshot: Run, tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(put(tmp_path, "a.db", "2026-01-01T00:00:00Z"))
    result = snapshot("verified", name="a.db")
    assert result["failed"] and words in result["msg"]


def test_a_host_may_be_called_like_a_part_of_a_file(snapshot: Run, tmp_path: Path) -> None:
    put(tmp_path, "etcd-cp1.partner.example.org-1.db")
    put(tmp_path, "etcd-cp1.partner.example.org-2.db.part.etcdctl", data=WHOLE[:-512])
    assert [one["name"] for one in snapshot("verified")["snapshots"]] == ["etcd-cp1.partner.example.org-1.db"]


def test_nothing_to_verify_is_a_failure(snapshot: Run) -> None:
    assert "There is no snapshot" in snapshot("verified")["msg"]


def test_a_snapshot_goes_with_its_sidecar_and_only_once(snapshot: Run, tmp_path: Path) -> None:
    put(tmp_path, "a.db", "2026-01-01T00:00:00Z")
    assert snapshot("absent", name="a.db", check=True)["changed"] and len(left(tmp_path)) == 2
    assert snapshot("absent", name="a.db")["removed"] == ["a.db"]
    assert left(tmp_path) == [] and not snapshot("absent", name="a.db")["changed"]


def test_a_removal_that_was_interrupted_is_finished(snapshot: Run, tmp_path: Path) -> None:
    put(tmp_path, "a.db", "2026-01-01T00:00:00Z").unlink()
    assert snapshot("absent", name="a.db")["changed"] and left(tmp_path) == []


@pytest.mark.parametrize("name", ["../a.db", "/etc/passwd", "..", "a.db.json", "a.db.part"])
def test_nothing_outside_is_touched(snapshot: Run, name: str) -> None:
    result = snapshot("absent", name=name)
    assert result["failed"] and "option name" in result["msg"]


def test_what_others_made_is_left_alone(snapshot: Run, tmp_path: Path) -> None:
    put(tmp_path, "theirs.db")
    result = snapshot("absent", name="theirs.db")
    assert result["failed"] and "somebody else" in result["msg"] and left(tmp_path) == ["theirs.db"]


def test_pruning_keeps_what_the_rules_keep(snapshot: Run, tmp_path: Path) -> None:
    for day in range(1, 9):
        put(tmp_path, f"day{day}.db", f"2026-01-0{day}T06:00:00Z")
    put(tmp_path, "green.db", "2025-01-01T00:00:00Z", ca="green")
    put(tmp_path, "theirs.db")
    os.utime(tmp_path / "theirs.db", (1, 1))
    rule = {"keep_last": 1, "keep_hourly": 0, "keep_daily": 3, "keep_weekly": 0}
    before = left(tmp_path)
    planned = snapshot("pruned", check=True, **rule)
    assert left(tmp_path) == before
    result = snapshot("pruned", **rule)
    assert result["changed"] and planned["removed"] == result["removed"] == [f"day{day}.db" for day in (5, 4, 3, 2, 1)]
    assert [one["name"] for one in result["kept"]] == ["day8.db", "day7.db", "day6.db", "green.db"]
    assert result["others"] == ["theirs.db"] and (tmp_path / "theirs.db").exists()
    assert not snapshot("pruned", **rule)["changed"]


def test_pruning_never_leaves_only_damaged_ones(snapshot: Run, tmp_path: Path) -> None:
    put(tmp_path, "new.db", "2026-01-02T00:00:00Z").write_bytes(fakes.flipped(6250))
    put(tmp_path, "old.db", "2026-01-01T00:00:00Z")
    put(tmp_path, "older.db", "2025-12-31T00:00:00Z")
    result = snapshot("pruned", keep_last=1, keep_hourly=0, keep_daily=0, keep_weekly=0)
    assert result["removed"] == ["older.db"] and result["damaged"] == ["new.db"]
    assert (tmp_path / "new.db").exists()
    (tmp_path / "old.db").write_bytes(b"x")
    assert not snapshot("pruned", keep_last=0)["changed"]


def test_pruning_counts_no_snapshot_with_a_sidecar_of_another(snapshot: Run, tmp_path: Path) -> None:
    longer = fakes.snapshot(fakes.database(more=[(b"d", b"1")]))
    put(tmp_path, "new.db", "2026-01-03T00:00:00Z")
    put(tmp_path, "swapped.db", "2026-01-02T00:00:00Z").write_bytes(longer)
    for name, revision in (("new.db", 6), ("swapped.db", 6)):
        sidecar = tmp_path / f"{name}.json"
        sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "revision": revision}))
    put(tmp_path, "old.db", "2026-01-01T00:00:00Z")
    put(tmp_path, "oldest.db", "2025-12-31T00:00:00Z")
    put(tmp_path, "cut.db", "2026-01-02T12:00:00Z").with_name("cut.db.json").write_text('{"schema": 1, "sha')
    result = snapshot("pruned", keep_last=2, keep_hourly=0, keep_daily=0, keep_weekly=0)
    assert [one["name"] for one in result["kept"]] == ["new.db", "old.db"] and result["removed"] == ["oldest.db"]
    assert sorted(result["damaged"]) == ["cut.db", "swapped.db"] and result["others"] == []
    assert "move it away" in snapshot("absent", name="cut.db")["msg"]


def test_a_directory_that_is_not_there_holds_nothing(info: Run, tmp_path: Path) -> None:
    assert info(dir=str(tmp_path / "none"))["snapshots"] == []


def test_info_tells_what_is_in_it(info: Run, tmp_path: Path) -> None:
    theirs = fakes.snapshot(fakes.database(more=[(ROOT_CA, fakes.config_map(**{"ca.crt": PEM}))]))
    put(tmp_path, "theirs", data=theirs)
    put(tmp_path, "ours.db", "2026-01-01T00:00:00Z")
    put(tmp_path, "bad.db", data=WHOLE[:-1])
    os.utime(tmp_path / "bad.db", (1, 1))
    first, second, third = info()["snapshots"]
    assert (first["name"], first["ours"], first["good"], first["revision"]) == ("theirs", False, True, 7)
    assert first["ca_sha256"] == first["root_ca_sha256"] == pem_sha256(PEM)
    assert (second["name"], second["ours"], second["ca_sha256"], second["member"]) == ("ours.db", True, "blue", "cp1")
    assert second["taken"] == "2026-01-01T00:00:00Z"
    assert (third["name"], third["good"]) == ("bad.db", False) and "no whole snapshot" in third["problem"]


@pytest.mark.parametrize("verify", [True, False])
def test_info_tells_the_alarms_in_it(info: Run, tmp_path: Path, verify: bool) -> None:
    put(tmp_path, "full.db", data=fakes.snapshot(fakes.database(alarms=[b"\x08\x05\x10\x01"])))
    assert info(verify=verify)["snapshots"][0]["alarms"] == [{"member": "5", "alarm": "NOSPACE"}]


def test_info_returns_just_what_its_documentation_tells(info: Run, tmp_path: Path) -> None:
    put(tmp_path, "a.db", "2026-01-01T00:00:00Z")
    told = yaml.safe_load(etcd_snapshot_info.RETURN)["snapshots"]["contains"]
    assert set(info()["snapshots"][0]) == set(told)


def test_a_quick_look_proves_nothing_and_says_so(info: Run, tmp_path: Path) -> None:
    put(tmp_path, "a.db", data=fakes.flipped(-1, 7))
    (one,) = info(verify=False)["snapshots"]
    assert one["good"] is None and one["revision"] == 6 and one["keys"] is None and one["problem"] is None


class Etcdutl:
    """The program: makes a data directory out of this database, or fails."""

    def __init__(self, version: str = "3.6.5", revision: int = 1_000_000_006, rc: int = 0, member: str = "cp1") -> None:
        self.version, self.revision, self.rc, self.member = version, revision, rc, member
        self.ran: list[list[str]] = []

    def __call__(self, argv: list[str], **_more: Any) -> Done:
        self.ran.append(argv)
        if argv[1] == "version":
            return Done(argv, 0, f"etcdutl version: {self.version}\nAPI version: 3.6\n", "")
        flags = dict(word.partition("=")[::2] for word in argv if word.startswith("--"))
        member = Path(flags["--data-dir"]) / "member"
        (member / "snap").mkdir(parents=True)
        (member / "wal").mkdir()
        (member / "wal" / "0-0.wal").write_bytes(b"")
        url = flags["--initial-advertise-peer-urls"]
        data = bytearray(fakes.database([{"id": 1, "name": self.member, "peerURLs": [url]}]))
        raised = [
            (fakes.revision(5, deleted=True), fakes.record(b"b"), False),
            (fakes.revision(self.revision), b"", False),
        ]
        data[6 * fakes.PAGE_SIZE :] = fakes.leaf(6, raised)
        (member / "snap" / "db").write_bytes(bytes(data))
        return Done(argv, self.rc, "", "Error: it went wrong")


@pytest.fixture
def restore(snapshot: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Restore a.db with this program on a host whose etcd is called cp1."""

    def run(
        program: Optional[Etcdutl] = None,
        here: bool = True,
        check: bool = False,
        tools: Optional[dict[str, str]] = None,
        **options: Any,
    ) -> dict[str, Any]:
        def discover(_wanted: Access) -> Etcd:
            if not here:
                raise NoEtcd("No etcd here.")
            flags = {"initial-advertise-peer-urls": "https://10.80.0.11:2380"}
            return Etcd("cp1", str(tmp_path / "present"), Access("", None, None, None), "test", None, flags)

        monkeypatch.setattr(data_dir, "discover", discover)
        monkeypatch.setattr(data_dir, "find_tool", lambda name, _pid: (tools or {"etcdutl": "/bin/etcdutl"}).get(name))
        monkeypatch.setattr(data_dir.restore, "__defaults__", (program or Etcdutl(),))
        given = {"name": "a.db", "data_dir": str(tmp_path / "new" / "etcd"), **options}
        return snapshot("restored", check=check, **given)

    put(tmp_path, "a.db", "2026-01-01T00:00:00Z")
    return run


def test_a_data_directory_is_made_whole(restore: Run, tmp_path: Path) -> None:
    program = Etcdutl()
    result = restore(program)
    made = result["restored"]
    assert result["changed"] and made["revision"] == 1_000_000_006 and made["token"].startswith("restore-")
    assert program.ran[1][:4] == ["/bin/etcdutl", "snapshot", "restore", str(tmp_path / "a.db")]
    assert program.ran[1][4:] == [
        "--name=cp1",
        "--initial-cluster=cp1=https://10.80.0.11:2380",
        f"--initial-cluster-token={made['token']}",
        "--initial-advertise-peer-urls=https://10.80.0.11:2380",
        f"--data-dir={tmp_path}/new/etcd.part/new",
        "--bump-revision=1000000000",
        "--mark-compacted",
    ]
    assert left(tmp_path / "new") == ["etcd", "etcd.json"]
    again = restore(program)
    assert not again["changed"] and again["restored"] == made and len(program.ran) == 2


def test_an_old_image_has_only_etcdctl(restore: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """etcd is lost, and its image is from before etcdutl was in it."""
    asked = []

    @contextlib.contextmanager
    def image(name: str, *_more: Any) -> Iterator[Optional[str]]:
        asked.append(name)
        yield f"/image/{name}" if name == "etcdctl" else None

    put(tmp_path, "a.db", data=fakes.snapshot(fakes.database().replace(b"3.6.0", b"3.5.0")))
    (tmp_path / "a.db.json").unlink()
    monkeypatch.setattr(data_dir, "tool_of_image", image)
    program = Etcdutl("3.5.12")
    # The distribution's own comes last.
    result = restore(program, tools={"etcdctl": "/usr/bin/etcdctl"})
    assert result["changed"] and asked == ["etcdutl", "etcdctl"]
    assert program.ran[1][:3] == ["/image/etcdctl", "snapshot", "restore"]


def test_check_mode_makes_nothing(restore: Run, tmp_path: Path) -> None:
    program = Etcdutl()
    result = restore(program, check=True)
    assert result["changed"] and result["restored"]["revision"] == 1_000_000_006
    assert [argv[1] for argv in program.ran] == ["version"] and not (tmp_path / "new").exists()


def test_nothing_that_exists_is_touched(restore: Run, tmp_path: Path) -> None:
    (tmp_path / "new" / "etcd").mkdir(parents=True)
    (tmp_path / "new" / "etcd" / "precious").write_text("data")
    program = Etcdutl()
    result = restore(program)
    assert result["failed"] and "is left alone" in result["msg"] and not program.ran
    assert left(tmp_path / "new") == ["etcd"]


def test_a_directory_made_of_something_else_is_left_alone(restore: Run) -> None:
    restore()
    result = restore(bump_revision=5)
    assert result["failed"] and "is left alone" in result["msg"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        pytest.param(Etcdutl(rc=1), "it went wrong", id="fails half-way"),
        pytest.param(Etcdutl(revision=1_000_000_007), "should be at 1000000006", id="wrong revision"),
        pytest.param(Etcdutl(member="cp9"), "should have", id="wrong members"),
        pytest.param(Etcdutl("3.5.21"), "no etcd starts on the data of a newer one", id="an older minor"),
        pytest.param(Etcdutl("3.7.0"), "allow_version_change=true", id="a newer minor"),
    ],
)
def test_nothing_is_left_of_a_restore_that_failed(restore: Run, tmp_path: Path, program: Etcdutl, words: str) -> None:
    result = restore(program)
    assert result["failed"] and not result["changed"] and words in result["msg"]
    assert not (tmp_path / "new").exists() or left(tmp_path / "new") == []


def test_an_etcdutl_that_takes_too_long_is_a_sentence_and_leaves_nothing(restore: Run, tmp_path: Path) -> None:
    class Slow(Etcdutl):
        def __call__(self, argv: list[str], **more: Any) -> Done:
            done = super().__call__(argv, **more)
            if argv[1] == "snapshot":
                raise TimedOut("It did not end.", timed_out=True)
            return done

    result = restore(Slow(), timeout=7)
    assert result["timed_out"] and "after 7 s" in result["msg"] and "option timeout" in result["msg"]
    assert left(tmp_path / "new") == []


def test_a_cluster_may_be_written_with_spaces(restore: Run) -> None:
    program = Etcdutl()
    result = restore(
        program,
        initial_cluster="cp2=https://10.80.0.12:2380, cp1=https://10.80.0.11:2380 ",
        initial_cluster_token="t",
        check=True,
    )
    assert result["restored"]["initial_cluster"] == "cp2=https://10.80.0.12:2380,cp1=https://10.80.0.11:2380"


def test_what_a_killed_run_left_is_replaced(restore: Run, tmp_path: Path) -> None:
    leftover = tmp_path / "new" / "etcd.part" / "new"
    leftover.mkdir(parents=True, mode=0o700)
    (tmp_path / "new").chmod(0o700)
    (leftover / "half").write_text("x")
    assert restore()["changed"] and left(tmp_path / "new") == ["etcd", "etcd.json"]


def test_a_bad_snapshot_is_refused_first(restore: Run, tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(fakes.flipped(6250))
    program = Etcdutl()
    assert "is damaged" in restore(program)["msg"] and not program.ran


@pytest.mark.parametrize(
    ("here", "options", "words"),
    [
        pytest.param(False, {}, "options member_name and peer_url", id="nothing known"),
        pytest.param(True, {"peer_url": "10.0.0.1"}, "is not the peer URL", id="no URL"),
        pytest.param(True, {"initial_cluster": "cp1"}, "option initial_cluster", id="no pairs"),
        pytest.param(
            True, {"initial_cluster": "cp2=https://10.80.0.12:2380"}, "does not have this member", id="not among them"
        ),
        pytest.param(
            True,
            {"initial_cluster": "cp1=https://10.80.0.11:2380,cp2=https://10.80.0.12:2380"},
            "option initial_cluster_token",
            id="no token",
        ),
        pytest.param(True, {"data_dir": "etcd"}, "option data_dir", id="relative directory"),
        pytest.param(True, {"bump_revision": -1}, "makes no sense", id="revision lowered"),
        pytest.param(True, {"name": "none.db"}, "There is no snapshot", id="no snapshot"),
    ],
)
def test_bad_words_are_refused(restore: Run, tmp_path: Path, here: bool, options: dict[str, Any], words: str) -> None:
    result = restore(here=here, **options)
    assert result["failed"] and words in result["msg"] and not (tmp_path / "new").exists()


@pytest.mark.parametrize("version", ["3.5.21", "3.4.30"])
def test_data_of_a_newer_etcd_is_allowed_by_nothing(restore: Run, tmp_path: Path, version: str) -> None:
    program = Etcdutl(version)
    result = restore(program, allow_version_change=True)
    assert "is of etcd 3.6" in result["msg"] and "Install etcd 3.6 there first" in result["msg"]
    assert [argv[1] for argv in program.ran] == ["version"] and not (tmp_path / "new").exists()


@pytest.mark.parametrize("allowed", [True, False])
def test_data_of_an_older_etcd_is_allowed_by_name(restore: Run, allowed: bool) -> None:
    result = restore(Etcdutl("3.7.0"), allow_version_change=allowed)
    assert bool(result.get("failed")) is not allowed
    assert allowed or "allow_version_change=true" in result["msg"]


@pytest.mark.parametrize(
    ("version", "refused"), [("3.5.9", True), ("3.5.10", False), ("3.4.26", True), ("3.4.27", False), ("3.6.0", False)]
)
def test_a_tool_that_cannot_raise_the_revision_is_refused(
    restore: Run, tmp_path: Path, version: str, refused: bool
) -> None:
    minor = version.rpartition(".")[0].encode()
    put(tmp_path, "a.db", data=fakes.snapshot(fakes.database().replace(b"3.6.0", minor + b".0")))
    (tmp_path / "a.db.json").unlink()
    result = restore(Etcdutl(version))
    assert bool(result.get("failed")) is refused
    assert not refused or "bump_revision=0" in result["msg"]


def test_ipv6_is_written_in_one_way(restore: Run) -> None:
    result = restore(
        peer_url="https://[FD00:0::11]:2380",
        initial_cluster="cp1=https://[fd00::11]:2380",
    )
    assert result["restored"]["peer_url"] == "https://[fd00::11]:2380"
