# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""node_drain beside others and in trouble: many nodes, a second run, another drain, a signal."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _cordon,
    _drain_options,
    _drain_run,
    _kube,
    _node_lock,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._names import LEASES, LOCK
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import (
    FakeApi,
    budget,
    cordoned,
    mark,
    node,
    pod,
    status,
)


def note(api: FakeApi, name: str = "w1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(api.nodes[name]["metadata"]["annotations"][_cordon.ANNOTATION])
    return found


# --- another run ------------------------------------------------------------------------------------------------


def test_the_cordon_of_a_dead_run_is_taken_over(api: FakeApi, drain: Any) -> None:
    mark(api, "r1")
    api.add(pod("a"))
    result = drain(owner="upgrade", run_id="r2")
    assert not result.get("failed") and note(api)["run"] == "r2"
    assert result["cordon"]["before"]["run"] == "r1" and result["cordon"]["after"]["run"] == "r2"


def test_on_a_node_that_is_empty_there_is_nothing_to_take_over(api: FakeApi, drain: Any) -> None:
    mark(api, "r1")
    result = drain(owner="upgrade", run_id="r2")
    assert not result["changed"] and api.writes == 0 and note(api)["run"] == "r1"


def test_the_cordon_of_another_purpose_is_not_taken_over(api: FakeApi, drain: Any) -> None:
    mark(api, "r1", owner="maintenance")
    api.add(pod("a"))
    result = drain(owner="upgrade", run_id="r2")
    assert note(api)["owner"] == "maintenance" and api.counted["PATCH"] == 0
    assert any("already cordoned for 'maintenance'" in warning for warning in result["warnings"])


@pytest.mark.parametrize("on_failure", ["keep_cordoned", "restore"])
def test_a_drain_whose_node_was_taken_over_stops_and_leaves_the_cordon(
    api: FakeApi, drain: Any, on_failure: str
) -> None:
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))
    api.inject("GET", "poddisruptionbudgets", lambda: mark(api, "r2"), after=1)
    result = drain(owner="upgrade", run_id="r1", on_failure=on_failure, timeout=30)
    assert result["failed"] and result["elapsed"] < 5 and not result["timed_out"]
    assert "for 'upgrade' (run r2, from ctl2, at 2026-11-22T03:00:00Z)" in result["msg"] and "shop/a" in result["msg"]
    assert cordoned(api) and note(api)["run"] == "r2" and api.evictions == []
    assert result["changed"], "it did set its own cordon first"


def test_a_drain_whose_node_was_uncordoned_stops(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))
    api.inject("GET", "poddisruptionbudgets", lambda: api.nodes["w1"]["spec"].pop("unschedulable") and None, after=1)
    result = drain(timeout=30)
    assert result["failed"] and result["elapsed"] < 5 and "somebody uncordoned it" in result["msg"]


def test_a_restore_does_not_lift_what_was_taken_over_at_the_last_moment(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    said = 'pods "a" is forbidden: User "x" cannot create resource "pods/eviction" in API group ""'

    def refuse() -> Any:
        mark(api, "r2")
        return status(403, said, "Forbidden")

    api.inject("POST", "/eviction", refuse, times=9)
    result = drain(owner="upgrade", run_id="r1", on_failure="restore")
    assert result["failed"] and cordoned(api) and note(api)["run"] == "r2"
    assert "was left cordoned for 'upgrade' (run r2" in result["msg"]


# --- another process of this machine ----------------------------------------------------------------------------


def test_two_drains_of_one_node_do_not_work_at_the_same_time(api: FakeApi, drain: Any, tmp_path: Path) -> None:
    api.add(pod("a"))
    other = _node_lock.NodeLock(api.url, "w1")
    assert other.take("run r0, process 1") is None
    seen: list[int] = []

    def end() -> None:
        seen.append(len(api.evictions))
        other.release()

    api.inject("PATCH", "/nodes/w1", threading.Timer(0.6, end).start)
    result = drain()
    assert not result.get("failed") and seen == [0] and api.evictions == ["a"]
    (lock,) = (tmp_path / ".ansible" / "clustercare" / "drain").iterdir()
    assert stat.S_IMODE(lock.parent.stat().st_mode) == 0o700 and stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_a_drain_that_does_not_stop_is_named(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    other = _node_lock.NodeLock(api.url, "w1")
    other.take("run r0, process 1")
    result = drain(timeout=0.5)
    other.release()
    assert result["failed"] and result["timed_out"] and api.evictions == []
    assert "still running on this machine (run r0, process 1)" in result["msg"]


def test_a_home_that_cannot_be_written_is_said(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    api.add(pod("a"))
    result = drain()
    assert not result.get("failed") and any("No lock could be kept" in warning for warning in result["warnings"])


# --- a signal ---------------------------------------------------------------------------------------------------


@pytest.fixture
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    """A signal that the test may send to itself, also where the tests were started by nohup."""
    before = signal.getsignal(request.param)
    if before == signal.SIG_IGN:
        signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], indirect=True)
@pytest.mark.parametrize("on_failure", ["keep_cordoned", "restore"])
def test_interrupted_it_evicts_nobody_any_more(api: FakeApi, drain: Any, number: int, on_failure: str) -> None:
    api.add(pod("free", of="ReplicaSet/free"))
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))
    before = signal.getsignal(number)
    api.inject("GET", "namespaces/shop/poddisruptionbudgets", lambda: os.kill(os.getpid(), number), after=2)
    result = drain(on_failure=on_failure, timeout=60)
    assert result["failed"] and result["changed"] and api.evictions == ["free"]
    assert (
        f"interrupted ({signal.Signals(number).name})" in result["msg"] and "shop/a (budget shop/web" in result["msg"]
    )
    assert cordoned(api) == (on_failure == "keep_cordoned")
    assert signal.getsignal(number) == before


