# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one error that the lab shows to a person."""

from __future__ import annotations


class LabError(Exception):
    """A whole sentence about what is missing or went wrong.

    :param message: what, where, why.
    :param remedy: the command (or the next step) that mends it, if there is one.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  Try: {self.remedy}" if self.remedy else self.message
