# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is done to which node, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._maintenance_plan import (
    Request,
    View,
    api_servers,
    decide,
    gate,
    with_answers,
)

WISH = {"nodes": ["w1", "w2"], "reboot": "always", "packages": False, "tasks": []}


def node(name: str, ready: bool = True, owner: str | None = None, cordoned: bool = False) -> dict[str, Any]:
    labels = {"node-role.kubernetes.io/control-plane": ""} if name.startswith("cp") else {}
    notes = (
        {"clustercare.io/cordon": json.dumps({"owner": owner, "run": "r0", "host": "b", "time": "t"})} if owner else {}
    )
    return {
        "metadata": {"name": name, "labels": labels, "annotations": notes},
        "spec": {"unschedulable": True} if owner or cordoned else {},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]},
    }


def host(name: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"node_name": name, "hostname": name, "machine_id": f"m-{name}", "static_pods": {}}
    if name.startswith("cp"):
        found["api"] = {"address": f"10.0.0.{name[2:]}", "port": 6443, "reachable": True, "kube_system_uid": "u1"}
        found["static_pods"] = {"etcd": {}}
    return {**found, **more}


def etcd(*healthy: bool, local: int = 0) -> dict[str, Any]:
    members = [
        {"name": f"cp{n + 1}", "healthy": well, "learner": False, "local": n == local} for n, well in enumerate(healthy)
    ]
    return {"members": members}


def looked(maintenance: str = "m0", wish: Any = None, done: bool = False, needed: bool = False, *steps: str) -> Any:
    record = {"maintenance": maintenance, "wish": WISH if wish is None else wish, "steps": dict.fromkeys(steps, "t")}
    reasons = ["/var/run/reboot-required is there"] if needed else []
    return {"record": record if steps else None, "reboot": {"done": done, "needed": needed, "reasons": reasons}}


def view(masters: int = 3, workers: int = 3, targets: Any = ("w1", "w2"), wish: Any = None, **more: Any) -> View:
    names = [f"cp{n + 1}" for n in range(masters)] + [f"w{n + 1}" for n in range(workers)]
    asked = {key: more.pop(key) for key in ("max_unavailable", "min_healthy", "allow_outage", "fresh") if key in more}
    wanted = {**WISH, "nodes": list(targets), **(wish or {})}
    request = Request("m1", list(targets), names[:masters], wanted, **asked)
    found = View(
        request=request,
        hosts={name: host(name) for name in names},
        records={name: looked(wish=wanted) for name in targets},
        packages={},
        etcd={f"cp{n + 1}": etcd(*[True] * masters, local=n) for n in range(masters)},
        nodes=[node(name) for name in names],
        uid="u1",
    )
    return replace(found, **more)


def test_masters_go_first_then_workers_in_batches() -> None:
    plan = decide(view(targets=["w1", "cp2", "w2", "cp1"], max_unavailable="67%"))
    assert plan["refusals"] == [] and not plan["resumed"] and plan["maintenance"] == "m1"
    assert plan["order"] == {"masters": ["cp2", "cp1"], "workers": ["w1", "w2"], "max_unavailable": 2}
    assert "masters, one by one" in plan["text"] and "workers, 2 at a time" in plan["text"]
    assert plan["api_servers"] == ["10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"]


@pytest.mark.parametrize(
    ("wish", "more", "why"),
    [
        pytest.param({"reboot": "never"}, {}, [], id="nothing to do"),
        pytest.param({"reboot": "if_needed"}, {}, [], id="no reboot needed"),
        pytest.param(
            {"reboot": "if_needed"},
            {"records": {"w1": looked("m0", None, False, True)}},
            ["reboot (/var/run/reboot-required is there)"],
            id="a reboot is needed",
        ),
        pytest.param(
            {"reboot": "never"}, {"records": {"w1": looked("m0", None, False, True)}}, [], id="needed, but never"
        ),
        pytest.param({"reboot": "always"}, {}, ["reboot"], id="forced"),
        pytest.param({"reboot": "never", "tasks": ["/a/b.yml"]}, {}, ["tasks: b.yml"], id="tasks"),
        pytest.param(
            {"reboot": "never"},
            {"packages": {"w1": {"packages": ["a", "b"]}}},
            ["2 packages to upgrade"],
            id="packages",
        ),
        pytest.param(
            {"reboot": "never"}, {"nodes": [node("w1", owner="maintenance")]}, ["give it back"], id="left out"
        ),
    ],
)
def test_what_a_node_needs(wish: Any, more: Any, why: list[str]) -> None:
    plan = decide(view(targets=["w1"], wish=wish, **more))
    assert plan["hosts"]["w1"]["why"] == why
    assert plan["order"]["workers"] == (["w1"] if why else []) and plan["nothing_to_do"] == (not why)


