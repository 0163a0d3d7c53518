# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked, epoch, words_of_age
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_earlier import at_work
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_plan import joined_after, plan

TAKEN = "2026-01-01T00:00:00Z"
NOW = epoch(TAKEN) + 3600
SHA = "a" * 64
ME = {"hostname": "bastion", "machine_id": "m1", "boot_id": "b1", "pid": 7, "start": 70, "running": []}


COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def components(kind: str = "static_pod", **other: Any) -> dict[str, dict[str, Any]]:
    """All of one kind, but those that are named with what is other about them."""
    rows = {name: {"kind": kind, "unit": None, "masked": False} for name in COMPONENTS}
    if kind == "systemd":
        rows = {name: {**row, "unit": f"{name}.service"} for name, row in rows.items()}
    return {name: {**row, **other.get(name.replace("-", "_"), {})} for name, row in rows.items()}


def snapshot(**other: Any) -> dict[str, Any]:
    return {
        "name": "etcd-cp1.db",
        "sha256": SHA,
        "size": 4 << 20,
        "revision": 2000,
        "taken": TAKEN,
        "nodes": ["cp1", "cp2", "cp3", "w1"],
        "root_ca_sha256": "ca",
        "ca_sha256": "ca",
        "cluster_version": "3.6.0",
        "kubernetes_version": "v1.34.4",
        **other,
    }


def look(name: str, state: Any = None, **other: Any) -> dict[str, Any]:
    etcd = {"answers": False, "quorum": False, "members": [], "revision": 0, "raft_applied_index": 0}
    etcd.update(cluster_id=None, snapshot_refusal="it does not run", problems=[])
    etcd.update(other.pop("etcd", {}))
    return {
        "node": name,
        "kind": "static_pod",
        "components": components(),
        "obstacles": [],
        "running": False,
        "kubelet": True,
        "member": name,
        "peer_url": f"https://10.0.0.{name[-1]}:2380",
        "data_dir": "/var/lib/etcd",
        "wal_dir": None,
        "quota": 0,
        "etcd_version": "3.6.5-0",
        "kubernetes_version": "1.34.4",
        "etcd": etcd,
        "ca_sha256": "ca",
        "cluster_name": "kubernetes",
        "nodes": None,
        "db_size": 4 << 20,
        "free": 10 << 30,
        "free_for_snapshot": None,
        "state": state,
        **other,
    }


def looks(count: int = 3, **other: Any) -> dict[str, dict[str, Any]]:
    return {f"master-{number}": look(f"cp{number}", **other) for number in range(1, count + 1)}


def alive(index: int = 100, **other: Any) -> dict[str, Any]:
    return {"answers": True, "quorum": True, "snapshot_refusal": None, "raft_applied_index": index, **other}


def state(phase: str, **other: Any) -> dict[str, Any]:
    return {
        "run": "r1",
        "phase": phase,
        "updated": "2026-01-01T00:10:00Z",
        "snapshot": {"sha256": SHA, "name": "etcd-cp1.db"},
        "initial_cluster": "cp1=https://10.0.0.1:2380",
        "token": "t",
        "bump_revision": 5,
        "controller": {"hostname": "bastion", "machine_id": "m1", "boot_id": "b1", "pid": 5, "start": 50},
        **other,
    }


def made(seen: dict[str, Any], about: Any = None, **asked: Any) -> dict[str, Any]:
    return plan(seen, about or snapshot(), Asked(**asked), ME, NOW)


def test_a_lost_cluster_is_restored_from_all_its_members() -> None:
    found = made(looks())
    assert found["action"] == "restore"
    assert found["refusals"] == []
    assert found["initial_cluster"] == "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://10.0.0.3:2380"
    assert found["bump_revision"] == 1_000_000_000
    assert found["safety_host"] is None
    assert found["seen"] == {"cp1": None, "cp2": None, "cp3": None}


@pytest.mark.parametrize("kinds", [components("systemd"), components(etcd={"kind": "systemd", "unit": "etcd.service"})])
def test_units_are_restored_as_static_pods_are(kinds: dict[str, dict[str, Any]]) -> None:
    without = all(row["kind"] == "systemd" for row in kinds.values())
    found = made(looks(kind="systemd", components=kinds, kubelet=not without))
    assert (found["action"], found["refusals"]) == ("restore", [])


def test_two_plans_never_share_a_token() -> None:
    assert made(looks())["token"] != made(looks())["token"]


def test_the_bump_is_above_what_anybody_can_have_seen() -> None:
    found = made(looks(1, etcd=alive(revision=3_000_000_000)), confirm="kubernetes")
    assert 2000 + found["bump_revision"] > 3_000_000_000


