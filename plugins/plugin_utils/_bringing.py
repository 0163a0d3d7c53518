# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Bringing a file of the host to the controller, in pieces, through the task's own connection and escalation."""

from __future__ import annotations

import time
from typing import Optional

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pieces import PIECE, Line, command, unpack
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import WholeFile

_TRIES = 4
display = Display()


class BringingAction(ActionBase):
    """An action that can bring files; memory stays small on both sides, and the SSH user can never read them."""

    def bring(self, source: str, size: int, file: WholeFile) -> None:
        """Write ``source``, which has ``size`` bytes on the host, into ``file``; the caller proves what has come."""
        line = Line()
        while file.size < size:
            length = min(PIECE, size - file.size)
            began = time.monotonic()
            file.write(self._piece(source, file.size, length, line.packed))
            line.took(time.monotonic() - began)
            display.vv(f"{self._task.get_name()}: {file.size >> 20} of {size >> 20} MiB", host=self._task_host())
        file.sync()

    def _piece(self, source: str, offset: int, length: int, packed: bool) -> bytes:
        """One piece of the file, tried again when the connection or the piece was broken."""
        why = ""
        # Data on stdin keeps ssh from making a terminal, where stderr would mix with the data.
        data = b"\n" if self._connection.is_pipelining_enabled() else None
        for attempt in range(_TRIES):
            if attempt:
                display.warning(f"{self._task.get_name()}: {why} Trying again.")
                time.sleep(2**attempt)
            try:
                answer = self._low_level_execute_command(command(source, offset, length, packed), in_data=data)
                return unpack(answer["stdout"], length, packed)
            except AnsibleConnectionFailure as error:
                why = f"The connection broke at byte {offset} of {source}: {error}."
            except ValueError as error:
                said = answer["stderr"].strip() or f"exit code {answer['rc']}"
                why = f"The piece at byte {offset} of {source} did not arrive whole: {error} ({said})."
        raise CareError(f"{why} Gave up after {_TRIES} tries; run this again when the connection is steady.")

    def _task_host(self) -> Optional[str]:
        return getattr(self._play_context, "remote_addr", None)
