# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Do all members hold the same data? Their hashes at one revision tell; nothing else does.

Members that were restored from different snapshots form a cluster that looks well in every other respect.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, EtcdError, Gateway, number

# A compaction reaches the members one after the other; while they differ in it, their hashes cannot be compared.
_TRIES = 5
_PAUSE = 0.5


class Hash(NamedTuple):
    """One member's hash of all data from ``compact_revision`` to the revision asked for, or why there is none."""

    value: int
    compact_revision: int
    error: Optional[str] = None


class Hashes(NamedTuple):
    """The hashes at one revision, by the member's decimal id."""

    revision: int
    found: dict[str, Hash]


def _ask(access: Access, revision: int, timeout: float) -> Hash:
    try:
        answer = Gateway(access, timeout).hash_at(revision)
    except EtcdError as error:
        if error.status == 404:
            return Hash(0, 0, "its etcd offers no hash at a revision (needs 3.5.10 or newer)")
        return Hash(0, 0, error.message.rstrip("."))
    except CareError as error:
        return Hash(0, 0, error.message.rstrip("."))
    return Hash(number(answer, "hash"), number(answer, "compact_revision"))


def _comparable(hashes: Hashes) -> bool:
    moved = any("mvcc: required revision" in (found.error or "") for found in hashes.found.values())
    compacted = {found.compact_revision for found in hashes.found.values() if not found.error}
    return not moved and len(compacted) < 2


def gather(access: Access, endpoints: dict[str, str], timeout: float) -> Hashes:
    """Ask every member for its hash at the highest revision that all of them have.

    :param endpoints: where to reach each member, by its decimal id.
    :param timeout: seconds that one member may take; it reads its whole database.
    """
    hashes = Hashes(0, {})
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(endpoints)))) as pool:
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE)
            reach = {one: access._replace(endpoint=url) for one, url in endpoints.items()}
            revisions = [found for found in pool.map(_revision, reach.values()) if found]
            revision = min(revisions, default=0)
            answers = pool.map(_ask, reach.values(), [revision] * len(reach), [timeout] * len(reach))
            hashes = Hashes(revision, dict(zip(reach, answers)))
            if _comparable(hashes):
                break
    return hashes


def _revision(access: Access) -> int:
    try:
        return number(Gateway(access).status().get("header") or {}, "revision")
    except CareError:
        return 0


def differing(hashes: Hashes) -> list[str]:
    """The ids of those that differ from the majority; of all when there is no majority."""
    values = {one: found.value for one, found in hashes.found.items() if not found.error}
    if len(set(values.values())) < 2:
        return []
    value, count = Counter(values.values()).most_common(1)[0]
    return [one for one in values if values[one] != value or count * 2 <= len(values)]


def hash_problems(hashes: Hashes, names: dict[str, str]) -> list[str]:
    """What is wrong, in words."""
    problems = [
        f"The data of member {names[one]} could not be compared: {found.error}."
        for one, found in hashes.found.items()
        if found.error
    ]
    if not _comparable(hashes):
        problems.append("The members' data could not be compared: they are just being compacted. Look again.")
        return problems
    odd = differing(hashes)
    if odd:
        said = ", ".join(f"{names[one]} {found.value}" for one, found in hashes.found.items() if not found.error)
        advice = "None has a majority: restore all from one snapshot."
        if len(odd) < len(hashes.found):
            advice = f"Replace what differs from the majority: {', '.join(names[one] for one in odd)}."
        problems.append(f"The members hold different data at revision {hashes.revision} (hashes: {said}). {advice}")
    return problems


def described(hashes: Hashes, names: dict[str, str]) -> dict[str, Any]:
    """The comparison as data."""
    return {
        "revision": hashes.revision,
        "agree": _comparable(hashes)
        and not differing(hashes)
        and bool(hashes.found)
        and not any(found.error for found in hashes.found.values()),
        "members": [
            {
                "name": names[one],
                "hash": None if found.error else found.value,
                "compact_revision": None if found.error else found.compact_revision,
                "error": found.error,
            }
            for one, found in hashes.found.items()
        ],
    }
