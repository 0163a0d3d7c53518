# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Times in UTC, as Kubernetes and this collection write them."""

from __future__ import annotations

import calendar
import time


def iso(seconds: float) -> str:
    """``2026-11-22T03:12:08Z`` for seconds since 1970."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def now() -> str:
    """This moment as people and machines read it."""
    return iso(time.time())


def epoch(written: str) -> float:
    """Seconds since 1970 of such a time; the fractions of a second that leases have are kept.

    :raises ValueError: it is none.
    """
    whole, _dot, fraction = written.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