def test_interrupted_while_it_cordons_it_knows_what_it_did(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))

    def take_it_and_die() -> str:
        api.answer("PATCH", "/api/v1/nodes/w1", {}, json.loads(json.dumps(api.bodies[-1])))
        os.kill(os.getpid(), signal.SIGTERM)
        return "drop"

    api.inject("PATCH", "/nodes/w1", take_it_and_die)
    result = drain(on_failure="restore")
    assert result["failed"] and result["changed"] and not cordoned(api) and api.evictions == []


# --- many nodes -------------------------------------------------------------------------------------------------


def test_all_nodes_are_cordoned_before_the_first_pod_goes(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    for on in ("w1", "w2"):
        api.add(pod(f"on-{on}", on=on, of=f"ReplicaSet/{on}"))
    result = drain(names=["w1", "w2"])
    assert not result.get("failed"), result
    order = [path for method, path in api.asked if method in ("PATCH", "POST")]
    assert [path.rsplit("/", 1)[1] for path in order] == ["w1", "w2", "eviction", "eviction"]
    assert {name: told["outcome"] for name, told in result["nodes"].items()} == {"w1": "drained", "w2": "drained"}
    assert result["counts"] == {"evicted": 2} and result["changed"]
    assert "node: w1\nunschedulable: true" in result["diff"]["after"] and "node: w2" in result["diff"]["after"]


def test_as_many_nodes_at_once_as_wanted(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    api.termination = 0.5
    for on in ("w1", "w2"):
        api.add(pod(f"on-{on}", on=on, of=f"ReplicaSet/{on}"))
    both: list[set[str]] = []

    def look() -> None:
        both.append({p["spec"]["nodeName"] for p in api.pods.values() if "deletionTimestamp" in p["metadata"]})

    api.inject("GET", "fieldSelector", look, times=999)
    drain(names=["w1", "w2"], max_parallel_nodes=2)
    assert {"w1", "w2"} in both


def test_a_failed_node_stops_the_next_and_all_are_named(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    api.add(node("w4"))
    api.add(pod("free", on="w1", of="ReplicaSet/free"))
    api.add(pod("stuck", on="w2"))
    api.add(pod("later", on="w3", of="ReplicaSet/later"))
    api.add(budget("web", 1, app="web"))
    result = drain(names=["w1", "w2", "w3"], timeout=1, on_failure="restore")
    assert result["failed"] and result["changed"]
    told = {name: entry["outcome"] for name, entry in result["nodes"].items()}
    assert told == {"w1": "drained", "w2": "failed", "w3": "not_begun"}
    assert "Draining w2 stopped after 1 s" in result["msg"] and "Drained: w1" in result["msg"]
    assert "Not begun: w3" in result["msg"] and api.evictions == ["free"]
    assert [cordoned(api, name) for name in ("w1", "w2", "w3")] == [True, False, False]
    assert result["remaining"] and result["blocked_by"][0]["budget"] == "shop/web"


def test_the_runs_lock_is_kept_from_node_to_node(api: FakeApi, drain: Any) -> None:
    lock = f"{LEASES}/{LOCK}"
    api.objects[lock] = {
        "metadata": {"resourceVersion": "1"},
        "spec": {"holderIdentity": "r1", "leaseDurationSeconds": 900, "renewTime": "2026-11-29T10:00:00.000000Z"},
    }
    api.add(pod("a"))
    api.add(pod("b", on="w2"))
    result = drain(names=["w1", "w2"], lock_run="r1")
    assert not result.get("failed"), result["msg"]
    assert api.asked.count(("PATCH", lock)) == 2

    drain(names=["w1", "w2"], state="uncordoned")
    for name, on in (("c", "w1"), ("d", "w2")):
        api.add(pod(name, on=on))
    # While a request is under way, which is answered as always.
    api.inject("POST", "/c/eviction", lambda: api.objects[lock]["spec"].update(holderIdentity="r2"))
    result = drain(names=["w1", "w2"], lock_run="r1")
    assert result["failed"] and result["changed"] and "has lost the lock of the cluster" in result["msg"]
    assert "Drained: w1" in result["msg"] and "Not begun: w2" in result["msg"] and "d" not in api.evictions


@pytest.mark.parametrize("check", [True, False])
def test_one_refusal_leaves_all_nodes_untouched(api: FakeApi, drain: Any, check: bool) -> None:
    api.add(pod("a"))
    api.add(pod("bare", on="w2", of=None))
    result = drain(names=["w1", "w2"], check=check)
    assert result["failed"] and not result["changed"] and api.writes == 0
    assert "Draining w2 was refused" in result["msg"] and "Not begun: w1" in result["msg"]
    told = {name: (e["outcome"], e["changed"], e["cordon"]["after"]["cordoned"]) for name, e in result["nodes"].items()}
    assert told == {"w1": ("not_begun", False, False), "w2": ("failed", False, False)}
    assert "pod: shop/a" in result["diff"]["after"] and len(result["remaining"]) == 1


def test_check_mode_of_many_nodes(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    api.add(pod("a"))
    api.add(pod("b", on="w2"))
    result = drain(check=True, names=["w1", "w2"])
    assert result["changed"] and api.writes == 0
    assert {entry["outcome"] for entry in result["nodes"].values()} == {"would_drain"}
    assert result["nodes"]["w1"]["plan"]["waves"] == [["shop/a"]]


@pytest.mark.parametrize("state", ["cordoned", "uncordoned"])
def test_many_nodes_are_cordoned_and_given_back(api: FakeApi, drain: Any, state: str) -> None:
    drain(names=["w1", "w2"], state="cordoned")
    again = drain(names=["w1", "w2"], state=state)
    assert again["changed"] == (state == "uncordoned")
    assert [cordoned(api, name) for name in ("w1", "w2")] == [state == "cordoned"] * 2
    assert set(again["nodes"]) == {"w1", "w2"}


def test_a_replica_on_a_node_that_failed_is_not_told_as_evicted(api: FakeApi, drain: Any) -> None:
    """It is the oldest, so that it would have stayed as the last one; now it stays anyway."""
    api.respawn = False
    api.termination = 1
    api.add(pod("old", of="ReplicaSet/pair"))
    api.add(pod("bad", of="ReplicaSet/bad"))
    api.add(pod("young", on="w2", of="ReplicaSet/pair"))
    api.add(pod("first", on="w2", of="ReplicaSet/first"))
    api.add(node("w3"))
    api.inject("POST", "/bad/eviction", lambda: status(422, "no"))
    rules = [{"selector": "app=pair", "order": 1}]
    result = drain(names=["w1", "w2"], max_parallel_nodes=2, last_replica_wait=0.3, rules=rules)
    assert {name: entry["outcome"] for name, entry in result["nodes"].items()} == {"w1": "failed", "w2": "drained"}
    assert "old" not in api.evictions and result["warnings"] == []
    assert "shop/old" not in [risk["pod"] for risk in result["at_risk"]]


# --- last replicas, several drains ------------------------------------------------------------------------------


def watch_ready(api: FakeApi) -> list[int]:
    """The number of Ready pods that nobody asked to leave, at every look."""
    seen: list[int] = []

    def look() -> None:
        seen.append(
            sum(
                p["status"]["conditions"][0]["status"] == "True" and "deletionTimestamp" not in p["metadata"]
                for p in api.pods.values()
            )
        )

    api.inject("GET", "/pods", look, times=9999)
    return seen


def test_the_last_replicas_on_two_nodes_do_not_go_together(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    api.start = 0.5
    for on in ("w1", "w2"):
        api.add(pod(f"on-{on}", on=on))
    seen = watch_ready(api)
    result = drain(names=["w1", "w2"], max_parallel_nodes=2)
    assert not result.get("failed") and result["counts"] == {"evicted": 2}
    assert min(seen) >= 1 and result["at_risk"] == []


@pytest.mark.parametrize("theirs_is_older", [True, False])
def test_a_neighbours_drain_that_began_at_the_same_moment(api: FakeApi, drain: Any, theirs_is_older: bool) -> None:
    api.add(node("w3"))
    mine, theirs = pod("mine"), pod("theirs", on="w2")
    mine["metadata"]["creationTimestamp"] = "2026-11-22T00:00:30Z"
    theirs["metadata"]["creationTimestamp"] = "2026-11-22T00:00:01Z" if theirs_is_older else "2026-11-22T00:00:59Z"
    for item in (mine, theirs):
        api.add(item)
    mark(api, "other", owner="maintenance", name="w2")
    result = drain()
    assert not result.get("failed") and api.evictions == ["mine"] and result["at_risk"] == []
    # Whoever has the older one waits longer, so that never both go.
    assert (result["seconds"]["evict"] < 3.0) == theirs_is_older


def test_a_neighbour_that_let_its_replica_go_unseen_is_noticed(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    api.start = 0.5
    mine, theirs = pod("mine"), pod("theirs", on="w2")
    theirs["metadata"]["creationTimestamp"] = "2026-11-20T00:00:00Z"
    for item in (mine, theirs):
        api.add(item)
    mark(api, "other", owner="maintenance", name="w2")
    # It had judged before it could see our cordon, and its eviction arrives a moment after we judged.
    api.inject("GET", "/namespaces/shop/pods", threading.Timer(0.1, api._let_go, [theirs]).start)
    seen = watch_ready(api)
    result = drain()
    assert not result.get("failed") and "mine" in api.evictions
    assert min(seen) >= 1 and result["at_risk"] == []


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_replica_whose_sibling_a_neighbour_just_let_go_is_not_taken_for_single(
    api: FakeApi, drain: Any, replicas: int
) -> None:
    api.add(node("w3"))
    api.add(pod("mine"))
    api.objects["/apis/apps/v1/namespaces/shop/replicasets/web"] = {"spec": {"replicas": replicas}}
    mark(api, "other", owner="maintenance", name="w2")
    (risk,) = drain(last_replica_wait=0.3)["at_risk"]
    assert risk["risks"][0].startswith("the only replica" if replicas == 1 else "the last Ready replica")


def test_the_name_of_an_owner_leads_nowhere_else(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    for item in (pod("mine"), pod("leaving", on="w2", deletionTimestamp="2026-11-22T00:00:01Z")):
        item["metadata"]["ownerReferences"][0]["name"] = "../../../../../../api/v1/secrets?watch=true"
        api.add(item)
    result = drain(last_replica_wait=0.3)
    assert not result.get("failed") and api.evictions == ["mine"]
    assert ("GET", "/api/v1/secrets") not in api.asked


@pytest.mark.parametrize("apart", [0.0, 0.02, 0.05, 0.1])
def test_two_processes_that_begin_at_the_same_moment_keep_a_replica(api: FakeApi, apart: float) -> None:
    urllib3 = pytest.importorskip("urllib3")
    api.add(node("w3"))
    api.start = 0.5
    for on in ("w1", "w2"):
        api.add(pod(f"on-{on}", on=on))
    api.objects["/apis/apps/v1/namespaces/shop/replicasets/web"] = {"spec": {"replicas": 2}}
    seen = watch_ready(api)
    results: dict[str, dict[str, Any]] = {}

    def run(name: str) -> None:
        asked = _drain_options.Options((name,), True, _cordon.Owner("test", f"run-{name}", "ctl"), True, timeout=15)
        results[name] = _drain_run.drained(_kube.Api(urllib3.PoolManager(maxsize=12), api.url, dict), asked)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("w1", "w2")]
    for thread in threads:
        thread.start()
        time.sleep(apart)
    for thread in threads:
        thread.join(20)
    # A replacement may have been placed on w2 before that was cordoned.
    assert {name: set(result["counts"]) for name, result in results.items()} == {"w1": {"evicted"}, "w2": {"evicted"}}
    assert min(seen) >= 1, "there was a moment without a Ready replica"
    assert all(result["at_risk"] == [] for result in results.values())
