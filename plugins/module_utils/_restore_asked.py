# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What the user asks of a restore, and how old something is, in words."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

# What the phase ``look`` saw, by host.
Looks = dict[str, dict[str, Any]]


class Asked(NamedTuple):
    """What the user says beside the snapshot."""

    confirm: str = ""
    max_age: Optional[int] = None
    foreign: bool = False
    allow_version_change: bool = False
    allow_encryption_change: bool = False
    again: bool = False
    rollback: bool = False
    take_over: bool = False
    mode: str = "all_members"
    seed: str = ""
    source: str = ""
    without: tuple[str, ...] = ()


def seed_of(looks: Looks, asked: Asked) -> Optional[str]:
    """The host that is restored alone, which the others join; None where all are restored."""
    return (asked.seed or min(looks)) if asked.mode == "seed_and_join" else None


def words_of_age(seconds: float) -> str:
    """``3 h 20 min``: how old something is, for people."""
    minutes = int(max(0.0, seconds)) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
