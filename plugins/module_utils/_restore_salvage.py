# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Whose data is the best when etcd has lost its majority: decided from what was seen on all masters."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Looks


class Candidate(NamedTuple):
    """A master whose data could become the cluster's."""

    host: str
    # Up to here its data goes. What is applied is committed, so of one cluster's members the highest has all that the
    # others have; the term only tells who saw the last election.
    raft_index: int
    term: int
    revision: int
    running: bool
    cluster_id: Optional[str]
    members: list[dict[str, Any]]

    @property
    def words(self) -> str:
        how = "answers" if self.running else "does not answer"
        return f"{self.host} (raft index {self.raft_index}, term {self.term}, revision {self.revision}, {how})"


def candidates(looks: Looks) -> list[Candidate]:
    """All masters that have data, the best first."""
    found = []
    for host, seen in looks.items():
        etcd, disk = seen["etcd"], seen.get("data")
        if etcd["answers"]:
            if not etcd["snapshot_refusal"]:
                index, revision = etcd["raft_applied_index"], etcd["revision"]
                term = etcd.get("raft_term") or 0
                found.append(Candidate(host, index, term, revision, True, etcd["cluster_id"], etcd["members"]))
        elif disk and not disk["problem"]:
            index = max(disk["raft_index"], disk["committed"] or 0)
            known = (disk["raft_term"], disk["revision"], False, disk["cluster_id"], disk["members"])
            found.append(Candidate(host, index, *known))
    # Of equal ones the one that answers: it can be asked at once.
    return sorted(found, key=lambda one: (-one.raft_index, -one.term, -one.revision, not one.running, one.host))


def unusable(looks: Looks) -> list[str]:
    """Why the others are none, in words."""
    found = []
    for host, seen in looks.items():
        etcd, disk = seen["etcd"], seen.get("data")
        if etcd["answers"]:
            why = etcd["snapshot_refusal"]
        elif disk is None:
            why = "it does not answer, and has no database on its disk"
        else:
            why = disk["problem"]
        if why:
            found.append(f"{host}: {str(why).rstrip('.')}.")
    return found


def choose(looks: Looks, named: str) -> tuple[Optional[Candidate], str, list[str]]:
    """The master whose data is taken, why in words, and what speaks against it.

    :param named: the host that the user wants it from; empty for the best.
    """
    found = candidates(looks)
    none = " ".join(unusable(looks))
    if not found:
        return None, "", [f"No master has data that could be salvaged. {none} Restore a snapshot with all_members."]
    if named:
        best = next((one for one in found if one.host == named), None)
        if best is None:
            known = ", ".join(one.host for one in found)
            return None, "", [f"etcd_restore_from={named} has no data that could be salvaged; {known} has. {none}"]
        return best, f"{best.words} was named", []
    clusters = {one.cluster_id for one in found}
    listed = ", ".join(f"{one.words} of cluster {one.cluster_id or 'unknown'}" for one in found)
    if len(clusters) > 1:
        against = (
            f"These masters have data of different etcd clusters, which cannot be compared: {listed}. A member that "
            "was started without its data may have made a new, empty cluster. Say whose data is the right one with "
            "-e etcd_restore_from=HOST."
        )
        return None, "", [against]
    others = ", ".join(one.words for one in found[1:])
    why = f"of those with data it has the newest; after it {others}" if others else "it is the only one with data"
    return found[0], f"{found[0].words}: {why}", []


def majority_with_silent(looks: Looks, best: Candidate) -> list[str]:
    """The silent members with which there would be a majority; empty when that is not enough."""
    named = {str(member["name"]) for member in best.members}
    own = [one for one in candidates(looks) if one.cluster_id == best.cluster_id]
    own = [one for one in own if looks[one.host]["member"] in named]
    silent = sorted(one.host for one in own if not one.running)
    return silent if silent and len(own) >= len(named) // 2 + 1 else []
