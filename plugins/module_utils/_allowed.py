# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Looking at what is good to know, but not needed: without the right to it, one goes on without."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api, Refused
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


def list_if_allowed(api: Api, path: str, deadline: Deadline) -> Optional[list[dict[str, Any]]]:
    """All objects of a collection, or None when they may not be listed.

    A server that starts up, and does not know its roles yet, is outlived.
    """
    try:
        return api.list(path, deadline)
    except Refused as error:
        if error.answer.status != 403:
            raise
        return None
