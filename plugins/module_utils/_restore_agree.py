# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Do all members hold the restored data, and the same? Without this proof a restore is undone."""

from __future__ import annotations

import contextlib
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, Gateway
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_data_dir import parse_cluster
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import (
    Seen,
    alarms_of,
    has_majority,
    hexadecimal,
    judge,
    observe,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_member import plain_url
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import ask_etcd

_TIMEOUT = 3.0
_HASHING = 60.0


def before(initial_cluster: str, name: str) -> Optional[str]:
    """The peer URL of the member that starts just before this one; None for the first.

    One after the other is faster than all at once: a member that begins asks all others for their data's hash first,
    and waits seven seconds for each that is itself beginning; one that is not there yet costs nothing.
    """
    members = sorted((member, urls[0]) for member, urls in parse_cluster(initial_cluster).items())
    names = [member for member, _url in members]
    place = names.index(name)
    return members[place - 1][1] if place else None


def peer_access(access: Access, flags: dict[str, str], url: str) -> Access:
    """How a member asks another one at its peer URL: it has a CA and a certificate of its own for that, maybe."""
    cert = flags.get("peer-cert-file")
    pair = (cert, flags.get("peer-key-file")) if cert else (access.cert, access.key)
    return Access(url, flags.get("peer-trusted-ca-file") or access.ca, *pair)


def serves_peers(access: Access) -> Optional[str]:
    """None when that member has begun to serve its peers."""
    # Certificates that cannot be read are only a container's own path, maybe; they cost patience, and no restore.
    return ask_etcd(access, "/version", 2380)


def disagreement(
    found: dict[str, Any], initial_cluster: str, revision: int, old_cluster: Optional[str]
) -> Optional[str]:
    """What is missing until the restored cluster is whole and of one mind; None when nothing is.

    :param found: the cluster as this host's member sees it, from ``_etcd_health.judge``.
    :param revision: what every member has at least.
    :param old_cluster: the id before the restore, which none may have any more.
    """
    if found["problems"]:
        return " ".join(found["problems"]).rstrip(".")
    wanted = parse_cluster(initial_cluster)
    made = {member["name"]: [plain_url(url) for url in member["peer_urls"]] for member in found["members"]}
    if made != wanted:
        return f"its members are {made}, not {wanted}"
    if old_cluster and found["cluster_id"] == old_cluster:
        return f"it still is the cluster {old_cluster} from before the restore"
    behind = [f"{member['name']} {member['revision']}" for member in found["members"] if member["revision"] < revision]
    if behind:
        return f"these are not at revision {revision} yet: {', '.join(behind)}"
    if found["hash"] is not None and not found["hash"]["agree"]:
        return "the members' hashes do not agree"
    return None


def stale_alarms(seen: Seen) -> list[dict[str, str]]:
    """Alarms that came with the snapshot, of members that are no more. While there is one, nothing can be written."""
    present = {hexadecimal(member.get("ID")) for member in seen.members}
    return [alarm for alarm in alarms_of(seen.local.status) if present and alarm["member"] not in present]


class Agreement:
    """Looks until all agree; the hashes are asked for last, since every member reads its whole database for them."""

    def __init__(self, access: Access, initial_cluster: str, revision: int, old_cluster: Optional[str]) -> None:
        self.access = access
        self.wanted = (initial_cluster, revision, old_cluster)
        self.found: dict[str, Any] = {}

    def missing(self) -> Optional[str]:
        for hashing in (0.0, _HASHING):
            seen = observe(self.access, _TIMEOUT, hashing)
            if has_majority(seen) and stale_alarms(seen):
                self.disarm(stale_alarms(seen))
                seen = observe(self.access, _TIMEOUT, hashing)
            self.found = judge(seen, self.access.endpoint)
            problem = disagreement(self.found, *self.wanted)
            if problem:
                return problem
        return None

    def disarm(self, alarms: list[dict[str, str]]) -> None:
        """Every member does this; one that is taken back already does no harm."""
        # What fails is in the alarms that are seen next.
        with contextlib.suppress(CareError):
            for alarm in alarms:
                Gateway(self.access, _TIMEOUT).disarm(str(int(alarm["member"], 16)), alarm["alarm"])

    def proof(self) -> dict[str, Any]:
        """What all agree on."""
        return {
            "cluster_id": self.found["cluster_id"],
            "leader": self.found["leader"],
            "revision": self.found["hash"]["revision"],
            "hashes": {member["name"]: member["hash"] for member in self.found["hash"]["members"]},
        }
