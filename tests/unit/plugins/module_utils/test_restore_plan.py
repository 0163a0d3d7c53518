# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked, words_of_age
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_earlier import at_work
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_plan import BUMP, joined_after, plan
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch

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
        "initial_cluster": ",".join(f"cp{n}=https://10.0.0.{n}:2380" for n in (1, 2, 3)),
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


@pytest.mark.parametrize(
    "seen",
    [
        {"etcd": alive(revision=3_000_000_000)},
        # Nobody answers: a restore from the same snapshot before this one, whose data is there, or is lost, or is no
        # longer the present one.
        {"data": {"revision": 3_000_000_000, "problem": None}},
        {"state": {**state("done", run="r0"), "revision": 3_000_000_000}},
        {"state": {**state("rolled_back", run="r0"), "revision": 3_000_000_000}, "etcd": alive(revision=2010)},
    ],
)
def test_the_bump_is_above_what_anybody_can_have_seen(seen: dict[str, Any]) -> None:
    found = made(looks(1, **seen), confirm="kubernetes", again=True)
    assert 2000 + found["bump_revision"] == 3_000_000_000 + BUMP


@pytest.mark.parametrize("seen", [{}, {"data": {"problem": "broken"}}, {"etcd": alive(revision=1500)}])
def test_the_least_bump(seen: dict[str, Any]) -> None:
    assert made(looks(1, **seen), confirm="kubernetes")["bump_revision"] == BUMP


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
        ({"peer_obstacles": ["Its certificate has ended."]}, "master-2: Its certificate has ended."),
        ({"data_dir": "default.etcd"}, "absolute path"),
        ({"wal_dir": "/wal"}, "move the files of /wal to /var/lib/etcd/member/wal"),
        ({"kubelet": False}, "No kubelet runs"),
        # With --etcd external the API server is a static pod.
        ({"kubelet": False, "components": components(etcd={"kind": "systemd"})}, "No kubelet runs"),
        ({"peer_url": None}, "does not say"),
        ({"etcd_version": "3.5.24-0"}, "etcd 3.6"),
        ({"etcd_version": "3.5.9-0"}, "master-2's etcd 3.5.9 cannot be asked for the hash"),
        ({"etcd_version": "3.4.27"}, "3.5.10 and newer can"),
        ({"etcd_version": "3.4"}, "3.5.10 and newer can"),
        ({"kubernetes_version": "1.35.4"}, "Kubernetes 1.34.4"),
        ({"quota": 1 << 20}, "quota"),
        ({"free": 1 << 20}, "make room"),
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


def test_one_alone_has_no_peers() -> None:
    assert made(looks(1, peer_obstacles=["Its certificate has ended."]))["refusals"] == []


@pytest.mark.parametrize(("present", "said"), [("e" * 64, None), ("f" * 64, "here ffffffffffffffff...")])
def test_what_was_encrypted_must_be_readable(present: str, said: str | None) -> None:
    refusals = made(looks(encryption_config_sha256=present), snapshot(encryption_config_sha256="e" * 64))["refusals"]
    assert (said in " ".join(refusals)) if said else refusals == []


@pytest.mark.parametrize("version", [None, "3.5", "3.5.10-0", "3.5.24-0"])
def test_an_etcd_whose_data_can_be_compared(version: str | None) -> None:
    assert made(looks(etcd_version=version), snapshot(cluster_version="3.5.0"))["refusals"] == []


def test_no_quota_is_none() -> None:
    assert made(looks(quota=-1, free=20 << 30), snapshot(size=4 << 30))["refusals"] == []


@pytest.mark.parametrize(
    ("mode", "host", "etcd", "refused"),
    [
        # 1 GiB of snapshot, 1 GiB of present data, 2 GiB free.
        ("all_members", "master-2", {}, True),
        ("seed_and_join", "master-1", {}, True),
        ("seed_and_join", "master-2", {}, False),
        # It has the newest data, of which a snapshot is kept.
        ("seed_and_join", "master-2", alive(), True),
    ],
)
def test_one_that_joins_needs_less_room(mode: str, host: str, etcd: dict[str, Any], refused: bool) -> None:
    seen = looks(free=10 << 30, db_size=1 << 30)
    seen[host]["free"] = 2 << 30
    seen[host]["etcd"].update(etcd)
    refusals = " ".join(made(seen, snapshot(size=1 << 30), mode=mode, confirm="kubernetes")["refusals"])
    assert (f"{host} has 2048 MiB free" in refusals) if refused else refusals == ""


def test_why_no_safety_snapshot_is_taken() -> None:
    assert "No etcd member answers: the present" in " ".join(made(looks())["warnings"])
    seen = looks(1, etcd={"answers": True, "snapshot_refusal": "This member has the alarm CORRUPT."})
    assert "master-1: This member has the alarm CORRUPT." in " ".join(made(seen)["warnings"])


