# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A manifest that is told whom its etcd joins, and what a master that joins does at each step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _restore_state
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_join import join, make_empty, tell
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_manifest import told
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import Options, Restore
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_swap import Places, is_swapped, swap, unswap
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost

ONE = "cp1=https://10.0.0.1:2380"
BOTH = f"{ONE},cp2=https://10.0.0.2:2380"


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        # kubeadm's first master says nothing of the state.
        ({"initial-cluster": ONE}, [f"    - --initial-cluster={ONE}"]),
        (
            {"initial-cluster": ONE, "initial-cluster-state": "existing"},
            [f"    - --initial-cluster={ONE}", "    - --initial-cluster-state=existing"],
        ),
        (
            {"initial-cluster": ONE, "initial-cluster-state": "new"},
            [f"    - --initial-cluster={ONE}", "    - --initial-cluster-state=new"],
        ),
    ],
)
def test_only_two_flags_of_a_manifest_change(flags: dict[str, str], lines: list[str]) -> None:
    before = ["# a comment", "  - command:", "    - etcd", *lines, f"    - --initial-advertise-peer-urls={ONE[4:]}"]
    after = [*before[:3], f"    - --initial-cluster={BOTH}", "    - --initial-cluster-state=existing", before[-1]]
    assert told("\n".join(before) + "\n", flags, BOTH) == "\n".join(after) + "\n"


@pytest.mark.parametrize("text", ["    - etcd\n", f"--initial-cluster={ONE} --initial-cluster={ONE}"])
def test_a_manifest_that_does_not_say_it_once_is_left_alone(text: str) -> None:
    with pytest.raises(CareError, match="just once"):
        told(text, {"initial-cluster": ONE}, BOTH)


def test_the_change_is_proven_before_the_outage(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    fake.write("etcd", "--name=cp2")
    with pytest.raises(CareError, match="whom to join"):
        make_empty(str(tmp_path / "room"), fake.host)


def test_a_parked_manifest_is_told_once(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    path = fake.write("etcd", f"--initial-cluster={ONE}", "--initial-cluster-state=new", "--name=cp2")
    parking = Path(fake.host.parking("etcd"))
    parking.mkdir(parents=True)
    parked = parking / "etcd.yaml"
    os.rename(path, parked)
    tell(fake.host, BOTH)
    argv = fake.host.look("etcd").argv
    assert argv == ["etcd", f"--initial-cluster={BOTH}", "--initial-cluster-state=existing", "--name=cp2"]
    assert parked.stat().st_mode & 0o777 == 0o600
    before = parked.stat().st_mtime_ns
    tell(fake.host, BOTH)
    assert parked.stat().st_mtime_ns == before


def test_a_manifest_that_would_say_something_else_is_given_back(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    # Written on one line, so a line of its own for the state makes it unreadable.
    path = fake.write("etcd", f"--initial-cluster={ONE}")
    before = path.read_text()
    with pytest.raises(CareError, match="not expected"):
        tell(fake.host, BOTH)
    assert path.read_text() == before


def test_no_data_takes_the_place_of_the_old_and_gives_it_back(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    fake.write("etcd", f"--initial-cluster={ONE}")
    places = Places(str(tmp_path / "etcd"), str(tmp_path / "room"))
    os.makedirs(places.live)
    Path(places.live, "db").write_text("old")
    for _again in (1, 2):
        make_empty(places.room, fake.host)
    swap(places)
    assert is_swapped(places)
    assert os.listdir(places.live) == []
    assert unswap(places)
    assert Path(places.live, "db").read_text() == "old"


# --- the steps of a master that joins


def step(root: Path, phase: str, joins: bool = True) -> Restore:
    fake = FakeHost(root)
    _restore_state.save({"run": "r1", "joins": joins}, phase, str(fake.state))
    plan = {"run": "r1", "seen": {}, "snapshot": {"sha256": "a"}}
    options = Options(plan, {}, False, "/nowhere", 900, False, 10, "/nowhere", Access("", None, None, None))
    return Restore(fake.host, options)


def test_it_is_not_started_with_the_restored_cluster(tmp_path: Path) -> None:
    assert step(tmp_path, "swapped").start_etcd()["state"]["phase"] == "swapped"


@pytest.mark.parametrize("phase", ["agreed", "joining"])
def test_it_serves_nothing_before_it_has_joined(tmp_path: Path, phase: str) -> None:
    one = step(tmp_path, phase)
    assert one.start_api()["state"]["phase"] == phase
    assert one.finish()["state"]["phase"] == phase


@pytest.mark.parametrize("phase", ["armed", "stopped", "swapping"])
def test_no_mark_while_its_old_data_is_in_its_place(tmp_path: Path, phase: str) -> None:
    with pytest.raises(CareError, match="no mark is set"):
        step(tmp_path, phase).mark()


@pytest.mark.parametrize("phase", ["swapped", "stopped"])
def test_it_joins_nothing_without_the_mark(tmp_path: Path, phase: str) -> None:
    with pytest.raises(CareError, match="joins nothing"):
        join(step(tmp_path, phase))


@pytest.mark.parametrize(("phase", "joins"), [("joined", True), ("done", True), ("agreed", False), ("serving", False)])
def test_nobody_joins_twice(tmp_path: Path, phase: str, joins: bool) -> None:
    assert join(step(tmp_path, phase, joins)) == {"state": step_state(tmp_path)}


def step_state(root: Path) -> dict[str, object] | None:
    return _restore_state.load(str(root / "clustercare"))
