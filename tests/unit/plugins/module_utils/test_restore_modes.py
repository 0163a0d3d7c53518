# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_modes import plan
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch

NOW = epoch("2026-01-01T01:00:00Z")
ME = {"hostname": "bastion", "machine_id": "m1", "boot_id": "b1", "pid": 7, "start": 70, "running": []}
SNAPSHOT = {
    "name": "etcd-cp1.db",
    "sha256": "a" * 64,
    "size": 4 << 20,
    "revision": 2000,
    "taken": "2026-01-01T00:00:00Z",
    "nodes": ["cp1", "cp2", "cp3"],
    "root_ca_sha256": "ca",
    "cluster_version": "3.6.0",
    "kubernetes_version": "v1.34.4",
}
MEMBERS = [{"id_hex": str(n), "name": f"cp{n}", "peer_urls": [f"https://10.0.0.{n}:2380"]} for n in (1, 2, 3)]
SILENT = {
    "answers": False,
    "quorum": False,
    "members": [],
    "revision": 0,
    "raft_applied_index": 0,
    "raft_term": 0,
    "cluster_id": None,
    "snapshot_refusal": "it does not run",
    "problems": [],
}


def running(index: int = 100, **other: Any) -> dict[str, Any]:
    """A member that answers without a majority."""
    known = {"answers": True, "members": MEMBERS, "revision": index * 2, "raft_applied_index": index, "raft_term": 3}
    return {"etcd": {**SILENT, **known, "cluster_id": "c1", "snapshot_refusal": None, **other}}


def on_disk(index: int = 100, committed: int | None = 100, **other: Any) -> dict[str, Any]:
    """A member that does not answer, with its data."""
    data = {"problem": None, "revision": index * 2, "raft_index": index, "committed": committed, "raft_term": 3}
    return {"data": {**data, "cluster_id": "c1", "members": MEMBERS, **other}}


EMPTY: dict[str, Any] = {}


def looks(*masters: dict[str, Any], **all_of_them: Any) -> dict[str, dict[str, Any]]:
    return {
        f"master-{n}": {
            "node": f"cp{n}",
            "kind": "static_pod",
            "components": {
                name: {"kind": master.get("kind", "static_pod"), "unit": None, "masked": False}
                for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
            },
            "obstacles": [],
            "running": True,
            "kubelet": True,
            "member": f"cp{n}",
            "peer_url": f"https://10.0.0.{n}:2380",
            "client_url": f"https://10.0.0.{n}:2379",
            "data_dir": "/var/lib/etcd",
            "wal_dir": None,
            "quota": 0,
            "etcd_version": "3.6.5-0",
            "kubernetes_version": "1.34.4",
            "etcd": SILENT,
            "data": None,
            "ca_sha256": "ca",
            "cluster_name": "production",
            "nodes": None,
            "db_size": 4 << 20,
            "free": 10 << 30,
            "state": None,
            **master,
            **all_of_them,
        }
        for n, master in enumerate(masters, 1)
    }


def state(phase: str, **other: Any) -> dict[str, Any]:
    begun = {"run": "r1", "phase": phase, "updated": "2026-01-01T00:10:00Z", "token": "t", "bump_revision": 5}
    about = {"sha256": "a" * 64, "name": "etcd-cp1.db"}
    return {**begun, "snapshot": about, "initial_cluster": "cp1=https://10.0.0.1:2380", **other}


def made(seen: dict[str, Any], snapshot: dict[str, Any] | None = None, **asked: Any) -> dict[str, Any]:
    return plan(seen, snapshot or {}, Asked(**{"mode": "salvage", **asked}), ME, NOW)


# --- salvage: whose data


@pytest.mark.parametrize(
    ("masters", "source"),
    [
        ((running(), EMPTY, EMPTY), "master-1"),
        ((EMPTY, EMPTY, on_disk()), "master-3"),
        # The one that goes furthest, whether it runs or not.
        ((running(100), EMPTY, on_disk(90, 101)), "master-3"),
        ((running(102), EMPTY, on_disk(90, 101)), "master-1"),
        # Of equal ones the one that can be asked at once.
        ((on_disk(100), EMPTY, running(100)), "master-3"),
        # What is not fit is passed over.
        ((running(100), EMPTY, running(200, snapshot_refusal="This member has the alarm CORRUPT.")), "master-1"),
        ((running(100), EMPTY, {"data": {"problem": "/var/lib/etcd is damaged"}}), "master-1"),
        # A log that cannot be read: the database alone counts.
        ((EMPTY, EMPTY, on_disk(100, None)), "master-3"),
    ],
)
def test_the_best_data_is_chosen(masters: tuple[dict[str, Any], ...], source: str) -> None:
    found = made(looks(*masters), confirm="production")
    assert (found["action"], found["refusals"], found["source"]) == ("salvage", [], source)
    assert source in found["why"]


