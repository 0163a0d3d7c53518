# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
from typing import Any, Callable, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_watch as watch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd, NoEtcd
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_hash import Hash, Hashes
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import (
    Answer,
    Seen,
    alarms_of,
    judge,
    observe,
    quorum,
    refuse_snapshot,
)
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

Cluster = dict[str, Any]


def member(number: int) -> dict[str, Any]:
    return {
        "ID": str(number),
        "name": f"cp{number}",
        "peerURLs": [f"https://10.80.0.1{number}:2380"],
        "clientURLs": [f"https://10.80.0.1{number}:2379"],
    }


def status(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "header": {"cluster_id": "7", "member_id": str(number), "revision": "900"},
        "version": "3.6.5",
        "dbSize": "1000",
        "dbSizeInUse": "900",
        "leader": "1",
        "raftIndex": "5000",
        "raftTerm": "2",
        "raftAppliedIndex": "5000",
        **changed,
    }


def cluster() -> Cluster:
    """Three members that are well; the first is the local one and leads."""
    return {"members": [member(1), member(2), member(3)], "answers": {str(n): Answer(status(n)) for n in (1, 2, 3)}}


def seen(seen_cluster: Cluster) -> Seen:
    answers = seen_cluster["answers"]
    return Seen(answers["1"], seen_cluster["members"], answers, [])


def change(number: int, **changed: Any) -> Callable[[Cluster], None]:
    """Member ``number`` answers otherwise."""

    def do(one: Cluster) -> None:
        one["answers"][str(number)] = Answer(status(number, **changed))

    return do


def silent(number: int) -> Callable[[Cluster], None]:
    def do(one: Cluster) -> None:
        one["answers"][str(number)] = Answer({}, error="etcd at https://x does not answer: connection refused.")

    return do


def unstarted(one: Cluster) -> None:
    one["members"].append({"ID": "4", "peerURLs": ["https://10.80.0.14:2380"], "isLearner": True})
    one["answers"]["4"] = Answer({}, error="it has not told the cluster where clients reach it")


def leaderless(one: Cluster) -> None:
    for number in (1, 2, 3):
        one["answers"][str(number)] = Answer(status(number, leader="0", errors=["etcdserver: no leader"]))


def no_quorum_read(one: Cluster) -> None:
    one["answers"]["3"] = Answer(status(3), quorum="etcd at https://x answered HTTP 503: request timed out.")


def other_cluster(one: Cluster) -> None:
    one["answers"]["3"] = Answer(status(3, header={"cluster_id": "8", "member_id": "3", "revision": "900"}))


def far_ahead_elsewhere(one: Cluster) -> None:
    """cp3 was left out of a restore and came back as it was: its raft has come much further, in the old cluster."""
    header = {"cluster_id": "8", "member_id": "3", "revision": "900"}
    one["answers"]["3"] = Answer(status(3, header=header, leader="3", raftAppliedIndex="5000000"))


NOSPACE = ["memberID:2 alarm:NOSPACE "]


def nospace(one: Cluster) -> None:
    for number in (1, 2, 3):
        one["answers"][str(number)] = Answer(status(number, errors=NOSPACE))


def test_a_cluster_that_is_well() -> None:
    etcd = judge(seen(cluster()), "https://127.0.0.1:2379")
    assert etcd["healthy"] and not etcd["problems"] and not etcd["warnings"]
    assert (etcd["name"], etcd["leader"], etcd["revision"], etcd["member_id"]) == ("cp1", "cp1", 900, "1")
    assert etcd["quorum"] == {"members": 3, "needed": 2, "healthy": 3, "tolerates": 1}
    assert etcd["snapshot_refusal"] is None


@pytest.mark.parametrize(
    ("trouble", "words", "healthy"),
    [
        pytest.param(silent(2), ["Member cp2 (2) does not answer: etcd at https://x"], 2, id="one is down"),
        pytest.param(leaderless, ["The cluster has no leader"], 0, id="no leader"),
        pytest.param(change(3, leader="0"), ["Member cp3 (3) knows no leader."], 2, id="one without leader"),
        pytest.param(change(3, leader="3"), ["do not agree on a leader: cp1 (1), cp3 (3)"], 3, id="two leaders"),
        pytest.param(change(2, isLearner=True), ["Member cp2 (2) is a learner"], 2, id="learner"),
        pytest.param(change(2, raftAppliedIndex="3999"), ["cp2 (2) is 1001 entries behind"], 2, id="lag"),
        pytest.param(unstarted, ["Member 4 (https://10.80.0.14:2380)", "Member 4 is a learner"], 3, id="unstarted"),
        pytest.param(nospace, ["Alarm NOSPACE of member cp2 (2)"], 2, id="alarm"),
        pytest.param(no_quorum_read, ["needs the majority fails through member cp3 (3)"], 2, id="quorum read"),
        pytest.param(other_cluster, ["Member cp3 (3) belongs to another cluster (8) than"], 2, id="two clusters"),
        pytest.param(change(2, errors=["etcdserver: disk"]), ["cp2 (2) reports: etcdserver: disk."], 2, id="error"),
    ],
)
def test_problems(trouble: Callable[[Cluster], None], words: list[str], healthy: int) -> None:
    one = cluster()
    trouble(one)
    etcd = judge(seen(one), "")
    assert len(etcd["problems"]) == len(words), etcd["problems"]
    for said, expected in zip(etcd["problems"], words):
        assert expected in said
    assert not etcd["healthy"]
    assert etcd["quorum"]["healthy"] == healthy


