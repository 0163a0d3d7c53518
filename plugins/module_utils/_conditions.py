# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The conditions in the status of a node or a pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def condition(found: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of that type, empty without one; a node's Ready is ``Unknown`` when its kubelet is silent."""
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), {})


def is_ready(found: Mapping[str, Any]) -> bool:
    """Whether a node's kubelet says that it is well, or a pod's containers are."""
    return condition(found, "Ready").get("status") == "True"
