# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of the modules that work on a host for long: a connection lost meanwhile is made again.

The modules may be run twice: what the lost one left running on the host is waited for, and its result taken.
"""

from __future__ import annotations

import time
from typing import Any, Optional

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

_PAUSE = 3.0
display = Display()


class ActionModule(ActionBase):
    """Runs the module of the task's own name; links beside this file give it to the other modules."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        patience = self._patience()
        answer, lost = self._attempt(task_vars)
        if lost and not patience:
            raise lost
        reconnected = bool(lost)
        began = time.monotonic()
        while lost and time.monotonic() - began < patience:
            display.warning(f"{self._task.get_name()}: the connection was lost and is made again. {lost}")
            time.sleep(_PAUSE)
            answer, lost = self._attempt(task_vars)
        if lost:
            answer = {
                "failed": True,
                "msg": f"The connection was lost in the middle of the step and did not come back within {patience:g} s "
                f"(option reconnect_timeout): {str(lost).strip().rstrip('.')}. What runs on the host goes on. When it "
                "can be reached again, the same command takes its result.",
            }
        result.update(answer)
        if reconnected:
            result["reconnected"] = True
            result["changed"] = bool(result.get("changed")) or self._done_meanwhile(answer)
        return result

    def _done_meanwhile(self, answer: dict[str, Any]) -> bool:
        """Whether the module that was cut off went on and did the step, so that the second one found nothing to do."""
        steps = (answer.get("record") or {}).get("steps") or {}
        step = steps.get("kubelet" if self._task.args.get("step") == "kubelet" else "kubeadm") or {}
        return bool(step) and step.get("run") == self._task.args.get("run_id")

    def _patience(self) -> float:
        try:
            return float(self._task.args.get("reconnect_timeout") or 0)
        except (TypeError, ValueError):
            return 0.0  # the module says what is wrong with it

    def _attempt(
        self, task_vars: Optional[dict[str, Any]]
    ) -> tuple[dict[str, Any], Optional[AnsibleConnectionFailure]]:
        try:
            return self._execute_module(task_vars=task_vars), None
        except AnsibleConnectionFailure as error:
            return {}, error