def slow(*numbers: int) -> Callable[[Cluster], None]:
    """Their reads take longer than somebody waits."""

    def do(one: Cluster) -> None:
        for number in numbers:
            one["answers"][str(number)] = Answer(status(number), quorum="etcd at https://x did not answer in time.")

    return do


def all_of(*troubles: Callable[[Cluster], None]) -> Callable[[Cluster], None]:
    def do(one: Cluster) -> None:
        for trouble in troubles:
            trouble(one)

    return do


@pytest.mark.parametrize(
    ("trouble", "majority"),
    [
        pytest.param(lambda _one: None, True, id="well"),
        pytest.param(silent(2), True, id="one is down"),
        pytest.param(nospace, True, id="full"),
        pytest.param(slow(1, 2, 3), True, id="slow"),
        pytest.param(all_of(slow(1, 2), silent(3)), True, id="slow, and one is down"),
        pytest.param(all_of(slow(1), silent(2), silent(3)), False, id="the leader is not elected out yet"),
        pytest.param(all_of(leaderless, silent(2), silent(3)), False, id="lost"),
        pytest.param(leaderless, False, id="electing"),
        # cp3 came back empty and works alone.
        pytest.param(all_of(leaderless, silent(2), other_cluster), False, id="another cluster"),
        pytest.param(silent(1), False, id="nobody answers"),
    ],
)
def test_a_cluster_that_is_full_or_slow_still_works(trouble: Callable[[Cluster], None], majority: bool) -> None:
    one = cluster()
    trouble(one)
    # Of a local member that does not answer nobody knows who the others are.
    found = seen(one) if one["answers"]["1"].status else Seen(one["answers"]["1"], [], {}, [])
    assert judge(found, "")["majority"] is majority


@pytest.mark.parametrize("lag", [0, 1, 1000])
def test_a_small_lag_is_the_time_between_two_answers(lag: int) -> None:
    one = cluster()
    change(2, raftAppliedIndex=str(5000 - lag))(one)
    assert judge(seen(one), "")["healthy"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dbSizeQuota": "1100"}, "fills 90 % of its quota"),
        ({"version": "3.6.6"}, "different versions: 3.6.5, 3.6.6"),
    ],
)
def test_warnings_stop_nothing(changed: dict[str, str], words: str) -> None:
    one = cluster()
    change(1, **changed)(one)
    etcd = judge(seen(one), "")
    assert etcd["healthy"] and words in etcd["warnings"][0]


def test_a_port_without_tls_is_warned_about() -> None:
    etcd = judge(seen(cluster()), "http://127.0.0.1:2379")
    assert etcd["healthy"] and "without TLS (http://127.0.0.1:2379)" in etcd["warnings"][0]


def test_an_even_number_is_warned_about() -> None:
    one = cluster()
    one["members"].pop()
    one["answers"].pop("3")
    assert "2 voting members tolerate no more failures than 1 do" in judge(seen(one), "")["warnings"][0]


@pytest.mark.parametrize(
    ("voters", "healthy", "needed", "tolerates"),
    [(1, 1, 1, 0), (2, 2, 2, 0), (3, 3, 2, 1), (3, 2, 2, 0), (3, 1, 2, -1), (4, 4, 3, 1), (5, 5, 3, 2), (0, 0, 1, -1)],
)
def test_quorum(voters: int, healthy: int, needed: int, tolerates: int) -> None:
    assert quorum(voters, healthy) == {
        "members": voters,
        "needed": needed,
        "healthy": healthy,
        "tolerates": tolerates,
    }


@pytest.mark.parametrize(
    ("error", "alarm"),
    [
        ("memberID:10276657743932975437 alarm:NOSPACE ", ("8e9e05c52164694d", "NOSPACE")),
        ("memberID:10276657743932975437  alarm:CORRUPT", ("8e9e05c52164694d", "CORRUPT")),
        ("alarm:NOSPACE ", ("0", "NOSPACE")),
        ("etcdserver: no leader", None),
    ],
)
def test_alarms_are_read_from_the_status(error: str, alarm: Optional[tuple[str, str]]) -> None:
    expected = [{"member": alarm[0], "alarm": alarm[1]}] if alarm else []
    assert alarms_of({"errors": [error]}) == expected


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (change(1, isLearner=True), "learner"),
        (change(1, errors=["memberID:1 alarm:CORRUPT "]), "CORRUPT"),
        (change(1, raftAppliedIndex="100"), "4900 entries behind"),
        (silent(1), "connection refused"),
    ],
)
def test_a_snapshot_of_a_doubtful_member_is_refused(trouble: Callable[[Cluster], None], words: str) -> None:
    one = cluster()
    trouble(one)
    assert words in (refuse_snapshot(seen(one)) or "")


