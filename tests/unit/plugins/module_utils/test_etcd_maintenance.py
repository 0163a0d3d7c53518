# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_maintenance as maintenance
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd, NoEtcd
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

NOBODY = Access("", None, None, None)


def member(name: str, **changed: Any) -> dict[str, Any]:
    """A member as judge tells of it."""
    return {
        "id": name[-1],
        "name": name,
        "local": name == "cp1",
        "learner": False,
        "started": True,
        "healthy": True,
        "version": "3.6.5",
        "raft_applied_index": 5000,
        "leader_id": "1",
        **changed,
    }


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        pytest.param([], None, id="single member"),
        pytest.param([member("cp2"), member("cp3")], "cp2", id="equals: by name"),
        pytest.param([member("cp2", healthy=False), member("cp3")], "cp3", id="unhealthy"),
        pytest.param([member("cp2", learner=True), member("cp3")], "cp3", id="learner"),
        pytest.param([member("cp2", started=False), member("cp3")], "cp3", id="never started"),
        pytest.param([member("cp2", healthy=False), member("cp3", learner=True)], None, id="nobody fit"),
        pytest.param([member("cp2"), member("cp3", raft_applied_index=5001)], "cp3", id="further"),
        pytest.param(
            [member("cp2", raft_applied_index=5009), member("cp3", version="3.6.10")], "cp3", id="already upgraded"
        ),
        pytest.param([member("cp2", version=None), member("cp3")], "cp3", id="version not known"),
    ],
)
def test_successor(others: list[dict[str, Any]], chosen: str) -> None:
    leader = member("cp1")
    found = maintenance.successor({"members": [leader, *others]}, leader)
    assert (found and found["name"]) == chosen


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[fakes.Cluster]:
    """Three members; this host has the first one, and it leads."""
    with fakes.cluster("cp1", "cp2", "cp3") as one:
        here(monkeypatch, one.url(1))
        yield one


def here(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    etcd = Etcd("cp1", "/var/lib/etcd", Access(url, None, None, None), "test", 1)
    monkeypatch.setattr(maintenance, "discover", lambda _wanted: etcd)


def move(seconds: float = 10) -> Any:
    return maintenance.move_leader_away(NOBODY, Deadline(seconds, "timeout"))


def test_the_leadership_moves_and_is_proven(three: fakes.Cluster) -> None:
    assert move() == {"from": "cp1", "to": "cp2"}
    assert three.leader == "2"
    assert three.writes == [("cp1", "transfer-leadership", {"targetID": "2"})], "64-bit numbers travel as strings"


def test_nothing_moves_when_this_host_does_not_lead(three: fakes.Cluster) -> None:
    three.leader = "3"
    assert move() is None
    assert three.leader == "3" and not three.writes


def test_nothing_moves_without_another_member(monkeypatch: pytest.MonkeyPatch) -> None:
    with fakes.cluster("cp1") as one:
        here(monkeypatch, one.url(1))
        assert move() is None
    assert not one.writes


def test_nothing_moves_on_a_host_without_etcd(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_wanted: Access) -> Etcd:
        raise NoEtcd("No etcd here.")

    monkeypatch.setattr(maintenance, "discover", nothing)
    assert move() is None


def refused(_body: dict[str, Any]) -> tuple[int, bytes]:
    return 504, b'{"code":14,"message":"etcdserver: request timed out, leader transfer took too long"}'


def elsewhere(three: fakes.Cluster) -> Callable[[dict[str, Any]], tuple[int, bytes]]:
    def do(_body: dict[str, Any]) -> tuple[int, bytes]:
        three.leader = "3"
        return 400, b'{"message":"etcdserver: not leader"}'

    return do


def test_an_answer_that_is_lost_does_not_matter(three: fakes.Cluster) -> None:
    three.instead["1", "transfer-leadership"] = elsewhere(three)
    assert move() == {"from": "cp1", "to": "cp3"}


def test_a_leader_that_stays_is_a_sentence(three: fakes.Cluster) -> None:
    three.instead["1", "transfer-leadership"] = refused
    with pytest.raises(TimedOut, match=r"leadership from cp1 to cp2.*option timeout.*leader transfer took too long"):
        move(0.3)


def test_the_new_leader_must_say_so_itself(three: fakes.Cluster) -> None:
    three.said["2"] = {"leader": "1"}
    with pytest.raises(TimedOut, match="cp2 does not say yet that it leads"):
        move(0.3)


def test_a_certificate_without_client_usage_is_explained(three: fakes.Cluster) -> None:
    three.instead["1", "transfer-leadership"] = (503, b'{"message":"remote error: tls: bad certificate"}')
    with pytest.raises(TimedOut, match="serverAuth and clientAuth"):
        move(0)