def test_the_newest_data_is_kept() -> None:
    seen = looks()
    for number, host in enumerate(seen):
        seen[host]["etcd"].update(alive(100 + number % 2))
    assert made(seen, confirm="kubernetes")["safety_host"] == "master-2"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"components": components(etcd={"kind": "absent"})}, "has no etcd"),
        ({"components": components(etcd={"kind": "process"})}, "whoever started it"),
        ({"components": components("systemd", kube_apiserver={"kind": "absent"})}, "has no kube-apiserver"),
        ({"components": components("systemd", kube_scheduler={"masked": True})}, "unmask kube-scheduler.service"),
        ({"obstacles": ["There is no kubeconfig."]}, "master-2: There is no kubeconfig."),
        ({"data_dir": "default.etcd"}, "absolute path"),
        ({"wal_dir": "/wal"}, "move the files of /wal to /var/lib/etcd/member/wal"),
        ({"kubelet": False}, "No kubelet runs"),
        # With --etcd external the API server is a static pod.
        ({"kubelet": False, "components": components(etcd={"kind": "systemd"})}, "No kubelet runs"),
        ({"peer_url": None}, "does not say"),
        ({"etcd_version": "3.5.24-0"}, "etcd 3.6"),
        ({"kubernetes_version": "1.35.4"}, "Kubernetes 1.34.4"),
        ({"quota": 1 << 20}, "quota"),
        ({"free": 1 << 20}, "make room"),
        ({"free_for_snapshot": 20 << 20}, "20 MiB free in /var/lib/clustercare"),
        ({"ca_sha256": "other"}, "not one cluster"),
        ({"member": "cp1"}, "same etcd name: cp1"),
        ({"peer_url": "https://10.0.0.1:2380"}, "same etcd peer URL"),
        ({"etcd": {"members": [{"id_hex": "9", "name": "cp9", "peer_urls": []}]}}, "cp9"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], said: str) -> None:
    seen = looks()
    merged = {**seen["master-2"], **change}
    merged["etcd"] = {**seen["master-2"]["etcd"], **change.get("etcd", {})}
    seen["master-2"] = merged
    assert said in " ".join(made(seen)["refusals"])


@pytest.mark.parametrize(
    ("about", "asked", "said"),
    [
        ({"root_ca_sha256": "other"}, {}, "another cluster"),
        ({"root_ca_sha256": None, "ca_sha256": "other"}, {}, "another cluster"),
        # What was written beside it can be anybody's.
        ({"root_ca_sha256": "other", "ca_sha256": "ca"}, {}, "another cluster"),
        ({"root_ca_sha256": None, "ca_sha256": None}, {}, "does not say which cluster"),
        ({"root_ca_sha256": "other"}, {"foreign": True}, None),
        ({"root_ca_sha256": None, "ca_sha256": "ca"}, {}, None),
        ({}, {"max_age": 3599}, "1 h 0 min old"),
        ({}, {"max_age": 3600}, None),
        ({"taken": None}, {"max_age": 10}, None),
        ({"kubernetes_version": "v1.33.1"}, {}, "allow_version_change"),
        ({"kubernetes_version": "v1.33.1"}, {"allow_version_change": True}, None),
        ({"kubernetes_version": None}, {}, None),
        ({"cluster_version": "3.5.0"}, {}, "etcd 3.5"),
        ({"cluster_version": "3.5.0"}, {"allow_version_change": True}, None),
        # Nothing makes an older etcd start on that.
        ({"cluster_version": "3.7.0"}, {"allow_version_change": True}, "no etcd starts on the data of a newer one"),
        ({"storage_version": "3.7.0"}, {"allow_version_change": True}, "Install etcd 3.7"),
        ({"storage_version": "3.6.0"}, {}, None),
        ({"cluster_version": None}, {}, None),
        ({"size": 2 << 30}, {}, "full at once"),
    ],
)
def test_snapshots(about: dict[str, Any], asked: dict[str, Any], said: str | None) -> None:
    refusals = " ".join(made(looks(), snapshot(**about), **asked)["refusals"])
    assert (said in refusals) if said else refusals == ""


@pytest.mark.parametrize(
    ("confirm", "refused"), [("", True), ("production", True), ("Kubernetes", True), ("kubernetes", False)]
)
def test_a_cluster_that_works_needs_its_name_typed(confirm: str, refused: bool) -> None:
    refusals = made(looks(etcd=alive()), confirm=confirm)["refusals"]
    assert bool(refusals) == refused
    assert not refused or "etcd_restore_confirm=kubernetes" in refusals[0]


def test_nodes_that_would_be_lost_are_named() -> None:
    seen = looks(nodes=["cp1", "cp2", "cp3", "w1", "w2"])
    assert joined_after(seen, snapshot()) == ["w2"]
    assert any("w2" in warning for warning in made(seen)["warnings"])
    assert joined_after(looks(), snapshot()) is None


def test_the_same_snapshot_is_restored_once() -> None:
    seen = looks(state=state("done"))
    assert made(seen)["action"] == "nothing"
    assert made(seen, again=True)["action"] == "restore"
    assert made(seen, snapshot(sha256="b" * 64))["action"] == "restore"


