# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Waiting with a deadline, a reason and a name."""

from __future__ import annotations

import time
from typing import Callable, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import TimedOut


class Deadline:
    """A point on the monotonic clock.

    :param seconds: how long from now.
    :param option: the option that a person would change to wait longer; named in the message.
    """

    def __init__(self, seconds: float, option: str) -> None:
        self.seconds = seconds
        self.option = option
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.left == 0.0

    def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the deadline."""
        time.sleep(min(seconds, self.left))


def wait_until(
    look: Callable[[], Optional[str]],
    deadline: Deadline,
    awaited: str,
    passes: int = 1,
    interval: float = 1.0,
) -> None:
    """Look until nothing is missing, ``passes`` times in a row.

    :param look: returns None when all is well, else what is missing, in words.
    :param awaited: what is waited for, in words.
    :raises TimedOut: naming ``awaited``, what was missing last and the option to change.
    """
    in_a_row = 0
    while True:
        missing = look()
        in_a_row = in_a_row + 1 if missing is None else 0
        if in_a_row >= passes:
            return
        if deadline.passed:
            seen = missing or f"well only {in_a_row} of {passes} times in a row"
            raise TimedOut(
                f"{awaited}: not so after {deadline.seconds:g} s (option {deadline.option}); seen last: {seen}.",
                timed_out=True,
                missing=seen,
            )
        deadline.sleep(interval)