MEMBERS = [{"id_hex": str(number), "name": f"cp{number}", "peer_urls": []} for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("change", "about", "asked", "missing"),
    [
        # Nothing runs: who else belongs to it is on the disk.
        ({"data": {"problem": None, "members": MEMBERS}}, {}, {}, "cp2,cp3"),
        ({"data": {"problem": None, "members": MEMBERS}}, {}, {"without": ("cp2", "cp3")}, None),
        ({"data": {"problem": None, "members": MEMBERS[:1]}}, {"members": MEMBERS}, {}, None),
        # Its database is broken or gone: only the snapshot tells.
        ({"data": {"problem": "page 7 is broken"}}, {"members": MEMBERS}, {}, "cp2,cp3"),
        ({"data": None}, {"members": MEMBERS}, {}, "cp2,cp3"),
        ({"data": None}, {"members": MEMBERS}, {"foreign": True}, None),
        # A cluster that works knows its members better than a snapshot or an old disk.
        ({"etcd": alive(members=MEMBERS[:1])}, {"members": MEMBERS}, {"confirm": "kubernetes"}, None),
        ({"etcd": {"answers": True, "members": MEMBERS}}, {}, {}, "cp2,cp3"),
    ],
)
def test_masters_that_are_left_out_have_to_be_named(
    change: dict[str, Any], about: dict[str, Any], asked: dict[str, Any], missing: str | None
) -> None:
    refusals = " ".join(made(looks(1, **change), snapshot(**about), **asked)["refusals"])
    assert (f"etcd_restore_without={missing}," in refusals) if missing else refusals == ""


def test_a_disk_from_before_a_member_was_removed_is_passed_over() -> None:
    seen = looks(2)
    seen["master-1"]["etcd"].update(alive(members=MEMBERS[:2]))
    seen["master-2"]["data"] = {"problem": None, "members": MEMBERS}
    assert made(seen, confirm="kubernetes")["refusals"] == []


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
        ({"taken": None}, {"max_age": 10}, "Nobody wrote down when"),
        ({"taken": None}, {}, None),
        ({"encryption_config_sha256": "e" * 64}, {}, "master-3's API server has none"),
        ({"encryption_config_sha256": "e" * 64}, {"allow_encryption_change": True}, None),
        ({"encryption_config_sha256": None}, {}, None),
        ({"cluster_version": None, "etcd_version": "3.5.24"}, {}, "etcd 3.5"),
        ({"kubernetes_version": "v1.33.1"}, {}, "allow_version_change"),
        ({"kubernetes_version": "v1.33.1"}, {"allow_version_change": True}, None),
        ({"kubernetes_version": None}, {}, None),
        ({"cluster_version": "3.5.0"}, {}, "etcd_restore_allow_version_change=true"),
        ({"cluster_version": "3.5.0"}, {"allow_version_change": True}, None),
        # An upgrade to 3.7 was under way: what is newest in it counts, and nothing allows it.
        ({"cluster_version": "3.7.0"}, {"allow_version_change": True}, "no etcd starts on the data of a newer one"),
        ({"storage_version": "3.7.0"}, {"allow_version_change": True}, "no etcd starts on the data of a newer one"),
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


def test_an_alarm_in_the_snapshot_is_told() -> None:
    about = snapshot(alarms=[{"member": "5", "alarm": "NOSPACE"}])
    assert "alarm NOSPACE" in " ".join(made(looks(), about)["warnings"])
    assert "alarm" not in " ".join(made(looks())["warnings"])


def test_nodes_that_are_not_well_before_are_named() -> None:
    seen = looks()
    assert made(seen)["unready_nodes"] is None
    seen["master-2"]["unready"] = ["w2"]
    found = made(seen)
    assert found["unready_nodes"] == ["w2"]
    assert "does not wait for them: w2." in " ".join(found["warnings"])


def test_the_same_snapshot_is_restored_once() -> None:
    seen = looks(state=state("done"), etcd=alive())
    assert made(seen)["action"] == "nothing"
    # Lost once more.
    assert made(looks(state=state("done")))["action"] == "restore"
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
    found = made(seen, rollback=True)
    assert found["action"] == "rollback"
    assert "restart the kubelets of all nodes" in " ".join(found["warnings"])


def test_nobody_has_to_be_restarted_whom_no_api_server_has_served() -> None:
    seen = looks()
    for look_ in seen.values():
        look_["state"] = state("started")
    found = made(seen, rollback=True)
    assert (found["action"], found["warnings"]) == ("rollback", [])


