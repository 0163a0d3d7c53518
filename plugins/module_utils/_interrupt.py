# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Being told to stop in the middle, by Ctrl-C or by whoever ends processes, and still ending in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """This process was asked to stop. No Exception, so that nothing that outlives errors outlives this."""


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Turn the signals that end a process into one ``Interrupted``.

    Gives a function to call when the work is over and only ends are tied up: from then on signals are ignored,
    as they are after the first one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    # What is ignored (nohup) stays so.
    before = {number: signal.getsignal(number) for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN}

    def ignore() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(number: int, _frame: Any) -> None:
        ignore()
        raise Interrupted(signal.Signals(number).name)

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
