# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Looking at this host's etcd once, or until all is well."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_discovery import NoEtcd, discover
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe, unseen
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

ACCESS_OPTIONS: dict[str, Any] = {
    "endpoint": {"type": "str"},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
}


def wanted_access(params: dict[str, Any]) -> Access:
    """The task's own words on how to reach etcd; what is missing is found out."""
    if bool(params["client_cert"]) != bool(params["client_key"]):
        raise CareError("The options client_cert and client_key belong together: give both or none.")
    return Access(params["endpoint"] or "", params["ca_cert"], params["client_cert"], params["client_key"])


def look(wanted: Access, hash_timeout: float = 0.0) -> dict[str, Any]:
    """The cluster as it is now. Trouble is part of the answer; only a host without etcd is a failure."""
    try:
        etcd = discover(wanted)
    except NoEtcd:
        raise
    except CareError as error:
        return {**unseen(error.message), "data_dir": None}
    seen = observe(etcd.access, hash_timeout=hash_timeout)
    return {**judge(seen, etcd.access.endpoint), "data_dir": etcd.data_dir or None}


def info(params: dict[str, Any]) -> dict[str, Any]:
    """What the module etcd_info does."""
    wanted = wanted_access(params)
    for option, asked in (("hash_timeout", params["hash_check"]), ("passes", params["wait"])):
        if asked and params[option] < 1:
            raise CareError(f"{option}={params[option]} would look at nothing; give 1 or more.")
    hash_timeout = params["hash_timeout"] if params["hash_check"] else 0
    if not params["wait"]:
        return {"etcd": look(wanted, hash_timeout)}
    last: dict[str, Any] = {}

    def missing(hashing: float) -> Optional[str]:
        last.update(look(wanted, hashing))
        return " ".join(last["problems"]).rstrip(".") or None

    deadline = Deadline(params["timeout"], "timeout")
    try:
        wait_until(lambda: missing(0), deadline, "Waiting until etcd is well", params["passes"], params["interval"])
        if hash_timeout:
            # Once at the end: every member reads its whole database for it.
            wait_until(lambda: missing(hash_timeout), deadline, "Waiting until etcd's members hold the same data")
    except TimedOut as error:
        error.results["etcd"] = last
        raise
    return {"etcd": last}
