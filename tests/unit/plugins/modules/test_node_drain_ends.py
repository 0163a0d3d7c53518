# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How node_drain ends when it does not end well: whose cordon is lifted, what is told, and what counts as changed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _drain_cordon,
    _drain_node,
    _drain_run,
    _kube,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import (
    FakeApi,
    budget,
    cordoned,
    mark,
    node,
    pod,
    status,
)

# --- the cordon -------------------------------------------------------------------------------------------------


def test_a_refused_drain_leaves_the_cordon_of_an_earlier_run(api: FakeApi, drain: Any) -> None:
    mark(api, "r1")
    api.add(pod("bare", of=None))
    result = drain(owner="upgrade", run_id="r2", on_failure="restore")
    assert result["failed"] and not result["changed"] and cordoned(api) and api.writes == 0
    assert "Node w1 was cordoned for 'upgrade' (run r1, from ctl2" in result["msg"] and "left so" in result["msg"]


def test_a_node_that_was_not_begun_keeps_the_cordon_of_an_earlier_run(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    mark(api, "r1", name="w2")
    api.add(pod("stuck"))
    api.add(budget("web", 1, app="web"))
    result = drain(names=["w1", "w2"], owner="upgrade", run_id="r2", on_failure="restore", timeout=0.5)
    assert result["nodes"]["w2"]["outcome"] == "not_begun" and not result["nodes"]["w2"]["changed"]
    assert [cordoned(api, name) for name in ("w1", "w2")] == [False, True]


def test_what_was_taken_over_is_lifted_after_a_failure_and_counts_as_changed(api: FakeApi, drain: Any) -> None:
    mark(api, "r1")
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))
    result = drain(owner="upgrade", run_id="r2", on_failure="restore", timeout=0.5)
    assert result["failed"] and result["changed"] and not cordoned(api)


@pytest.mark.parametrize("taken", [True, False])
def test_interrupted_while_it_gives_back_it_still_does_and_says_so(api: FakeApi, drain: Any, taken: bool) -> None:
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))

    def die() -> str:
        if taken:
            api.answer("PATCH", "/api/v1/nodes/w1", {}, json.loads(json.dumps(api.bodies[-1])))
        os.kill(os.getpid(), signal.SIGTERM)
        return "drop"

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    api.inject("PATCH", "/nodes/w1", die, after=1)
    try:
        result = drain(on_failure="restore", timeout=0.5)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result["failed"] and result["changed"] and not cordoned(api)
    assert "interrupted (SIGTERM)" in result["msg"] and "uncordoned again" in result["msg"]


@pytest.mark.parametrize("state", ["cordoned", "uncordoned", "drained"])
def test_a_cordon_that_could_not_be_read_back_counts_as_changed(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(_drain_cordon, "_RESTORE_TIME", 0.2)
    if state == "uncordoned":
        drain(state="cordoned")
    written: list[bool] = []
    api.inject("PATCH", "/nodes/w1", lambda: written.append(True))
    api.inject("GET", "/nodes/w1$", lambda: status(503, "away") if written else None, times=9999)
    result = drain(state=state, timeout=0.5)
    assert result["failed"] and result["changed"] and cordoned(api) is (state != "uncordoned")
    assert ("Whether node w1 is cordoned now is not known" in result["msg"]) is (state == "drained")


@pytest.mark.parametrize("taken", [True, False])
def test_a_cordon_whose_answer_was_lost_is_looked_for_in_the_end(api: FakeApi, drain: Any, taken: bool) -> None:
    def lose() -> str:
        if taken:
            api.answer("PATCH", "/api/v1/nodes/w1", {}, json.loads(json.dumps(api.bodies[-1])))
        ends.append(time.monotonic() + 1)
        return "drop"

    ends: list[float] = []
    api.inject("PATCH", "/nodes/w1", lose)
    api.inject("PATCH", "/nodes/w1", lambda: "drop" if time.monotonic() < ends[0] else None, times=9999)
    result = drain(timeout=0.4)
    assert result["failed"] and result["changed"] is taken is cordoned(api)
    assert result["cordon"]["after"]["cordoned"] is taken and ("stays cordoned" in result["msg"]) is taken


# --- what changed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "away", "changed"), [(True, False, True), (False, False, False), (False, True, True)]
)
def test_an_eviction_without_an_answer_before_the_time_is_over(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch, taken: bool, away: bool, changed: bool
) -> None:
    """With the API away nobody can tell, and "changed" is the safe word."""
    monkeypatch.setattr(_drain_run, "_LAST_ANSWERS", 1.0)
    ends: list[float] = []
    api.nodes["w1"]["spec"]["unschedulable"] = True
    api.termination = 1000
    api.add(pod("a"))

    def lose() -> str:
        if taken:
            api.answer("POST", "/api/v1/namespaces/shop/pods/a/eviction", {}, api.bodies[-1])
        ends.append(time.monotonic() + 0.75)
        return "drop"

    def listen() -> str | None:
        return "drop" if ends and (away or time.monotonic() < ends[0]) else None

    api.inject("POST", "/eviction", lose, times=9999)
    api.inject("GET", "fieldSelector", listen, times=9999)
    result = drain(timeout=0.7)
    assert result["failed"] and result["changed"] is changed and api.counted["PATCH"] == 0
    assert result["pods"][0]["action"] == ("evicting" if taken else "remaining")


