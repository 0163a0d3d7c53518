# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Kubernetes versions as people and packages write them."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

_WRITTEN = re.compile(r"^v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-+~].*)?$")


class Version(NamedTuple):
    """1.35.4 as numbers; compares as versions do. ``patch`` is -1 when only a minor was given."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch >= 0 else "")

    @property
    def series(self) -> tuple[int, int]:
        """Major and minor: what repositories and skew rules are about."""
        return (self.major, self.minor)


def parse(written: str) -> Version:
    """Read ``1.35.4``, ``v1.35.4``, ``1.35``, ``1.35.4-1.1`` (package) or ``v1.35.4+vendor``.

    :raises CareError: for anything else.
    """
    found = _WRITTEN.match(written.strip())
    if not found:
        raise CareError(f"'{written}' is not a Kubernetes version; write it like 1.35.4, or 1.35 for its newest patch.")
    major, minor, patch = found.groups()
    return Version(int(major), int(minor), int(patch) if patch is not None else -1)


def parse_or_none(written: Optional[str]) -> Optional[Version]:
    """Like :func:`parse`, but None for what is missing or unreadable."""
    try:
        return parse(written) if written else None
    except CareError:
        return None
