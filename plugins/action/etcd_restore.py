# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of etcd_restore: brings the snapshot to the host, where only root can read it."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from typing import Any, Optional

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pieces import PIECE
from ansible_collections.clustercare.kubeadm.plugins.module_utils._record import DIRECTORY
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_state import FOLDER

_TRIES = 4
display = Display()


class ActionModule(ActionBase):
    """All steps are the module's; only the way of the file is here."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        # A master that joins the others fetches all from them.
        sends = arguments.get("phase") == "stage" and arguments.get("snapshot") and not self._task.check_mode
        if sends:
            try:
                # Read as fetch_to is, by which a salvaged snapshot has come to the controller.
                self._send(self._loader.path_dwim(str(arguments["snapshot"])), arguments["plan"])
            except CareError as error:
                self._forget(arguments["plan"])
                return {**result, "failed": True, "msg": error.message}
        result.update(self._execute_module(task_vars=task_vars))
        if sends and result.get("failed"):
            self._forget(arguments["plan"])
        return result

    @staticmethod
    def _home(plan: dict[str, Any]) -> str:
        return f"{DIRECTORY}/{FOLDER}/{plan['run']}"

    def _forget(self, plan: dict[str, Any]) -> None:
        """Take a snapshot from the host that nobody makes use of any more; its disk may be full."""
        home = shlex.quote(self._home(plan))
        with contextlib.suppress(AnsibleConnectionFailure):
            self._low_level_execute_command(f"rm -f {home}/snapshot.db; rmdir {home}")

    def _send(self, source: str, plan: dict[str, Any]) -> None:
        """Write the snapshot to its place on the host, piece by piece; the module proves what has come."""
        home = self._home(plan)
        target = f"{home}/snapshot.db"
        size = int(plan["snapshot"]["size"])
        quoted = shlex.quote(target)
        ready = f"umask 077 && mkdir -p {shlex.quote(home)} && stat -c %s {quoted} 2>/dev/null || true"
        if self._said(self._low_level_execute_command(ready)) == str(size):
            return  # Of an earlier try; the module proves it all the same.
        try:
            with open(source, "rb") as file:
                if os.fstat(file.fileno()).st_size != size:
                    raise CareError(f"{source} on the controller has changed since it was proven. Nothing was changed.")
                for offset in range(0, size, PIECE):
                    self._piece(target, offset, file.read(PIECE))
        except OSError as error:
            raise CareError(f"{source} on the controller cannot be read: {error.strerror}.") from error

    @staticmethod
    def _said(answer: dict[str, Any]) -> str:
        return str(answer.get("stdout", "")).strip()

    def _piece(self, target: str, offset: int, data: bytes) -> None:
        """One piece at its place in the file, tried again when the connection broke."""
        quoted = shlex.quote(target)
        write = (
            f"umask 077 && dd of={quoted} bs=1M seek={offset} oflag=seek_bytes iflag=fullblock conv=notrunc,fdatasync "
            f"status=none && stat -c %s {quoted}"
        )
        why = ""
        for attempt in range(_TRIES):
            if attempt:
                display.warning(f"etcd_restore: {why} Trying again.")
                time.sleep(2**attempt)
            try:
                answer = self._low_level_execute_command(write, in_data=data)
            except AnsibleConnectionFailure as error:
                why = f"The connection broke at byte {offset} of {target}: {error}."
                continue
            if answer["rc"] != 0:
                said = str(answer.get("stderr", "")).strip() or answer["rc"]
                raise CareError(f"{target} cannot be written ({said}); nothing was changed.")
            if int(self._said(answer) or 0) >= offset + len(data):
                return
            why = f"Only a part of {target} was written."
        raise CareError(f"{why} Gave up after {_TRIES} tries; nothing was changed.")
