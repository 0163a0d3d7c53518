# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import calendar
import time
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_retention import (
    Rule,
    judge_cluster,
    reasons,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_shelf import Snapshot

NONE = Rule(0, 0, 0, 0)
# A Monday, 12:30 UTC.
NOW = calendar.timegm(time.strptime("2026-01-05T12:30", "%Y-%m-%dT%H:%M"))
HOUR, DAY = 3600, 86400


def taken(*ages: float) -> list[Snapshot]:
    """Snapshots of these ages, called by them."""
    return [Snapshot(f"/b/{age:g}", 1, NOW - age, {"schema": 1, "sha256": "x"}) for age in ages]


def yes(_snapshot: Snapshot) -> bool:
    return True


def no(_snapshot: Snapshot) -> bool:
    return False


def names(why: dict[str, Any]) -> list[str]:
    return [path[3:] for path in why]


@pytest.mark.parametrize(
    ("ages", "rule", "kept"),
    [
        pytest.param([0, 1, 2], NONE, [], id="nothing asked for"),
        pytest.param([0, 1, 2, 3], NONE._replace(last=2), ["0", "1"], id="last"),
        pytest.param([0], NONE._replace(last=9), ["0"], id="fewer than asked for"),
        pytest.param([0, 600, 2400, 3000], NONE._replace(hourly=2), ["0", "2400"], id="newest of each hour"),
        pytest.param([0, 5 * HOUR, 9 * HOUR], NONE._replace(hourly=2), ["0", "18000"], id="empty hours do not count"),
        pytest.param([0, HOUR, DAY, DAY + HOUR], NONE._replace(daily=7), ["0", "86400"], id="newest of each day"),
        pytest.param([0, DAY, 6 * DAY, 8 * DAY], NONE._replace(weekly=2), ["0", "86400"], id="Sunday is last week"),
        pytest.param([5 * DAY, 6 * DAY], NONE._replace(weekly=9), ["432000"], id="a week over the turn of the year"),
    ],
)
def test_rules(ages: list[float], rule: Rule, kept: list[str]) -> None:
    assert names(reasons(taken(*ages), rule)) == kept


def test_what_one_rule_keeps_is_kept_and_all_rules_are_named() -> None:
    why = reasons(taken(0, 600, DAY), Rule(1, 1, 2, 1))
    assert why == {"/b/0": ["last", "hourly", "daily", "weekly"], "/b/86400": ["daily"]}


def test_the_newest_good_one_stays_whatever_the_rule() -> None:
    verdict = judge_cluster(taken(0, 1, 2), NONE, yes, yes)
    assert verdict.keep == {"/b/0": ["newest good one"]}
    assert [snapshot.name for snapshot in verdict.drop] == ["1", "2"]


def test_damaged_ones_count_for_nothing_and_stay() -> None:
    verdict = judge_cluster(taken(0, 1, 2, 3), NONE._replace(last=1), lambda one: one.name in ("2", "3"), yes)
    assert names(verdict.keep) == ["2"]
    assert [snapshot.name for snapshot in verdict.damaged] == ["0", "1"]
    assert [snapshot.name for snapshot in verdict.drop] == ["3"]


def test_an_older_one_that_is_not_what_it_says_takes_nobodys_place() -> None:
    verdict = judge_cluster(taken(0, 1, 2, 3), NONE._replace(last=2), yes, lambda one: one.name != "1")
    assert names(verdict.keep) == ["0", "2"]
    assert [snapshot.name for snapshot in verdict.damaged] == ["1"]
    assert [snapshot.name for snapshot in verdict.drop] == ["3"]


def test_without_a_good_one_nothing_goes() -> None:
    verdict = judge_cluster(taken(0, 1), NONE, no, yes)
    assert not verdict.keep and not verdict.drop and len(verdict.damaged) == 2
