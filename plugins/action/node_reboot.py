# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of node_reboot: runs the module, then waits until the host answers from another boot."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Optional

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


class ActionModule(ActionBase):
    """The reboot itself is the host's own; here is only the waiting."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        began = time.monotonic()
        deadline = Deadline(self._timeout(), "timeout")
        try:
            result.update(self._ask(task_vars, deadline))
            if result.get("failed") or result.get("done_before") or self._task.check_mode:
                return result
            result["boot_id"]["after"] = self._another_boot(result["boot_id"]["before"], deadline)
        except TimedOut as error:
            result.update(error.results)
            result.update(failed=True, msg=f"{error.message} It is looked at again when this is run again.")
        result["seconds"] = round(time.monotonic() - began, 1)
        return result

    def _timeout(self) -> float:
        wanted = self._task.args.get("timeout")
        try:
            return 600.0 if wanted is None else float(wanted)
        except (TypeError, ValueError):
            return 0.0  # the module says what is wrong with it

    def _ask(self, task_vars: Optional[dict[str, Any]], deadline: Deadline) -> dict[str, Any]:
        """The host's half. It may be asked twice: the host may go down before its answer has come."""
        answer: dict[str, Any] = {}
        lost = False

        def ask() -> Optional[str]:
            nonlocal answer, lost
            try:
                answer = self._execute_module(task_vars=task_vars)
            except AnsibleConnectionFailure as error:
                lost = True
                self._forget_connection()
                return _no_answer(error)
            return None

        wait_until(ask, deadline, "Waiting for the host to answer", interval=2)
        if lost and answer.get("done_before"):
            answer["changed"] = True
        return answer

    def _forget_connection(self) -> None:
        # A kept connection would hang for minutes: nobody says goodbye when the power goes.
        with contextlib.suppress(AnsibleError, OSError):
            self._connection.reset()

    def _another_boot(self, before: str, deadline: Deadline) -> str:
        found = ""

        def look() -> Optional[str]:
            nonlocal found
            self._forget_connection()
            try:
                answer = self._low_level_execute_command(_BOOT_ID)
            except AnsibleConnectionFailure as error:
                return _no_answer(error)
            found = str(answer["stdout"]).strip()
            if answer["rc"] != 0 or len(found) != len(before):
                return f"an answer without a boot id ({(answer['stderr'] or found).strip()[-200:]})"
            return "it still runs the boot from before" if found == before else None

        wait_until(look, deadline, "Waiting for the host to answer from its new boot", interval=2)
        return found


def _no_answer(error: AnsibleConnectionFailure) -> str:
    return f"no answer ({str(error).strip().splitlines()[-1] if str(error).strip() else 'nothing said'})"