def test_a_member_of_another_cluster_makes_nobody_lag() -> None:
    one = cluster()
    far_ahead_elsewhere(one)
    etcd = judge(seen(one), "")
    assert etcd["snapshot_refusal"] is None and len(etcd["problems"]) == 1
    assert [member["healthy"] for member in etcd["members"]] == [True, True, False]
    assert etcd["quorum"] == {"members": 3, "needed": 2, "healthy": 2, "tolerates": 0}


@pytest.mark.parametrize(
    ("values", "refused"),
    [((1, 2, 2), True), ((2, 1, 2), False), ((1, 1, 1), False), ((1, 2, 3), False)],
    ids=["we differ", "another one differs", "all agree", "no majority"],
)
def test_who_differs_from_the_majority_is_no_source_of_a_snapshot(values: tuple[int, ...], refused: bool) -> None:
    hashes = Hashes(900, {str(number): Hash(value, 100) for number, value in enumerate(values, 1)})
    said = refuse_snapshot(seen(cluster())._replace(hashes=hashes)) or ""
    assert ("differs from the majority's" in said) is refused


@pytest.mark.parametrize(
    "trouble",
    [leaderless, silent(2), nospace, change(1, errors=["memberID:2 alarm:CORRUPT "]), change(2, isLearner=True)],
)
def test_what_must_not_keep_anyone_from_a_snapshot(trouble: Callable[[Cluster], None]) -> None:
    one = cluster()
    trouble(one)
    assert refuse_snapshot(seen(one)) is None


def replies(**changed: Any) -> dict[str, fakes.Reply]:
    """A cluster of one that leads itself."""
    return {
        "/v3/maintenance/status": (200, json.dumps(status(1, **changed)).encode()),
        "/v3/cluster/member/list": (200, json.dumps({"members": [member(1)]}).encode()),
        "/v3/kv/range": (200, b"{}"),
    }


def test_observe_asks_a_real_server() -> None:
    with fakes.gateway(replies()) as url:
        etcd = judge(observe(Access(url, None, None, None)), url)
    assert etcd["healthy"], etcd["problems"]
    assert etcd["members"][0]["local"] and etcd["members"][0]["healthy"]


def test_observe_of_nobody_is_an_answer() -> None:
    with fakes.gateway({}) as url:
        pass
    etcd = judge(observe(Access(url, None, None, None)), url)
    assert "connection refused" in etcd["problems"][0]
    assert not etcd["healthy"] and etcd["snapshot_refusal"]


OPTIONS = {"endpoint": None, "ca_cert": None, "client_cert": None, "client_key": None}
PARAMS = {**OPTIONS, "wait": True, "timeout": 5, "hash_check": False, "hash_timeout": 5}


def found(url: str) -> Callable[[Access], Etcd]:
    return lambda _wanted: Etcd("cp1", "/var/lib/etcd", Access(url, None, None, None), "test", 1)


def test_wait_takes_a_refused_connection_as_not_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["down", "up", "down", "up", "up", "up"])
    with fakes.gateway(replies()) as up, fakes.gateway({}) as down:
        urls = {"up": up, "down": down}

        def discover(wanted: Access) -> Etcd:
            return found(urls[next(answers)])(wanted)

        monkeypatch.setattr(watch, "discover", discover)
        etcd = watch.info({**PARAMS, "passes": 3, "interval": 0})["etcd"]
    assert etcd["healthy"] and etcd["data_dir"] == "/var/lib/etcd"
    assert next(answers, None) is None, "three passes in a row were needed, and no more"


def test_wait_ends_with_what_was_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with fakes.gateway(replies(leader="0")) as url:
        monkeypatch.setattr(watch, "discover", found(url))
        with pytest.raises(TimedOut, match=r"option timeout.*no leader") as caught:
            watch.info({**PARAMS, "timeout": 0, "passes": 1, "interval": 0})
    assert caught.value.results["etcd"]["problems"]


def test_a_host_without_etcd_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_wanted: Access) -> Etcd:
        raise NoEtcd("No etcd here.")

    monkeypatch.setattr(watch, "discover", nothing)
    with pytest.raises(NoEtcd):
        watch.info({**PARAMS, "passes": 1, "interval": 0})


@pytest.mark.parametrize("option", ["hash_timeout", "passes"])
def test_what_would_look_at_nothing_is_refused(option: str) -> None:
    with pytest.raises(CareError, match=f"{option}=0 would look at nothing"):
        watch.info({**PARAMS, "hash_check": True, "passes": 1, "interval": 0, option: 0})


def test_certificate_and_key_belong_together() -> None:
    with pytest.raises(CareError, match="belong together"):
        watch.wanted_access({**PARAMS, "client_cert": "/crt"})
