# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""etcd_maintenance whole, against members behind real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_alarms as alarms
from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_defragment as defragment
from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_maintenance as maintenance
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import Etcd
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import alarms_of
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

GIB = 1 << 30
HOLES = {"dbSize": str(GIB), "dbSizeInUse": str(GIB // 4)}
NOSPACE = {"errors": ["memberID:2 alarm:NOSPACE "]}
CORRUPT = {"errors": ["memberID:3 alarm:CORRUPT "]}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def three() -> Iterator[fakes.Cluster]:
    with fakes.cluster("cp1", "cp2", "cp3") as one:
        yield one


@pytest.fixture
def care(run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the module on the host of this cluster's first member."""

    def run(one: fakes.Cluster, state: str, check: bool = False, **options: Any) -> dict[str, Any]:
        flags = {"quota-backend-bytes": str(2 * GIB)}
        etcd = Etcd("cp1", "/var/lib/etcd", Access(one.url(1), None, None, None), "test", 1, flags)
        for place in (alarms, defragment, maintenance):
            monkeypatch.setattr(place, "discover", lambda _wanted: etcd)
        result: dict[str, Any] = run_module("etcd_maintenance", {"state": state, "timeout": 5, **options}, check=check)
        return result

    return run


def said(one: fakes.Cluster, **words: Any) -> None:
    for own in one.said:
        one.said[own].update(words)


def order(one: fakes.Cluster) -> list[str]:
    return [f"{name} {call}" for name, call, _body in one.writes]


def test_followers_come_first_and_the_leader_does_not_lead_when_its_turn_comes(care: Run, three: fakes.Cluster) -> None:
    said(three, **HOLES)
    result = care(three, "defragmented")
    assert result["changed"] and result["moved"] == {"from": "cp1", "to": "cp2"}
    assert order(three) == ["cp2 defragment", "cp3 defragment", "cp1 transfer-leadership", "cp1 defragment"]
    assert [(one["name"], one["before"], one["after"]) for one in result["defragmented"]] == [
        (name, GIB, GIB // 4) for name in ("cp2", "cp3", "cp1")
    ]
    three.writes.clear()
    again = care(three, "defragmented")
    assert (
        not again["changed"]
        and not three.writes
        and [one["name"] for one in again["not_needed"]]
        == [
            "cp1",
            "cp2",
            "cp3",
        ]
    )


@pytest.mark.parametrize(
    ("words", "options", "why"),
    [
        (
            {"dbSize": str(GIB), "dbSizeInUse": str(GIB * 6 // 10)},
            {},
            "40 % of its file are not in use, less than 45 %",
        ),
        ({"dbSize": "90000000", "dbSizeInUse": "1"}, {}, "would give back 85 MiB, less than 100 MiB"),
        (HOLES, {"min_fragmentation": 80}, "75 % of its file are not in use, less than 80 %"),
        ({"dbSize": "0", "dbSizeInUse": "0"}, {}, "0 % of its file"),
    ],
)
def test_what_is_not_worth_it_is_left_alone(
    care: Run, three: fakes.Cluster, words: dict[str, str], options: dict[str, Any], why: str
) -> None:
    said(three, **words)
    result = care(three, "defragmented", **options)
    assert not result["changed"] and not three.writes
    assert all(why in one["why"] for one in result["not_needed"]) and len(result["not_needed"]) == 3


def test_check_mode_tells_and_writes_nothing(care: Run, three: fakes.Cluster) -> None:
    said(three, **HOLES)
    result = care(three, "defragmented", check=True)
    assert result["changed"] and [one["name"] for one in result["defragmented"]] == ["cp2", "cp3", "cp1"]
    assert care(three, "leader_moved", check=True)["moved"] == {"from": "cp1", "to": "cp2"}
    said(three, **NOSPACE)
    assert care(three, "alarms_disarmed", check=True)["disarmed"] == [{"member": "2", "alarm": "NOSPACE"}]
    assert not three.writes


@pytest.mark.parametrize(
    ("state", "words"),
    [("defragmented", "Nothing was defragmented"), ("leader_moved", "is behind"), ("alarms_disarmed", "more than")],
)
def test_a_cluster_that_is_not_well_is_left_alone(care: Run, three: fakes.Cluster, state: str, words: str) -> None:
    said(three, **HOLES, **NOSPACE)
    for own in ("2", "3"):
        three.said[own]["raftAppliedIndex"] = "7"
    result = care(three, state)
    assert result["failed"] and not result["changed"] and not three.writes
    assert "4993 entries behind" in result["msg"]


def test_a_full_database_may_be_defragmented(care: Run, three: fakes.Cluster) -> None:
    said(three, **HOLES, **NOSPACE)
    assert len(care(three, "defragmented")["defragmented"]) == 3


def test_the_only_member_needs_a_word(care: Run) -> None:
    with fakes.cluster("cp1") as one:
        said(one, **HOLES)
        refused = care(one, "defragmented")
        assert refused["failed"] and "allow_outage=true" in refused["msg"] and not one.writes
        done = care(one, "defragmented", allow_outage=True)
    assert done["changed"] and order(one) == ["cp1 defragment"]


def test_a_failure_in_the_middle_tells_what_was_done(care: Run, three: fakes.Cluster) -> None:
    said(three, **HOLES)
    three.instead["3", "defragment"] = (500, b'{"message":"etcdserver: disk"}')
    result = care(three, "defragmented")
    assert result["failed"] and result["changed"] and "etcdserver: disk" in result["msg"]
    assert [one["name"] for one in result["defragmented"]] == ["cp2"] and result["left"] == ["cp3", "cp1"]


def test_a_member_that_falls_ill_stops_it(care: Run, three: fakes.Cluster) -> None:
    said(three, **HOLES)

    def lags(body: dict[str, Any]) -> tuple[int, bytes]:
        three.said["3"]["raftAppliedIndex"] = "7"
        return three.write("2", "defragment", body)

    three.instead["2", "defragment"] = lags
    result = care(three, "defragmented", timeout=2)
    assert result["failed"] and result["timed_out"] and result["left"] == ["cp3", "cp1"]
    assert order(three) == ["cp2 defragment"] and "entries behind" in result["msg"]


def test_the_leadership_moves_once(care: Run, three: fakes.Cluster) -> None:
    assert care(three, "leader_moved")["moved"] == {"from": "cp1", "to": "cp2"}
    again = care(three, "leader_moved")
    assert not again["changed"] and again["moved"] is None


def test_the_only_member_has_to_lead(care: Run) -> None:
    with fakes.cluster("cp1") as one:
        result = care(one, "leader_moved")
    assert result["failed"] and "the only voting member" in result["msg"]


def test_alarms_are_disarmed_and_stay_so(care: Run, three: fakes.Cluster) -> None:
    said(three, **NOSPACE)
    result = care(three, "alarms_disarmed")
    assert result["changed"] and result["disarmed"] == [{"member": "2", "alarm": "NOSPACE"}]
    assert three.writes[0][2] == {"action": "DEACTIVATE", "memberID": "2", "alarm": "NOSPACE"}
    assert not alarms_of(three.status("1"))
    assert not care(three, "alarms_disarmed")["changed"]


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ({"dbSize": str(2 * GIB), "dbSizeInUse": str(GIB)}, "defragment first"),
        ({"dbSize": str(2 * GIB), "dbSizeInUse": str(2 * GIB)}, "delete and compact data, or raise the quota"),
    ],
)
def test_nospace_stays_while_a_database_is_full(
    care: Run, three: fakes.Cluster, words: dict[str, str], cure: str
) -> None:
    said(three, **NOSPACE)
    three.said["3"].update(words)
    result = care(three, "alarms_disarmed")
    assert result["failed"] and cure in result["msg"] and "cp3" in result["msg"] and not three.writes


def test_a_database_without_quota_is_never_full(care: Run, three: fakes.Cluster) -> None:
    said(three, **NOSPACE, dbSize=str(9 * GIB), dbSizeQuota="-1")
    assert care(three, "alarms_disarmed")["changed"]


def test_corrupt_stays_until_the_data_are_proven_or_the_member_is_gone(care: Run, three: fakes.Cluster) -> None:
    said(three, **CORRUPT)
    three.hashes["3"] = {"hash": 4712}
    result = care(three, "alarms_disarmed")
    assert result["failed"] and "hold different data" in result["msg"] and not three.writes
    three.hashes["3"] = {}
    assert care(three, "alarms_disarmed")["disarmed"] == [{"member": "3", "alarm": "CORRUPT"}]
    said(three, errors=["memberID:9 alarm:CORRUPT "])
    assert care(three, "alarms_disarmed")["disarmed"] == [{"member": "9", "alarm": "CORRUPT"}]
