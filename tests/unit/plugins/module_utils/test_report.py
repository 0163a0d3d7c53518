# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of an upgrade: its data, its words, and the figures taken out of it."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._report import build, markdown, phases_of, summary

SNAPSHOT = {"path": "/runs/r1/cp1.db", "size": 5_242_880, "sha256": "ab" * 32, "revision": 4711, "members": 1}


def plan(done: tuple[str, ...] = (), refusals: Optional[list[dict[str, str]]] = None) -> dict[str, Any]:
    def host(name: str, role: str) -> dict[str, Any]:
        old = "1.35.4" if name in done else "1.34.4"
        before = {"kubelet": old, "kubeadm": old, "api_server": old if role == "master" else None}
        needs = {"kubelet": name not in done, "kubeadm": "none" if name in done else "node"}
        return {"node": name, "role": role, "from": before, "to": "1.35.4", "done": name in done, "needs": needs}

    hosts = {"cp1": host("cp1", "master"), "w1": host("w1", "worker"), "w2": host("w2", "worker")}
    return {
        "target": "1.35.4",
        "cluster": {"name": "kubernetes", "uid": "u-1", "server": "https://api.example.org:6443"},
        "hosts": hosts,
        "refusals": refusals or [],
        "warnings": ["with one master the API is away for a while"],
        "nothing_to_do": len(done) == 3,
    }


def result(seconds: float, changed: bool = True, **more: Any) -> dict[str, Any]:
    return {"elapsed": seconds, "changed": changed, "failed": False, "msg": "", **more}


def hostvars() -> dict[str, Any]:
    """What a role has registered; not in the order of the work."""
    return {
        "cp1": {
            "__upgrade_phase_kubelet": result(6.2),
            "__upgrade_phase_kubeadm": result(171.04),
            "__upgrade_phase_packages": result(21),
            "__upgrade_phase_uncordon": {"skipped": True, "changed": False},
            "something_else": result(1000),
        },
        "w1": {
            "__upgrade_phase_kubeadm": result(4),
            "__upgrade_phase_drain": result(600, failed=True, msg="Budget shop/web allows nothing.", timed_out=True),
        },
        "w2": {},
    }


def phases() -> dict[str, list[dict[str, Any]]]:
    return phases_of(hostvars(), ["cp1", "w1", "w2", "gone"], "__upgrade_phase_")


def whole() -> dict[str, Any]:
    every = {"cp1": phases()["cp1"]}
    for name in ("w1", "w2"):
        every[name] = [
            {"phase": "kubeadm", "seconds": 4, "changed": True},
            {"phase": "kubelet", "seconds": 9, "changed": True},
        ]
    return build(
        plan(), every, run_id="r1", started="2026-01-01T10:00:00Z", finished="2026-01-01T10:07:30Z", snapshot=SNAPSHOT
    )


def failed() -> dict[str, Any]:
    failure = {"host": "w1", "task": "Drain the node", "message": "Budget shop/web allows nothing."}
    return build(plan(), phases(), run_id="r1", failure=failure, snapshot=SNAPSHOT)


def test_phases_come_in_the_order_of_the_work() -> None:
    found = phases()

    assert [phase["phase"] for phase in found["cp1"]] == ["packages", "kubeadm", "kubelet"]
    assert [phase["seconds"] for phase in found["cp1"]] == [21.0, 171.0, 6.2]
    assert sorted(found) == ["cp1", "w1"]
    assert found["w1"][1]["failed"]
    assert found["w1"][1]["details"] == {"message": "Budget shop/web allows nothing.", "timed_out": True}


def test_a_whole_upgrade() -> None:
    report = whole()

    assert (report["outcome"], report["seconds"]) == ("upgraded", 450.0)
    assert {node["name"]: node["after"]["kubelet"] for node in report["nodes"]} == dict.fromkeys(
        ["cp1", "w1", "w2"], "1.35.4"
    )
    assert (
        report["nodes"][0]["before"]["api_server"] == "1.34.4" and report["nodes"][0]["after"]["api_server"] == "1.35.4"
    )
    assert report["nodes"][1]["after"]["api_server"] is None
    assert report["phases"] == {"packages": 21.0, "kubeadm": 179.0, "kubelet": 24.2}
    assert report["snapshot"] == {key: SNAPSHOT[key] for key in ("path", "size", "sha256", "revision")}
    assert json.loads(json.dumps(report)) == report


def test_a_failed_upgrade_says_what_is_done_and_what_is_not() -> None:
    report = failed()

    assert report["outcome"] == "failed"
    assert {node["name"]: node["outcome"] for node in report["nodes"]} == {
        "cp1": "upgraded",
        "w1": "failed",
        "w2": "not reached",
    }
    assert report["nodes"][1]["after"]["kubelet"] == "1.34.4"


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (plan(done=("cp1", "w1", "w2")), "nothing to do"),
        (plan(refusals=[{"host": "w1", "rule": "not_ready", "message": "w1: the node is not Ready."}]), "refused"),
        (plan(), "upgraded"),
    ],
)
def test_outcome(given: dict[str, Any], outcome: str) -> None:
    assert build(given)["outcome"] == outcome


def test_markdown_of_a_whole_upgrade() -> None:
    text = markdown(whole())

    assert text.startswith("# Upgrade to Kubernetes 1.35.4: upgraded\n")
    assert "| cp1  | cp1  | master | 1.34.4 -> 1.35.4 | 1.34.4 -> 1.35.4 | upgraded | 198.2   |" in text
    assert f"/runs/r1/cp1.db (5.2 MB, revision 4711, sha256 {'ab' * 32})" in text
    assert "- with one master the API is away" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("| w")}) == 2


def test_markdown_of_a_failure_begins_with_it() -> None:
    lines = markdown(failed()).splitlines()

    assert lines[0].endswith("failed")
    assert lines[2] == '**Stopped at w1, in "Drain the node".** Budget shop/web allows nothing.'


def test_summary() -> None:
    lines = summary(whole()).splitlines()

    assert lines[0] == "Upgraded: 3 of 3 nodes at 1.35.4 (450 s)."
    assert lines[1] == "  cp1  1.34.4 -> 1.35.4  upgraded, 198.2 s (most of it: kubeadm 171, packages 21, kubelet 6.2)"
    assert (
        summary(build(plan(done=("cp1", "w1", "w2")))).splitlines()[0]
        == "Nothing to do: 3 nodes run Kubernetes 1.35.4."
    )


def test_summary_of_a_master_whose_kubelet_was_not_reached() -> None:
    done = {"cp1": [{"phase": "kubeadm", "seconds": 171, "changed": True}, {"phase": "drain", "failed": True}]}
    lines = summary(build(plan(), done, failure={"host": "cp1", "task": "Drain the node", "message": ""})).splitlines()

    assert lines[0] == "Failed: 0 of 3 nodes at 1.35.4."
    assert lines[1].startswith("  cp1  1.34.4 (control plane 1.34.4 -> 1.35.4)  failed, 171 s")
