# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kubernetes versions as the lab names them: 1.35.4."""

from __future__ import annotations

import re

from .errors import LabError


def parse(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"v?(1)\.(\d+)\.(\d+)", text)
    if not match:
        raise LabError(f"{text!r} is not an exact version of Kubernetes such as 1.35.4.")
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch)


def plain(text: str) -> str:
    """Without the v, and checked."""
    return ".".join(map(str, parse(text)))


def minor(text: str) -> str:
    """``1.35`` of ``1.35.4``."""
    return text.rpartition(".")[0]
