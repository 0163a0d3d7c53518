# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An upgrade of the packages that takes its own connection away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.clustercare.kubeadm.plugins.action import os_packages as action

NOTHING_LEFT = {"changed": False, "packages": []}


@pytest.mark.parametrize(
    ("state", "check_mode", "breaks", "changed"),
    [
        pytest.param("upgraded", False, 1, True, id="the lost one may have upgraded"),
        pytest.param("upgraded", False, 0, False, id="nothing was lost"),
        pytest.param("available", False, 1, False, id="only looked"),
        pytest.param("upgraded", True, 1, False, id="check mode"),
    ],
)
def test_the_connection_is_made_again(
    monkeypatch: pytest.MonkeyPatch, state: str, check_mode: bool, breaks: int, changed: bool
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(ActionBase, "run", lambda *_args: {})
    answers: list[Any] = [AnsibleConnectionFailure("Connection reset")] * breaks + [dict(NOTHING_LEFT)]

    def execute(task_vars: Any = None) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    plugin = object.__new__(action.ActionModule)
    plugin._task = SimpleNamespace(
        args={"state": state, "reconnect_timeout": 60}, check_mode=check_mode, get_name=lambda: "Upgrade the packages"
    )
    plugin._execute_module = execute
    result = plugin.run()
    assert not answers and result["changed"] is changed and bool(result.get("reconnected")) == bool(breaks)
