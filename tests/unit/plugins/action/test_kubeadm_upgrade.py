# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A connection that is lost in the middle of a long step is made again, for as long as the task says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.clustercare.kubeadm.plugins.action import kubeadm_upgrade as action

DONE = {"changed": True, "rc": 0}
ARGS = {"step": "node", "run_id": "run-1"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the task on a host whose connection breaks so many times, each try taking ten seconds."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr(ActionBase, "run", lambda *_args: {})

    def do(breaks: int, reconnect_timeout: Any = None, answer: Any = None) -> tuple[dict[str, Any], int]:
        tries = [0]

        def execute(task_vars: Any = None) -> dict[str, Any]:
            tries[0] += 1
            clock[0] += 10
            if tries[0] <= breaks:
                raise AnsibleConnectionFailure("Connection timed out")
            return dict(answer or DONE)

        plugin = object.__new__(action.ActionModule)
        plugin._task = SimpleNamespace(args=dict(ARGS, reconnect_timeout=reconnect_timeout), get_name=lambda: "Upgrade")
        plugin._execute_module = execute
        return plugin.run(), tries[0]

    return do


def test_a_lost_connection_is_made_again_and_the_result_taken(run: Any) -> None:
    assert run(breaks=3, reconnect_timeout="300") == ({**DONE, "reconnected": True}, 4)
    assert run(breaks=0, reconnect_timeout="300") == (DONE, 1)


@pytest.mark.parametrize(("by", "changed"), [("run-1", True), ("run-0", False)])
def test_what_the_lost_module_did_meanwhile_counts_as_changed(run: Any, by: str, changed: bool) -> None:
    nothing_left = {"changed": False, "record": {"steps": {"kubeadm": {"run": by}}}}
    result, _tries = run(breaks=1, reconnect_timeout=300, answer=nothing_left)
    assert result["changed"] is changed


def test_without_the_option_the_host_is_unreachable_at_once(run: Any) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        run(breaks=1)


def test_a_host_that_stays_away_fails_in_words(run: Any) -> None:
    result, tries = run(breaks=99, reconnect_timeout=60)
    assert result["failed"] and 4 <= tries <= 7
    for words in ("60 s (option reconnect_timeout)", "Connection timed out", "same command takes its result"):
        assert words in result["msg"]
