# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""etcd_member whole, against members behind real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_member as membership
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

NEW = "https://10.80.0.14:2380"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def three() -> Iterator[fakes.Cluster]:
    with fakes.cluster("cp1", "cp2", "cp3") as one:
        yield one


@pytest.fixture
def member(run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the module on the host of this cluster's first member."""

    def run(one: fakes.Cluster, state: str, name: str, check: bool = False, **options: Any) -> dict[str, Any]:
        etcd = Etcd("cp1", "/var/lib/etcd", Access(one.url(1), None, None, None), "test", 1)
        monkeypatch.setattr(membership, "discover", lambda _wanted: etcd)
        given = {"state": state, "name": name, "timeout": 3, **options}
        result: dict[str, Any] = run_module("etcd_member", given, check=check)
        return result

    return run


def dead(one: fakes.Cluster, *numbers: int) -> None:
    for number in numbers:
        one.instead[str(number), "status"] = (503, b'{"message":"gone"}')


def url(number: int) -> str:
    return f"https://10.80.0.1{number}:2380"


def test_a_learner_is_added_once_and_told_how_to_start(member: Run, three: fakes.Cluster) -> None:
    result = member(three, "learner", "cp4", peer_url=NEW)
    assert result["changed"] and result["member"]["learner"] and result["member"]["peer_urls"] == [NEW]
    assert result["initial_cluster"] == f"cp1={url(1)},cp2={url(2)},cp3={url(3)},cp4={NEW}"
    assert three.writes == [("cp1", "add", {"peerURLs": [NEW], "isLearner": True})]
    again = member(three, "learner", "cp4", peer_url=NEW + "/")
    assert not again["changed"] and again["initial_cluster"] == result["initial_cluster"] and len(three.writes) == 1
    assert result["quorum"] == {"members": 3, "needed": 2, "healthy": 3, "tolerates": 1}


def test_check_mode_writes_nothing(member: Run, three: fakes.Cluster) -> None:
    added = member(three, "learner", "cp4", peer_url=NEW, check=True)
    assert added["changed"] and added["member"] is None and added["initial_cluster"].endswith(f",cp4={NEW}")
    gone = member(three, "absent", "cp3", peer_url=url(3), check=True)
    assert gone["changed"] and gone["removed"]["name"] == "cp3"
    three.members[2]["isLearner"] = True
    assert member(three, "promoted", "cp3", check=True)["changed"]
    assert not three.writes


@pytest.mark.parametrize(
    ("name", "peer", "words"),
    [
        pytest.param("cp3", NEW, "do not belong to one member; found cp3 (3", id="name with another URL"),
        pytest.param("cp4", url(3), "do not belong to one member; found cp3 (3", id="URL with another name"),
        pytest.param("cp2", url(3), "found cp2 (2, https://10.80.0.12:2380) and cp3 (3", id="two members"),
        pytest.param("cp4", "10.80.0.14:2380", "is not the peer URL", id="no URL"),
        pytest.param("cp4", "https://10.80.0.14", "is not the peer URL", id="no port"),
        pytest.param("cp4", "https://[fd00::1:2380", "is not the peer URL", id="open bracket"),
        pytest.param("cp4", "https://10.80.0.14:x", "is not the peer URL", id="port of letters"),
    ],
)
@pytest.mark.parametrize("state", ["learner", "absent"])
def test_name_and_url_must_mean_one_member(
    member: Run, three: fakes.Cluster, state: str, name: str, peer: str, words: str
) -> None:
    result = member(three, state, name, peer_url=peer)
    assert result["failed"] and words in result["msg"] and not three.writes


def test_one_learner_at_a_time(member: Run, three: fakes.Cluster) -> None:
    member(three, "learner", "cp4", peer_url=NEW)
    result = member(three, "learner", "cp5", peer_url=url(5))
    assert result["failed"] and "takes one at a time" in result["msg"] and len(three.writes) == 1


def test_no_learner_beside_a_dead_member(member: Run, three: fakes.Cluster) -> None:
    dead(three, 3)
    result = member(three, "learner", "cp4", peer_url=NEW)
    assert result["failed"] and "Member cp3 (3) does not answer" in result["msg"] and not three.writes


def test_a_lost_answer_does_not_matter(member: Run, three: fakes.Cluster) -> None:
    def lost(body: dict[str, Any]) -> tuple[int, bytes]:
        three.write("1", "add", body)
        return 504, b'{"message":"etcdserver: request timed out"}'

    three.instead["1", "add"] = lost
    result = member(three, "learner", "cp4", peer_url=NEW)
    assert result["changed"] and result["member"]["learner"] and len(three.writes) == 1


def test_a_cluster_that_is_not_ready_yet_is_waited_for(member: Run, three: fakes.Cluster) -> None:
    def busy(_body: dict[str, Any]) -> tuple[int, bytes]:
        del three.instead["1", "add"]
        return 503, b'{"code":14,"message":"etcdserver: unhealthy cluster"}'

    three.instead["1", "add"] = busy
    assert member(three, "learner", "cp4", peer_url=NEW)["changed"]


def test_a_refusal_of_etcd_ends_at_once(member: Run, three: fakes.Cluster) -> None:
    three.instead["1", "add"] = (400, b'{"code":9,"message":"etcdserver: too many learner members in cluster"}')
    result = member(three, "learner", "cp4", peer_url=NEW, timeout=60)
    assert result["failed"] and not result["changed"] and "too many learner members" in result["msg"]
    assert result["elapsed"] < 5


def test_a_learner_is_promoted_as_soon_as_it_is_in_sync(member: Run, three: fakes.Cluster) -> None:
    member(three, "learner", "cp4", peer_url=NEW)

    def behind(_body: dict[str, Any]) -> tuple[int, bytes]:
        three.members[3]["name"] = "cp4"
        del three.instead["1", "promote"]
        return 400, b'{"message":"etcdserver: can only promote a learner member which is in sync with leader"}'

    three.instead["1", "promote"] = behind
    result = member(three, "promoted", "cp4")
    assert result["changed"] and not result["member"]["learner"]
    assert three.writes[1:] == [("cp1", "promote", {"ID": "99"})]
    assert not member(three, "promoted", "cp4")["changed"] and len(three.writes) == 2


def test_a_learner_that_never_gets_there_is_a_sentence(member: Run, three: fakes.Cluster) -> None:
    member(three, "learner", "cp4", peer_url=NEW)
    words = b'{"message":"etcdserver: can only promote a learner member which is in sync with leader"}'
    three.instead["1", "promote"] = (400, words)
    result = member(three, "promoted", "cp4", timeout=1)
    assert result["failed"] and result["timed_out"] and not result["changed"]
    assert "in sync with leader" in result["msg"] and "option timeout" in result["msg"]


def test_a_stranger_is_not_promoted(member: Run, three: fakes.Cluster) -> None:
    assert "add it first" in member(three, "promoted", "cp4")["msg"]
    member(three, "learner", "cp4", peer_url=NEW)
    assert "add it first" in member(three, "promoted", "cp5", peer_url=url(5))["msg"]
    assert len(three.writes) == 1


def test_a_dead_member_is_removed_once(member: Run, three: fakes.Cluster) -> None:
    dead(three, 3)
    result = member(three, "absent", "cp3", peer_url=url(3))
    assert result["changed"] and result["removed"]["name"] == "cp3"
    assert [one["name"] for one in result["members"]] == ["cp1", "cp2"]
    assert result["initial_cluster"] == f"cp1={url(1)},cp2={url(2)}"
    assert three.writes == [("cp1", "remove", {"ID": "3"})]
    again = member(three, "absent", "cp3", peer_url=url(3))
    assert not again["changed"] and again["removed"] is None and len(three.writes) == 1


def test_a_leader_hands_over_before_it_goes(member: Run, three: fakes.Cluster) -> None:
    three.leader = "3"
    result = member(three, "absent", "cp3", peer_url=url(3))
    assert result["changed"]
    assert [(name, call) for name, call, _body in three.writes] == [("cp3", "transfer-leadership"), ("cp1", "remove")]


def test_a_member_that_has_never_started_is_removed_by_its_url(member: Run, three: fakes.Cluster) -> None:
    member(three, "learner", "cp4", peer_url=NEW)
    assert member(three, "absent", "cp4", peer_url=NEW)["changed"]
    assert len(three.members) == 3


def test_the_removed_answer_may_be_lost(member: Run, three: fakes.Cluster) -> None:
    def lost(body: dict[str, Any]) -> tuple[int, bytes]:
        three.members = three.members[:2]
        return three.write("1", "remove", body)

    three.instead["1", "remove"] = lost
    assert member(three, "absent", "cp3", peer_url=url(3))["changed"]


def silent_after(one: fakes.Cluster, call: str, *paths: str) -> None:
    """The member does it, and does not say any of this from then on."""

    def do(body: dict[str, Any]) -> tuple[int, bytes]:
        for path in paths:
            one.instead["1", path] = (503, b'{"message":"etcdserver: no leader"}')
        return one.write("1", call, body)

    one.instead["1", call] = do


@pytest.mark.parametrize("paths", [("range",), ("status", "list")], ids=["no majority yet", "gone"])
def test_what_was_done_is_told_although_the_proof_did_not_come(
    member: Run, three: fakes.Cluster, paths: tuple[str, ...]
) -> None:
    silent_after(three, "add", *paths)
    result = member(three, "learner", "cp4", peer_url=NEW, timeout=1)
    assert result["failed"] and result["changed"] and "no leader" in result["msg"]
    for path in paths:
        del three.instead["1", path]
    silent_after(three, "remove", *paths)
    result = member(three, "absent", "cp4", peer_url=NEW, timeout=1)
    assert result["failed"] and result["changed"] and len(three.members) == 3


def test_an_answer_that_was_lost_counts_as_done(member: Run, three: fakes.Cluster) -> None:
    three.instead["1", "add"] = (504, b'{"message":"etcdserver: request timed out"}')
    assert member(three, "learner", "cp4", peer_url=NEW, timeout=1)["changed"]


def test_the_majority_is_never_lost_by_a_removal(member: Run) -> None:
    with fakes.cluster("cp1", "cp2", "cp3", "cp4") as four:
        dead(four, 4)
        refused = member(four, "absent", "cp3", peer_url=url(3))
        assert not refused.get("failed"), "two of three would be well"
        four.writes.clear()
        refused = member(four, "absent", "cp2", peer_url=url(2))
        assert refused["failed"] and "1 of 2 voting members would be well, 2 are needed" in refused["msg"]
        assert member(four, "absent", "cp4", peer_url=url(4))["changed"]
    assert [call for _name, call, _body in four.writes] == ["remove"]


def test_without_a_majority_nobody_is_removed(member: Run, three: fakes.Cluster) -> None:
    dead(three, 2, 3)
    three.leader = "0"
    result = member(three, "absent", "cp3", peer_url=url(3))
    assert result["failed"] and "has lost its majority: 0 of 3" in result["msg"] and not three.writes


def test_a_host_does_not_remove_its_own_member(member: Run, three: fakes.Cluster) -> None:
    result = member(three, "absent", "cp1", peer_url=url(1))
    assert result["failed"] and "Run this on another master" in result["msg"] and not three.writes


def test_options_that_are_missing_are_named(member: Run, three: fakes.Cluster) -> None:
    assert "peer_url" in member(three, "absent", "cp3")["msg"]


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("https://10.0.0.1:2380/", "https://10.0.0.1:2380"),
        ("HTTPS://CP1.example:2380", "https://cp1.example:2380"),
        ("https://[FD00:0:0:0::1]:2380", "https://[fd00::1]:2380"),
    ],
)
def test_urls_are_compared_by_what_they_mean(written: str, plain: str) -> None:
    assert membership.plain_url(written) == plain
    with pytest.raises(CareError):
        membership.plain_url(written.replace(":2380", ""))
