# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who may have the lock, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _lock
from ansible_collections.clustercare.kubeadm.plugins.module_utils._lock import Claim, judge, read, refusal
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch

RENEWED = "2026-11-22T03:20:00.000000Z"
ENDS = epoch("2026-11-22T03:35:00Z")
FIRST = "pid:[4026531836]"
BASTION = {"machine_id": "m1", "boot_id": "b1", "hostname": "bastion", "pid_namespace": FIRST}
CONTAINER = {**BASTION, "pid_namespace": "pid:[4026532299]"}


def lease(purpose: str = "upgrade", run: str = "r1", **notes: str) -> dict[str, Any]:
    told = {"purpose": purpose, "run": run, "since": "2026-11-22T03:15:00Z", "pid": "42", "start": "777"}
    told.update(BASTION)
    told.update(notes)
    return {
        "metadata": {"annotations": {f"clustercare.io/{k.replace('_', '-')}": v for k, v in told.items() if v}},
        "spec": {"holderIdentity": f"{purpose}/{run}", "renewTime": RENEWED, "leaseDurationSeconds": 900},
    }


def me(
    purpose: str = "upgrade", run: str = "r2", running: Any = ((99, 5),), takeover: str | None = None, **more: Any
) -> Claim:
    told: dict[str, Any] = {**BASTION, "first_namespace": True, "pid": 99, "start": 5, **more}
    told["running"] = None if running is None else [{"pid": pid, "start": start} for pid, start in running]
    return Claim.of(purpose, run, 900, takeover, told)


STRANGER = {"machine_id": "m2", "hostname": "laptop"}


@pytest.mark.parametrize(
    ("found", "claim", "late", "action"),
    [
        pytest.param(None, me(), 0, "acquire", id="no lease"),
        pytest.param({"metadata": {}, "spec": {"leaseDurationSeconds": 900}}, me(), 0, "acquire", id="no holder"),
        pytest.param(lease(), me(run="r1"), 0, "renew", id="this run's own"),
        pytest.param(lease(), me(run="r1"), 99, "renew", id="this run's own, long over, but nobody took it"),
        pytest.param(lease("maintenance"), me(run="r1"), -60, "refuse", id="the same run id for another purpose"),
        pytest.param(lease(), me(**STRANGER), -1, "refuse", id="held elsewhere until the last second"),
        pytest.param(lease(), me(**STRANGER), 0, "take_over", id="over"),
        pytest.param(lease("maintenance"), me(**STRANGER), 1, "take_over", id="over, another purpose"),
        pytest.param(lease(), me(takeover="r1", **STRANGER), -60, "take_over", id="told to"),
        pytest.param(lease(), me(takeover="r0", **STRANGER), -60, "refuse", id="told to, but of another run"),
        pytest.param(lease(), me(running=[(42, 777), (99, 5)]), -60, "refuse", id="its process runs"),
        pytest.param(lease(), me(running=[(99, 5)]), -60, "take_over", id="its process is gone"),
        pytest.param(lease(), me(running=[(42, 778)]), -60, "take_over", id="its process number is another's now"),
        pytest.param(lease("maintenance"), me(), -60, "refuse", id="its process is gone, but it did something else"),
        pytest.param(lease(), me(running=None), -60, "refuse", id="processes of others are hidden"),
        pytest.param(lease(), me(hostname="clone"), -60, "refuse", id="a machine with the same machine id"),
        pytest.param(lease(), me(machine_id="", boot_id="b2"), -60, "refuse", id="no machine id"),
        pytest.param(lease(machine_id=""), me(machine_id=""), -60, "refuse", id="no machine id on both sides"),
        pytest.param(lease(pid=""), me(), -60, "refuse", id="no process noted"),
        pytest.param(lease(), me(boot_id="b2"), -60, "take_over", id="its machine was started again"),
        pytest.param(lease(), me(boot_id=""), -60, "refuse", id="a boot that nobody knows"),
        pytest.param(lease(**CONTAINER), me(), -60, "refuse", id="it ran in a container"),
        pytest.param(lease(), me(**CONTAINER, first_namespace=False), -60, "refuse", id="we run in a container"),
        pytest.param(
            lease(**CONTAINER), me(**CONTAINER, first_namespace=False), -60, "take_over", id="in the same container"
        ),
        pytest.param(
            lease(**CONTAINER),
            me(**{**CONTAINER, "boot_id": "b2"}, first_namespace=False),
            -60,
            "refuse",
            id="containers of one image on two machines",
        ),
    ],
)
def test_judge(found: Any, claim: Claim, late: float, action: str) -> None:
    assert judge(found, claim, ENDS + late).action == action


@pytest.mark.parametrize("missing", ["renewTime", "leaseDurationSeconds"])
def test_a_lease_that_promises_nothing_is_not_over(missing: str) -> None:
    found = lease()
    del found["spec"][missing]
    assert judge(found, me(**STRANGER), ENDS + 10**6).action == "refuse"


def test_a_lease_made_by_hand_is_a_lock_under_the_name_that_it_shows() -> None:
    found = {"metadata": {}, "spec": {"holderIdentity": "alice", "renewTime": RENEWED, "leaseDurationSeconds": 900}}
    holder = read(found)
    assert holder is not None and holder.run == "alice"
    verdict = judge(found, me(), ENDS - 1)
    assert verdict.action == "refuse" and "cluster_lock_takeover=alice" in refusal(verdict, me())
    assert judge(found, me(takeover="alice"), ENDS - 1).action == "take_over"


def test_the_refusal_says_who_since_when_until_when_and_how_to_take_over() -> None:
    claim = me(**STRANGER)
    said = refusal(judge(lease(), claim, ENDS - 1), claim)
    for part in ("run r1", "'upgrade'", "bastion", "process 42", "since 2026-11-22T03:15:00Z"):
        assert part in said
    assert "until 2026-11-22T03:35:00Z" in said and "cluster_lock_takeover=r1" in said
    assert "dead (" not in said


def test_the_refusal_says_that_a_dead_run_did_something_else() -> None:
    claim = me("maintenance")
    said = refusal(judge(lease(), claim, ENDS - 1), claim)
    assert "its process 42 on bastion is gone" in said and "half done" in said and "cluster_lock_takeover=r1" in said


def test_the_refusal_says_that_another_run_was_to_be_taken_over() -> None:
    claim = me(takeover="r0", **STRANGER)
    assert "that of run r0" in refusal(judge(lease(), claim, ENDS - 1), claim)


def test_a_lease_keeps_the_fractions_of_a_second() -> None:
    written = {**lease()["spec"], "renewTime": _lock._micro(ENDS + 0.25)}
    holder = read({**lease(), "spec": written})
    assert holder is not None and holder.renewed == ENDS + 0.25 and holder.until == ENDS + 900.25