def test_packages_that_came_out_after_the_work_are_the_next_maintenances() -> None:
    record = looked("m0", {**WISH, "nodes": ["w1"]}, False, False, "begun", "drained", "worked")
    found = view(targets=["w1"], records={"w1": record}, packages={"w1": {"packages": ["a"]}})
    plan = decide(found)
    assert plan["resumed"] and plan["hosts"]["w1"]["why"] == ["reboot"]


def test_the_same_command_goes_on_with_what_was_begun_first() -> None:
    wish = {**WISH, "nodes": ["w1", "w2", "w3"]}
    records = {
        "w1": looked("m0", wish, True, False, "begun", "drained", "worked", "returned", "finished"),
        "w2": looked("m0", wish, False, False, "begun"),
        "w3": looked("m0", wish, True, False, "begun", "drained", "worked"),
    }
    found = view(targets=["w1", "w2", "w3"], records=records)
    plan = decide(replace(found, nodes=[*found.nodes[:-1], node("w3", owner="maintenance")]))
    assert plan["maintenance"] == "m0" and plan["resumed"] and plan["refusals"] == []
    assert plan["order"]["workers"] == ["w3", "w2"]
    assert plan["hosts"]["w3"]["why"] == ["give it back"] and plan["hosts"]["w3"]["rebooted"]
    assert plan["hosts"]["w2"]["why"] == ["reboot"] and plan["hosts"]["w1"]["finished"]
    assert "done already" in plan["text"] and "maintenance_fresh" in plan["text"]


def test_a_node_that_was_given_back_only_waits_for_its_hooks() -> None:
    wish = {**WISH, "nodes": ["w1"]}
    records = {"w1": looked("m0", wish, True, False, "begun", "drained", "worked", "returned")}
    plan = decide(view(targets=["w1"], records=records))
    assert plan["hosts"]["w1"]["returned"] and plan["hosts"]["w1"]["why"] == ["wait for its hooks"]


@pytest.mark.parametrize(
    ("records", "more"),
    [
        pytest.param({"w1": looked("m0", {"reboot": "never"}, False, False, "begun")}, {}, id="another wish"),
        pytest.param({"w1": looked("m0", None, True, False, "begun", "finished")}, {}, id="it was finished"),
        pytest.param({"w1": looked("m0", None, True, False, "begun")}, {"fresh": True}, id="anew"),
    ],
)
def test_it_begins_anew(records: Any, more: Any) -> None:
    wish = {**WISH, "nodes": ["w1"]}
    if records["w1"]["record"]["wish"] == WISH:
        records["w1"]["record"]["wish"] = wish
    plan = decide(view(targets=["w1"], records=records, **more))
    assert plan["maintenance"] == "m1" and not plan["resumed"] and plan["hosts"]["w1"]["why"] == ["reboot"]


def test_what_is_left_of_a_dead_run_but_no_longer_needed_does_not_hide_what_is() -> None:
    # w2's reboot was made by hand; a later need of w1, which that run had finished, is a new one.
    wish = {**WISH, "reboot": "if_needed"}
    records = {
        "w1": looked("m0", wish, True, True, "begun", "worked", "finished"),
        "w2": looked("m0", wish, False, False, "begun"),
    }
    plan = decide(view(wish={"reboot": "if_needed"}, records=records))
    assert plan["maintenance"] == "m1" and plan["order"]["workers"] == ["w1"]