def test_it_says_why() -> None:
    found = made(looks(running(102), EMPTY, on_disk(90, 101)), confirm="production")
    assert "master-1 (raft index 102, term 3, revision 204, answers)" in found["why"]
    assert "master-3 (raft index 101, term 3, revision 180, does not answer)" in found["why"]


@pytest.mark.parametrize(
    ("masters", "asked", "said"),
    [
        ((EMPTY, EMPTY, EMPTY), {}, "No master has data"),
        ((EMPTY, {"data": {"problem": "page 7 is broken"}}, EMPTY), {}, "master-2: page 7 is broken."),
        # A majority works: there is nothing to salvage.
        ((running(quorum=True), running(quorum=True), EMPTY), {}, "etcd_restore_confirm=production"),
        ((running(quorum=True), running(quorum=True), EMPTY), {"confirm": "x"}, "nothing to salvage"),
        ((running(quorum=True), running(quorum=True), EMPTY), {"confirm": "production"}, None),
        # It only has to be started.
        ((running(), on_disk(), EMPTY), {}, "Start it"),
        ((running(), on_disk(), EMPTY), {"confirm": "production"}, None),
        ((EMPTY, on_disk(), on_disk()), {}, "master-2, master-3 does not answer"),
        ((running(), EMPTY, EMPTY), {}, None),
        # Data of two clusters cannot be compared.
        ((running(5, cluster_id="c2", quorum=True), on_disk(100), EMPTY), {"confirm": "production"}, "different etcd"),
        ((running(5, cluster_id="c2", quorum=True), on_disk(100), EMPTY), {"source": "master-2"}, "cluster of its own"),
        (
            (running(5, cluster_id="c2", quorum=True), on_disk(100), EMPTY),
            {"source": "master-2", "confirm": "production"},
            None,
        ),
        ((running(), on_disk(100, None, cluster_id=None), EMPTY), {}, "cluster unknown"),
        ((running(), EMPTY, EMPTY), {"source": "master-2"}, "etcd_restore_from=master-2 has no data"),
        ((running(), EMPTY, {"kind": "absent"}), {}, "master-3 has no etcd"),
    ],
)
def test_what_is_not_salvaged(masters: tuple[dict[str, Any], ...], asked: dict[str, Any], said: str | None) -> None:
    refusals = " ".join(made(looks(*masters), **asked)["refusals"])
    assert (said in refusals) if said else refusals == ""


def test_the_named_one_is_taken_although_another_goes_further() -> None:
    found = made(looks(running(100), EMPTY, running(102)), source="master-1", confirm="production")
    assert (found["source"], found["refusals"]) == ("master-1", [])


# --- members that are gone


@pytest.mark.parametrize(
    ("masters", "without", "said"),
    [
        ((running(), EMPTY), (), "etcd_restore_without=cp3"),
        ((running(), EMPTY), ("cp3",), None),
        # Of a cluster that is down only the data tells who belongs to it.
        ((EMPTY, on_disk()), (), "etcd_restore_without=cp3"),
        ((running(), EMPTY), ("cp3", "cp2"), "cp2 cannot be left out"),
    ],
)
def test_who_is_gone_has_to_be_named(
    masters: tuple[dict[str, Any], ...], without: tuple[str, ...], said: str | None
) -> None:
    refusals = " ".join(made(looks(*masters), without=without)["refusals"])
    assert (said in refusals) if said else refusals == ""


