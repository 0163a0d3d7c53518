# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The one family of errors that modules turn into a failed task."""

from __future__ import annotations

from typing import Any


class CareError(Exception):
    """Something a person has to know: what, where, why, and what to do about it.

    :param message: a whole sentence, shown as the failed task's ``msg``.
    :param results: what was done and what is left; merged into the failed task's result.
        Set ``changed=True`` in it when something was changed before the failure.
    """

    def __init__(self, message: str, **results: Any) -> None:
        super().__init__(message)
        self.message = message
        self.results = results


class TimedOut(CareError):
    """A wait reached its deadline: says what was awaited, what was seen last, and the option to change."""
