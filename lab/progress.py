# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell a waiting person what is being done, and how long each step took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

Progress = Callable[[str], None]


def printer() -> Progress:
    """Lines with the seconds since the start."""
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {text}", file=sys.stderr, flush=True)

    return say


@contextlib.contextmanager
def step(progress: Progress, what: str) -> Iterator[None]:
    """Say that something begins, and when it is done."""
    begin = time.monotonic()
    progress(f"{what} ...")
    yield
    progress(f"{what}: {time.monotonic() - begin:.1f} s")