def test_the_gone_must_not_come_back_with_their_data() -> None:
    said = " ".join(made(looks(running(), EMPTY), without=("cp3",))["warnings"])
    assert "cp3" in said
    assert "kubeadm reset" in said
    assert "majority" not in said
    assert made(looks(running()), SNAPSHOT, without=("cp2", "cp3"))["without"] == ["cp2", "cp3"]
    assert "majority" in " ".join(made(looks(running()), without=("cp2", "cp3"))["warnings"])
    by_units = " ".join(made(looks(running(), EMPTY, kind="systemd"), without=("cp3",))["warnings"])
    assert "disable its units" in by_units and "kubeadm" not in by_units


# --- salvage: from then on like any other restore


def test_what_was_salvaged_is_restored_on_all() -> None:
    found = made(looks(running(), EMPTY, EMPTY), SNAPSHOT)
    assert (found["action"], found["refusals"], found["mode"], found["joiners"]) == ("restore", [], "salvage", [])
    assert found["initial_cluster"].count("cp") == 3
    assert found["safety_host"] is None


def test_a_salvage_that_was_begun_is_gone_on_with() -> None:
    found = made(looks(EMPTY, EMPTY, EMPTY, state=state("stopped", mode="salvage")))
    assert (found["action"], found["refusals"], found["mode"]) == ("resume", [], "salvage")
    other = made(looks(EMPTY, EMPTY, EMPTY, state=state("stopped")))
    assert "etcd_restore_mode=all_members" in " ".join(other["refusals"])


@pytest.mark.parametrize(
    ("master", "mode", "again", "action"),
    [
        (running(quorum=True), "salvage", False, "nothing"),
        (running(quorum=True), "salvage", True, "salvage"),
        (running(quorum=True), "all_members", False, "salvage"),
        # Lost once more.
        (running(), "salvage", False, "salvage"),
    ],
)
def test_it_is_salvaged_once(master: dict[str, Any], mode: str, again: bool, action: str) -> None:
    assert made(looks(master, master, state=state("done", mode=mode)), again=again)["action"] == action


# --- a seed


def test_the_seed_is_restored_alone_and_the_others_join_it() -> None:
    found = made(looks(EMPTY, EMPTY, EMPTY), SNAPSHOT, mode="seed_and_join", seed="master-2")
    assert (found["action"], found["refusals"]) == ("restore", [])
    assert found["initial_cluster"] == "cp2=https://10.0.0.2:2380"
    assert found["members"] == "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://10.0.0.3:2380"
    assert (found["seed_url"], found["joiners"]) == ("https://10.0.0.2:2379", ["master-1", "master-3"])
    assert "nothing is rolled back" in " ".join(found["warnings"])
    units = made(looks(EMPTY, EMPTY, kind="systemd"), SNAPSHOT, mode="seed_and_join")
    assert (units["seed"], units["joiners"], units["refusals"]) == ("master-1", ["master-2"], [])


@pytest.mark.parametrize(
    ("change", "asked", "said"),
    [
        ({}, {"seed": "w1"}, "etcd_restore_seed=w1 is none of the masters"),
        ({"client_url": None}, {}, "--advertise-client-urls"),
    ],
)
def test_no_seed(change: dict[str, Any], asked: dict[str, Any], said: str) -> None:
    assert said in " ".join(made(looks(EMPTY, EMPTY, **change), SNAPSHOT, mode="seed_and_join", **asked)["refusals"])


def test_a_join_that_was_cut_off_is_gone_on_with() -> None:
    about = {
        "mode": "seed_and_join",
        "members": "cp1=a,cp2=b,cp3=c",
        "seed": "master-1",
        "seed_url": "https://10.0.0.1:2379",
    }
    seen = looks(
        {"state": state("finished", joins=False, **about)},
        {"state": state("joined", joins=True, **about)},
        {"state": state("agreed", joins=True, **about)},
    )
    found = made(seen, SNAPSHOT, mode="seed_and_join")
    assert (found["action"], found["refusals"]) == ("resume", [])
    assert (found["joiners"], found["seed_url"]) == (["master-2", "master-3"], "https://10.0.0.1:2379")
    assert found["members"] == "cp1=a,cp2=b,cp3=c"
    # One that died meanwhile is not waited for for ever.
    del seen["master-3"]
    fewer = made(seen, SNAPSHOT, mode="seed_and_join", without=("cp3",))
    assert (fewer["action"], fewer["members"]) == ("resume", "cp1=a,cp2=b")
    assert "cp3" in " ".join(fewer["warnings"])