@pytest.mark.parametrize(
    ("phases", "action"),
    [
        (("staged", "staged", "staged"), "restore"),
        (("rolled_back", "rolled_back", "rolled_back"), "restore"),
        (("armed", "armed", "staged"), "resume"),
        (("stopped", "stopping", "armed"), "resume"),
        (("swapped", "swapping", "stopped"), "resume"),
        (("agreed", "agreed", "started"), "resume"),
        (("serving", "serving", "agreed"), "resume"),
        (("finished", "done", "finished"), "resume"),
        (("stopped", "stopped", "rolled_back"), "rollback"),
        (("agreed", "rolled_back", "rolled_back"), "rollback"),
        (("rolling_back", "stopped", "stopped"), "rollback"),
        (("rolling_back", "rolled_back", "rolled_back"), "rollback"),
        (("stopped", "stopped", None), "rollback"),
    ],
)
def test_what_a_killed_run_left_is_finished_or_undone(phases: tuple[str | None, ...], action: str) -> None:
    seen = looks()
    for host, phase in zip(seen, phases):
        seen[host]["state"] = state(phase) if phase else None
    found = made(seen)
    assert (found["action"], found["refusals"]) == (action, [])
    if action != "restore":
        assert (found["run"], found["token"], found["bump_revision"]) == ("r1", "t", 5)


def test_a_master_that_went_back_under_others_that_serve_needs_a_person() -> None:
    seen = looks()
    for host, phase in zip(seen, ("serving", "serving", "rolled_back")):
        seen[host]["state"] = state(phase)
    assert "etcd_restore_rollback=true" in " ".join(made(seen)["refusals"])
    assert made(seen, rollback=True)["action"] == "rollback"
    # What the dead man's timer started on a single master is not the cluster.
    for host in ("master-1", "master-2"):
        seen[host]["state"]["by"] = "dead man"
    assert made(seen)["action"] == "rollback"


def test_another_snapshot_waits_for_the_begun_restore() -> None:
    seen = looks(state=state("stopped"))
    assert "etcd-cp1.db" in " ".join(made(seen, snapshot(sha256="b" * 64))["refusals"])


def test_a_rollback_also_undoes_what_has_ended() -> None:
    assert made(looks(state=state("done")), rollback=True)["action"] == "rollback"
    assert made(looks(), rollback=True)["action"] == "nothing"


def staged_over(before: dict[str, Any]) -> dict[str, Any]:
    """What a host says on which another restore was staged afterwards, and no more."""
    return state("staged", run="r2", snapshot={"sha256": "b" * 64, "name": "other.db"}, before=before)


def test_what_was_only_staged_since_hides_no_restore() -> None:
    seen = looks(state=state("done"))
    seen["master-1"]["state"] = seen["master-2"]["state"] = staged_over(state("done"))
    assert made(seen)["action"] == "nothing"
    back = made(seen, rollback=True)
    assert (back["action"], back["run"], back["refusals"]) == ("rollback", "r1", [])


@pytest.mark.parametrize("other", [None, state("done", run="r0"), state("staged", run="r2", before=None)])
def test_a_master_that_was_no_part_of_a_restore_is_not_left_alone(other: dict[str, Any] | None) -> None:
    seen = looks(state=state("done"))
    seen["master-3"]["state"] = other
    assert "master-3 was no part of the restore r1" in " ".join(made(seen, rollback=True)["refusals"])
    del seen["master-3"]
    assert made(seen, rollback=True)["refusals"] == []


def test_one_that_never_came_to_stop_anything_is_no_stranger() -> None:
    seen = looks(state=state("stopped"))
    seen["master-3"]["state"] = None
    assert (made(seen)["action"], made(seen, rollback=True)["refusals"]) == ("rollback", [])


RUNS = [{"pid": 5, "start": 50}]


@pytest.mark.parametrize(
    ("me", "holder", "later", "busy"),
    [
        ({"running": RUNS}, {}, 3600, True),
        ({"running": []}, {}, 1, False),
        ({"running": [{"pid": 5, "start": 51}]}, {}, 1, False),
        ({"boot_id": "b2", "running": RUNS}, {}, 1, False),
        ({"pid": 5, "start": 50, "running": RUNS}, {}, 1, False),
        ({"running": RUNS}, {"machine_id": "m2"}, 100, True),
        ({"running": RUNS}, {"machine_id": "m2"}, 200, False),
        ({"running": None}, {}, 100, True),
        ({"running": None}, {}, 200, False),
    ],
)
def test_a_run_that_is_gone_is_taken_over(me: dict[str, Any], holder: dict[str, Any], later: int, busy: bool) -> None:
    begun = state("stopped")
    begun["controller"] = {**begun["controller"], **holder}
    now = epoch(begun["updated"]) + later
    assert bool(at_work(begun, {**ME, **me}, now)) is busy


@pytest.mark.parametrize(("seconds", "said"), [(59, "0 min"), (12000, "3 h 20 min"), (90000, "1 d 1 h"), (-5, "0 min")])
def test_ages(seconds: float, said: str) -> None:
    assert words_of_age(seconds) == said
