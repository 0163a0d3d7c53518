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
        timeout = float(self._task.args.get("timeout") or 600)
        result.update(self._execute_module(task_vars=task_vars))
        if result.get("failed") or result.get("done_before") or self._task.check_mode:
            return result
        try:
            result["boot_id"]["after"] = self._another_boot(result["boot_id"]["before"], Deadline(timeout, "timeout"))
        except TimedOut as error:
            result.update(error.results)
            result.update(failed=True, msg=f"{error.message} It is looked at again when this is run again.")
        result["seconds"] = round(time.monotonic() - began, 1)
        return result

    def _another_boot(self, before: str, deadline: Deadline) -> str:
        found = ""

        def look() -> Optional[str]:
            nonlocal found
            # A kept connection would hang for minutes: nobody says goodbye when the power goes.
            with contextlib.suppress(AnsibleError, OSError):
                self._connection.reset()
            try:
                answer = self._low_level_execute_command(_BOOT_ID)
            except AnsibleConnectionFailure as error:
                return f"no answer ({str(error).strip().splitlines()[-1] if str(error).strip() else 'nothing said'})"
            found = str(answer["stdout"]).strip()
            if answer["rc"] != 0 or len(found) != len(before):
                return f"an answer without a boot id ({(answer['stderr'] or found).strip()[-200:]})"
            return "it still runs the boot from before" if found == before else None

        wait_until(look, deadline, "Waiting for the host to answer from its new boot", interval=2)
        return found
