# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half: waiting for a host that goes away and comes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.clustercare.kubeadm.plugins.action import node_reboot as action

BEFORE = "2f6f8a0e-6a40-4c8e-8d5b-3a1d6f0d4c11"
AFTER = "9a1f6c3d-1c2b-4f8a-8e55-6f0a7b9c2d31"


def play(answers: list[Any], told: Any, timeout: Any = 5, check_mode: bool = False) -> dict[str, Any]:
    """Run the action against a host that gives these answers, the last one for ever.

    :param told: the answer of its module, or a list of them, one for each time that it is run.
    """
    module = object.__new__(action.ActionModule)
    module._task = SimpleNamespace(check_mode=check_mode, args={"timeout": timeout}, async_val=False)
    resets: list[int] = []

    def reset() -> None:
        resets.append(1)
        raise AnsibleConnectionFailure("nothing to reset")

    def execute(_command: str) -> dict[str, Any]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"rc": 0 if answer else 1, "stdout": f"{answer}\n", "stderr": "sudo: it is not there"}

    module._connection = SimpleNamespace(reset=reset)
    module._low_level_execute_command = execute

    def run_module(task_vars: Any) -> dict[str, Any]:
        answer = told if isinstance(told, dict) else told.pop(0) if len(told) > 1 else told[0]
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found

    module._execute_module = run_module
    result: dict[str, Any] = module.run(task_vars={})
    assert not result.get("seconds") or resets, "a kept connection is not waited for"
    return result


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def asked() -> dict[str, Any]:
    return {"changed": True, "done_before": False, "boot_id": {"before": BEFORE, "after": None}}


def test_it_waits_for_another_boot() -> None:
    away = AnsibleConnectionFailure("Connection refused")
    result = play([BEFORE, away, away, "", "not a boot id", AFTER], asked())
    assert not result.get("failed") and result["changed"] and result["boot_id"] == {"before": BEFORE, "after": AFTER}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (BEFORE, "it still runs the boot from before"),
        (AnsibleConnectionFailure("ssh: it is away"), "no answer (ssh: it is away)"),
        ("", "an answer without a boot id (sudo: it is not there)"),
    ],
)
def test_a_host_that_does_not_come_back_is_told_with_what_was_seen_last(answer: Any, said: str) -> None:
    result = play([answer], asked(), timeout=0.05)
    assert result["failed"] and result["changed"] and said in result["msg"] and "option timeout" in result["msg"]


def test_a_reboot_that_was_made_is_not_waited_for() -> None:
    told = {"changed": False, "done_before": True, "boot_id": {"before": BEFORE, "after": AFTER}}
    assert play([AssertionError("asked")], told) == told


def test_a_failed_start_and_check_mode_wait_for_nothing() -> None:
    assert play([AssertionError("asked")], {"failed": True, "msg": "no"})["failed"]
    assert play([AssertionError("asked")], asked(), check_mode=True)["boot_id"]["after"] is None


def test_a_host_that_went_down_before_it_answered_is_asked_again() -> None:
    away = AnsibleConnectionFailure("Connection closed")
    told = {"changed": False, "done_before": True, "boot_id": {"before": BEFORE, "after": AFTER}}
    result = play([AssertionError("asked")], [away, away, told])
    assert not result.get("failed") and result["changed"] and result["boot_id"]["after"] == AFTER
    # It had not begun yet.
    result = play([BEFORE, AFTER], [away, asked()])
    assert not result.get("failed") and result["changed"] and result["boot_id"]["after"] == AFTER


def test_a_host_that_is_lost_fails_so_that_the_others_can_be_told() -> None:
    result = play([AssertionError("asked")], [AnsibleConnectionFailure("ssh: it is away")], timeout=0.05)
    assert result["failed"] and "no answer (ssh: it is away)" in result["msg"] and "option timeout" in result["msg"]


def test_what_is_wrong_with_the_timeout_is_said_by_the_module() -> None:
    result = play([AssertionError("asked")], {"failed": True, "msg": "argument 'timeout' is no float"}, timeout="soon")
    assert result["failed"] and "is no float" in result["msg"]
