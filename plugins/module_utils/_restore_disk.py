# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What the data directory of a member that does not answer still has, and whether its database has all of its log."""

from __future__ import annotations

import os
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import BoltFile, BrokenFile
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import database
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_inside import inspect
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_wal import read_log

_EMPTY = 1  # the revision with which a database begins


def data_on_disk(data_dir: str) -> Optional[dict[str, Any]]:
    """What lies in the data directory of a member that does not answer; None when there is no database.

    Only its outline is read; that every page is good is proven when it is taken.
    """
    path = database(data_dir)
    if not os.path.exists(path):
        return None
    try:
        with BoltFile(path) as file:
            inside = inspect(file)
    except (OSError, BrokenFile, ValueError) as error:
        return {"problem": str(getattr(error, "message", error))}
    log = read_log(os.path.join(data_dir, "member", "wal"))
    if inside["revision"] <= _EMPTY and (log is None or log.commit <= inside["consistent_index"]):
        # A member that lost its data, and was started with the settings of a new cluster.
        return {"problem": "no key was ever written to its database"}
    return {
        "problem": None,
        "revision": inside["revision"],
        "raft_index": inside["consistent_index"],
        "committed": log.commit if log else None,
        "raft_term": log.term if log else 0,
        "cluster_id": log.cluster_id if log else None,
        "members": [{name: one[name] for name in ("id_hex", "name", "peer_urls")} for one in inside["members"]],
    }


def behind(data_dir: str) -> Optional[str]:
    """What of its log a member's database has not yet; None when it has all that is known to be committed."""
    disk = data_on_disk(data_dir) or {"problem": f"there is no database in {data_dir}"}
    if disk["problem"]:
        return str(disk["problem"])
    missing = (disk["committed"] or 0) - disk["raft_index"]
    return f"its log goes {missing} entries further than its database" if missing > 0 else None