def test_a_server_that_cannot_be_trusted_in_the_middle_loses_no_result(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a load balancer it may be one of several; two evictions meet it at once."""
    api.add(pod("a"))
    api.add(pod("b"))
    api.add(budget("web", 0, app="web"))
    ask, both = _kube.Api.ask, threading.Barrier(2)

    def ask_or_mistrust(self: Any, verb: str, path: str, *args: Any, **more: Any) -> Any:
        if path.endswith("/eviction"):
            both.wait(10)
            raise CareError("The API server at x cannot be trusted: Hostname mismatch.")
        return ask(self, verb, path, *args, **more)

    monkeypatch.setattr(_kube.Api, "ask", ask_or_mistrust)
    result = drain(on_failure="restore")
    assert result["failed"] and result["changed"] and not cordoned(api)
    assert result["counts"] == {"failed": 2} and "The API server at x cannot be trusted" in result["msg"]


def test_an_eviction_without_an_answer_counts_from_when_it_was_sent(api: FakeApi, drain: Any) -> None:
    """Not from the drain's start: the pod had waited for its budget for longer than it may be terminating."""
    api.termination = 0.6
    api.add(pod("a"))
    api.add(budget("web", 1, app="web"))

    def take_and_drop() -> str:
        api.answer("POST", "/api/v1/namespaces/shop/pods/a/eviction", {}, api.bodies[-1])
        return "drop"

    api.inject("GET", "namespaces/shop/poddisruptionbudgets", api.budgets.clear, after=6)
    api.inject("POST", "/eviction", take_and_drop, times=2)
    result = drain(skip_terminating_older_than=1.2)
    (told,) = result["pods"]
    assert told["action"] == "evicted" and told["seconds"] < 1.2 < result["seconds"]["evict"]


# --- several nodes ----------------------------------------------------------------------------------------------


def test_a_node_that_was_drained_in_time_did_not_time_out(api: FakeApi, drain: Any) -> None:
    api.add(node("w3"))
    api.add(pod("free", of="ReplicaSet/free"))
    api.add(pod("held", on="w2"))
    api.add(budget("web", 1, app="web"))
    api.inject("GET", "namespaces/shop/poddisruptionbudgets", lambda: "drop", times=9999)
    result = drain(names=["w1", "w2"], timeout=1)
    told = {name: (entry["outcome"], entry["timed_out"]) for name, entry in result["nodes"].items()}
    assert told == {"w1": ("drained", False), "w2": ("failed", True)} and "shop/held" in result["msg"]


def test_the_end_of_one_nodes_time_is_not_the_end_of_another(
    api: FakeApi, drain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node that began first runs out of time while the budgets cannot be read; the other one goes on."""
    api.add(node("w3"))
    api.add(pod("first", of="ReplicaSet/first"))
    api.add(pod("held"))
    api.add(pod("other", on="w2", labels={"app": "other"}, of="ReplicaSet/other"))
    api.add(budget("web", 1, app="web"))
    api.add(budget("other", 1, app="other"))
    begun: list[float] = []
    begin = _drain_node.NodeDrain.begin

    def begin_later(self: Any) -> None:
        begin(self)
        if begun:
            self.deadline._end += 5
        begun.append(1.0)

    monkeypatch.setattr(_drain_node.NodeDrain, "begin", begin_later)
    api.inject("GET", "namespaces/shop/poddisruptionbudgets", lambda: status(503, "away"), times=6)

    def open_it() -> None:
        api.budgets.pop()

    api.inject("GET", "namespaces/shop/poddisruptionbudgets", open_it)
    result = drain(names=["w1", "w2"], max_parallel_nodes=2, timeout=1)
    told = {name: (entry["outcome"], entry["timed_out"]) for name, entry in result["nodes"].items()}
    assert told == {"w1": ("failed", True), "w2": ("drained", False)}


# --- rights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/nodes", "/endpointslices"])
def test_a_right_that_only_last_replicas_need_is_missed_with_a_word(api: FakeApi, drain: Any, path: str) -> None:
    api.add(pod("dns-1", of="ReplicaSet/dns"))
    api.add(pod("dns-2", of="ReplicaSet/dns"))
    forbidden = f'cannot list resource "{path.rsplit("/", 1)[1]}"'
    api.inject("GET", rf"{path}(\?|$)", lambda: status(403, forbidden, "Forbidden"), times=9999)
    result = drain()
    assert not result.get("failed"), result
    assert result["counts"] == {"evicted": 2} and result["at_risk"] == []
    said = [warning for warning in result["warnings"] if "may not be listed" in warning]
    assert len(said) == 1 and path.rsplit("/", 1)[1] in said[0].lower()
    foretold = drain(check=True)
    assert not foretold.get("failed"), foretold


def test_a_capacity_check_without_the_right_is_refused(api: FakeApi, drain: Any) -> None:
    api.add(pod("a"))
    api.inject("GET", r"/api/v1/nodes(\?|$)", lambda: status(403, "no", "Forbidden"), times=9999)
    result = drain(capacity_check="warn")
    assert result["failed"] and api.writes == 0