@pytest.mark.parametrize(
    ("phases", "action"),
    [
        (("serving", "rolled_back", "rolled_back"), "rollback"),
        (("serving", "agreed", "rolled_back"), "rollback"),
        # What was written to a majority since is not lost unasked.
        (("serving", "serving", "rolled_back"), "stuck"),
        (("serving", "serving", None), "stuck"),
        (("serving", None, None), "rollback"),
    ],
)
def test_a_member_that_its_timer_has_started_is_no_cluster_but_a_majority_is(
    phases: tuple[str | None, ...], action: str
) -> None:
    seen = looks()
    for host, phase in zip(seen, phases):
        seen[host]["state"] = state(phase, by="dead man") if phase else None
    found = made(seen)
    assert (found["action"], bool(found["refusals"])) == (action, action == "stuck")
    assert bool(found["in_use"]) is (action == "stuck")
    for row in seen.values():
        row["state"] = row["state"] and {**row["state"], "initial_cluster": "cp1=https://10.0.0.1:2380"}
    # A seed is a cluster of its own.
    assert made(seen)["action"] == "stuck"


def test_another_snapshot_waits_for_the_begun_restore() -> None:
    seen = looks(state=state("stopped"))
    assert "etcd-cp1.db" in " ".join(made(seen, snapshot(sha256="b" * 64))["refusals"])


def test_a_rollback_also_undoes_what_has_ended() -> None:
    found = made(looks(state=state("done")), rollback=True)
    assert (found["action"], found["refusals"]) == ("rollback", [])
    assert made(looks(), rollback=True)["action"] == "nothing"


@pytest.mark.parametrize("phase", ["serving", "done"])
def test_what_was_written_since_a_restore_is_given_up_by_the_name_of_the_cluster(phase: str) -> None:
    seen = looks(state=state(phase), etcd=alive())
    assert "type the cluster's name: -e etcd_restore_confirm=kubernetes" in " ".join(
        made(seen, rollback=True)["refusals"]
    )
    assert made(seen, rollback=True, confirm="kubernetes")["refusals"] == []
    # Nobody can have written anything.
    assert made(looks(state=state("started"), etcd=alive()), rollback=True)["refusals"] == []


@pytest.mark.parametrize("rollback", [False, True])
@pytest.mark.parametrize("phase", ["stopped", "serving"])
def test_no_master_of_a_begun_restore_is_left_alone(phase: str, rollback: bool) -> None:
    seen = looks(state=state(phase))
    del seen["master-3"]
    assert "is of cp3, too" in " ".join(made(seen, rollback=rollback)["refusals"])
    assert made(seen, rollback=rollback, without=("cp3",))["refusals"] == []


def test_a_master_that_has_no_old_data_is_not_left_on_other_data_than_the_rest() -> None:
    seen = looks(state=state("done"))
    seen["master-3"]["state"] = None
    assert "master-3 knows nothing of the restore r1" in " ".join(made(seen, rollback=True)["refusals"])
    del seen["master-3"]
    assert made(seen, rollback=True, without=("cp3",))["refusals"] == []


def test_old_data_that_was_removed_on_one_master_is_given_back_on_none() -> None:
    seen = looks(state=state("done", safety="/var/backups/before.db"))
    seen["master-2"]["old_data_gone"] = True
    said = " ".join(made(seen, rollback=True)["refusals"])
    assert "master-2 has its data from before the restore r1 no more" in said
    assert "/var/backups/before.db on master-1" in said


def test_a_restore_that_was_only_staged_later_hides_none_from_a_rollback() -> None:
    seen = looks(state=state("staged", run="r2"), touched=state("done"))
    found = made(seen, rollback=True)
    assert (found["action"], found["run"], found["refusals"]) == ("rollback", "r1", [])


def test_another_run_that_has_staged_is_not_overtaken() -> None:
    busy = {"running": [{"pid": 5, "start": 50}]}
    seen = looks(state=state("staged"))
    found = plan(seen, snapshot(), Asked(), {**ME, **busy}, NOW)
    assert "Somebody is at work on a restore: run r1 on bastion" in " ".join(found["refusals"])
    assert plan(seen, snapshot(), Asked(take_over=True), {**ME, **busy}, NOW)["refusals"] == []
    assert made(seen)["refusals"] == []
    # One that goes on after it was looked at is seen to.
    assert found["seen"]["cp1"] != made(looks(state=state("armed")))["seen"]["cp1"]


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


@pytest.mark.parametrize(("timeout", "later", "busy"), [(300, 320, True), (300, 340, False), (10, 100, True)])
def test_a_run_elsewhere_may_be_quiet_for_as_long_as_a_step_of_it_may_take(
    timeout: int, later: int, busy: bool
) -> None:
    begun = {**state("stopped"), "timeout": timeout}
    assert bool(at_work(begun, {**ME, "machine_id": "m2"}, epoch(begun["updated"]) + later)) is busy


@pytest.mark.parametrize(("seconds", "said"), [(59, "0 min"), (12000, "3 h 20 min"), (90000, "1 d 1 h"), (-5, "0 min")])
def test_ages(seconds: float, said: str) -> None:
    assert words_of_age(seconds) == said