def test_a_foreign_cordon_is_told_to_stay() -> None:
    found = view(targets=["w1"])
    plan = decide(replace(found, nodes=[*found.nodes, node("w1", cordoned=True)][::-1]))
    assert plan["hosts"]["w1"]["kept_cordon"] == "by somebody else" and "stays so afterwards" in plan["text"]


def refusals(found: View) -> str:
    return " ".join(decide(found)["refusals"])


def test_refuses_what_no_waiting_changes() -> None:
    found = view(targets=["w1"])
    other = {
        **found.hosts,
        "cp1": host("cp1", api={"address": "a", "port": 1, "reachable": True, "kube_system_uid": "u2"}),
    }
    assert "cp1 belongs to another cluster" in refusals(replace(found, hosts=other))
    assert "w1 could not be looked at" in refusals(replace(found, hosts={}))
    assert "no client certificate" in refusals(replace(found, hosts={"w1": host("w1", node_name=None)}))
    assert "There is no node w1" in refusals(replace(found, nodes=[node("w2")]))


@pytest.mark.parametrize(
    ("claimed", "said"),
    [
        ("w2", "w1 and w2 both say that they are the node w2"),
        ("cp9", "w1 says that it is the node cp9, which is a master"),
    ],
)
def test_refuses_a_host_that_says_it_is_another_node(claimed: str, said: str) -> None:
    found = view(targets=["w1"])
    forged = replace(found, hosts={**found.hosts, "w1": host("w1", node_name=claimed)})
    assert said in refusals(replace(forged, nodes=[*found.nodes, node("cp9")]))


def test_refuses_to_reboot_the_machine_on_which_it_runs() -> None:
    controller = {"machine_id": "m-w1", "hostname": "w1", "in_pod": False}
    assert "Ansible runs on w1 itself" in refusals(view(targets=["w1"], controller=controller))
    assert refusals(view(targets=["w1"], wish={"reboot": "never", "tasks": ["a"]}, controller=controller)) == ""
    pod = {"metadata": {"name": "runner-1"}, "spec": {"nodeName": "w1"}}
    in_pod = {"machine_id": "", "hostname": "runner-1", "in_pod": True}
    assert "a pod on w1" in refusals(view(targets=["w1"], controller=in_pod, pods=[pod]))
    assert refusals(view(targets=["w2"], controller=in_pod, pods=[pod])) == ""


def test_refuses_when_too_much_is_missing_already() -> None:
    nodes = [node("cp1"), node("w1"), node("w2", ready=False), node("w3", ready=False)]
    said = refusals(view(masters=1, targets=["w1"], nodes=nodes))
    assert "Only 2 of 4 nodes are Ready" in said and "51 %" in said and "w2, w3" in said
    assert refusals(view(masters=1, targets=["w1"], nodes=nodes, min_healthy="50%", max_unavailable="3")) == ""
    with pytest.raises(CareError, match="min_healthy is 'most'"):
        decide(view(min_healthy="most"))


def test_refuses_beside_another_node_in_maintenance() -> None:
    nodes = [node("cp1"), node("w1"), node("w2", owner="maintenance"), node("w3")]
    said = refusals(view(masters=1, targets=["w1"], nodes=nodes))
    assert "Node w2 is out of service for 'maintenance' (run r0" in said and "w3" not in said
    assert refusals(view(masters=1, targets=["w1", "w2"], nodes=nodes)) == ""


