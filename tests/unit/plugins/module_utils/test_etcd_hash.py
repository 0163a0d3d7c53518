# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_hash as hashing
from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_watch as watch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_hash import Hash, Hashes
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

NAMES = {"1": "cp1", "2": "cp2", "3": "cp3"}


def hashes(*found: Hash) -> Hashes:
    return Hashes(900, {str(number): one for number, one in enumerate(found, 1)})


SAME, OTHER, THIRD = Hash(7, 100), Hash(8, 100), Hash(9, 100)


@pytest.mark.parametrize(
    ("found", "odd", "words", "agree"),
    [
        pytest.param([SAME], [], [], True, id="single member"),
        pytest.param([SAME, SAME, SAME], [], [], True, id="all the same"),
        pytest.param([SAME, SAME, OTHER], ["3"], ["the majority: cp3."], False, id="one differs"),
        pytest.param([SAME, OTHER], ["1", "2"], ["None has a majority"], False, id="two and two opinions"),
        pytest.param([SAME, OTHER, THIRD], ["1", "2", "3"], ["None has a majority"], False, id="all differ"),
        pytest.param([SAME, SAME, Hash(7, 90)], [], ["just being compacted"], False, id="compacted elsewhere"),
        pytest.param(
            [SAME, Hash(0, 0, "gone")], [], ["member cp2 could not be compared: gone."], False, id="one silent"
        ),
    ],
)
def test_hashes_tell_who_differs(found: list[Hash], odd: list[str], words: list[str], agree: bool) -> None:
    all_found = hashes(*found)
    assert hashing.differing(all_found) == odd
    problems = hashing.hash_problems(all_found, NAMES)
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems))
    assert hashing.described(all_found, NAMES)["agree"] is agree


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[fakes.Cluster]:
    monkeypatch.setattr(hashing, "_PAUSE", 0)
    with fakes.cluster("cp1", "cp2", "cp3") as one:
        yield one


def look(one: fakes.Cluster) -> dict[str, Any]:
    return judge(observe(Access(one.url(1), None, None, None), hash_timeout=5), one.url(1))


def test_all_are_compared_at_the_highest_revision_that_all_have(three: fakes.Cluster) -> None:
    three.said["2"] = {"header": {"cluster_id": "7", "member_id": "2", "revision": "898"}}
    found = look(three)["hash"]
    assert found["agree"] and found["revision"] == 898
    assert [(one["name"], one["hash"]) for one in found["members"]] == [("cp1", 4711), ("cp2", 4711), ("cp3", 4711)]


def test_a_member_with_other_data_is_not_healthy(three: fakes.Cluster) -> None:
    three.hashes["3"] = {"hash": 4712}
    etcd = look(three)
    assert not etcd["healthy"] and not etcd["hash"]["agree"]
    assert "different data at revision 900" in etcd["problems"][0]
    assert [one["name"] for one in etcd["members"] if not one["healthy"]] == ["cp3"]
    assert etcd["quorum"]["healthy"] == 2


def test_a_compaction_under_way_is_waited_for(three: fakes.Cluster) -> None:
    answers = iter([(400, b'{"code":11,"message":"etcdserver: mvcc: required revision has been compacted"}')])

    def compacted(body: dict[str, Any]) -> tuple[int, bytes]:
        del three.instead["2", "hashkv"]
        return next(answers)

    three.instead["2", "hashkv"] = compacted
    assert look(three)["hash"]["agree"]


def test_an_old_etcd_is_explained(three: fakes.Cluster) -> None:
    three.instead["2", "hashkv"] = (404, b"404 page not found")
    assert "needs 3.5.10 or newer" in look(three)["problems"][0]


def test_a_learner_is_not_compared(three: fakes.Cluster) -> None:
    three.members[2]["isLearner"] = True
    three.hashes["3"] = {"hash": 1}
    assert [one["name"] for one in look(three)["hash"]["members"]] == ["cp1", "cp2"]


def test_waiting_hashes_once_when_all_else_is_well(three: fakes.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hash_it(_body: dict[str, Any]) -> tuple[int, bytes]:
        asked.append(1)
        return 200, b'{"hash":4711,"compact_revision":"100"}'

    three.instead["1", "hashkv"] = hash_it
    etcd = Etcd("cp1", "/var/lib/etcd", Access(three.url(1), None, None, None), "test", 1)
    monkeypatch.setattr(watch, "discover", lambda _wanted: etcd)
    options = {"endpoint": None, "ca_cert": None, "client_cert": None, "client_key": None, "hash_timeout": 5}
    result = watch.info({**options, "wait": True, "hash_check": True, "timeout": 5, "passes": 3, "interval": 0})
    assert result["etcd"]["hash"]["agree"] and len(asked) == 1