@pytest.mark.parametrize(
    ("limit", "nodes", "batch", "said"),
    [
        pytest.param("1", [node("w3", ready=False)], ["w1"], "w3 (not Ready). With w1 that would be 2", id="not Ready"),
        pytest.param("2", [node("w3", ready=False)], ["w1"], "", id="two may be"),
        pytest.param("2", [node("w3", ready=False)], ["w1", "w2"], "With w1, w2 that would be 3", id="a batch of two"),
        pytest.param("1", [node("w3", cordoned=True)], ["w1"], "w3 (cordoned by somebody else)", id="cordoned"),
        pytest.param("1", [node("w3", owner="upgrade")], ["w1"], "w3 (cordoned for 'upgrade'", id="by an upgrade"),
        pytest.param("1", [node("w2", cordoned=True)], ["w1"], "", id="cordoned, but meant"),
        pytest.param("1", [node("w2", ready=False)], ["w1"], "w2 (not Ready)", id="meant, but not Ready"),
        pytest.param("1", [node("w1", ready=False)], ["w1"], "", id="it is the one"),
        pytest.param("1", [node("w2", ready=False, owner="maintenance")], ["w1"], "", id="ours comes back"),
        pytest.param("1", [node("cp2", ready=False)], ["w1"], "", id="a master is no worker"),
        pytest.param("1", [node("w3", ready=False)], ["cp1"], "", id="a master needs no worker's room"),
    ],
)
def test_workers_that_are_out_of_service_already_count(limit: str, nodes: Any, batch: list[str], said: str) -> None:
    changed = {n["metadata"]["name"] for n in nodes}
    found = view(targets=["w1", "w2", "cp1"], max_unavailable=limit)
    kept = [n for n in found.nodes if n["metadata"]["name"] not in changed]
    refused = [why for why in gate(replace(found, nodes=[*kept, *nodes]), batch) if "max_unavailable" in why]
    assert bool(refused) == bool(said) and all(said in why for why in refused), refused


def test_fewer_go_at_a_time_while_others_are_away_and_those_that_are_away_go_first() -> None:
    found = view(targets=["w1", "w2", "w3"], workers=4, max_unavailable="2")
    nodes = [n for n in found.nodes if n["metadata"]["name"] not in ("w2", "w4")]
    plan = decide(replace(found, nodes=[*nodes, node("w2", ready=False), node("w4", cordoned=True)]))
    assert plan["refusals"] == [] and plan["order"] == {
        "masters": [],
        "workers": ["w2", "w1", "w3"],
        "max_unavailable": 1,
    }


def test_the_masters_api_servers_count_as_they_answer_now() -> None:
    found = view(targets=["cp1"])
    assert api_servers(found) == {"cp1": "10.0.0.1:6443", "cp2": "10.0.0.2:6443", "cp3": "10.0.0.3:6443"}
    now = with_answers(found, {"cp1": True, "cp2": False, "cp3": False})
    assert gate(found, ["cp1"]) == [] and "No API server but that of cp1" in " ".join(gate(now, ["cp1"]))


@pytest.mark.parametrize(
    ("members", "target", "refused"),
    [
        pytest.param([True, True, True], "cp1", False, id="three well"),
        pytest.param([True, False, True], "cp1", True, id="one of the others is not"),
        pytest.param([False, True, True], "cp1", False, id="the target itself is not"),
        pytest.param([True, True, False, True, True], "cp1", False, id="five, one of the others is not"),
        pytest.param([True, True, False, False, True], "cp1", True, id="five, two of the others are not"),
        pytest.param([True, True], "cp1", True, id="two"),
    ],
)
def test_etcd_keeps_its_quorum_without_the_master(members: list[bool], target: str, refused: bool) -> None:
    found = view(masters=len(members), targets=[target], etcd={target: etcd(*members)})
    said = refusals(found)
    assert ("lose its quorum" in said) == refused == bool(said)
    assert gate(found, [target]) == decide(found)["refusals"]
    assert refusals(replace(found, request=replace(found.request, allow_outage=True))) == ""
    # Asked by another master, when the target itself does not answer.
    others = replace(found, etcd={"cp2": etcd(*members, local=1)})
    assert bool(refusals(others)) == refused


def test_a_single_master_and_an_unknown_etcd_need_the_word() -> None:
    assert "No API server but that of cp1" in refusals(view(masters=1, targets=["cp1"]))
    assert refusals(view(masters=1, targets=["cp1"], allow_outage=True)) == ""
    assert "etcd could not be asked" in refusals(view(targets=["cp1"], etcd={}))
    outside = {name: host(name, static_pods={}) for name in ("cp1", "cp2", "cp3", "w1", "w2", "w3")}
    assert refusals(view(targets=["cp1"], etcd={}, hosts=outside)) == "", "etcd runs elsewhere"


def test_a_worker_needs_no_etcd() -> None:
    assert refusals(view(masters=1, targets=["w1"], etcd={})) == ""
