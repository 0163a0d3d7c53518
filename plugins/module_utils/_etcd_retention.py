# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Which snapshots to keep: the newest few, and the newest of each of the last hours, days and weeks."""

from __future__ import annotations

import datetime
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_shelf import (
    Snapshot,
    fits_sidecar,
    remove,
    shelf,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import existing


class Rule(NamedTuple):
    """How many of each to keep."""

    last: int
    hourly: int
    daily: int
    weekly: int


_PERIODS: list[tuple[str, Callable[[datetime.datetime], Any]]] = [
    ("hourly", lambda when: (when.date(), when.hour)),
    ("daily", lambda when: when.date()),
    ("weekly", lambda when: when.isocalendar()[:2]),
]


def reasons(snapshots: list[Snapshot], rule: Rule) -> dict[str, list[str]]:
    """Why each snapshot that is kept is kept, by path. Hours, days and weeks are those of UTC that have a snapshot.

    :param snapshots: the newest first.
    """
    why: dict[str, list[str]] = {}
    for snapshot in snapshots[: rule.last]:
        why.setdefault(snapshot.path, []).append("last")
    for period, period_of in _PERIODS:
        seen: set[Any] = set()
        for snapshot in snapshots:
            bucket = period_of(datetime.datetime.fromtimestamp(snapshot.taken, datetime.timezone.utc))
            if bucket in seen:
                continue
            if len(seen) == getattr(rule, period):
                break
            seen.add(bucket)
            why.setdefault(snapshot.path, []).append(period)
    return why


class Verdict(NamedTuple):
    """What becomes of the snapshots of one cluster."""

    keep: dict[str, list[str]]
    drop: list[Snapshot]
    damaged: list[Snapshot]


def judge_cluster(
    snapshots: list[Snapshot],
    rule: Rule,
    good: Callable[[Snapshot], bool],
    fits: Callable[[Snapshot], bool],
) -> Verdict:
    """Decide about the snapshots of one cluster, the newest first.

    The newest good one always stays. Those that turn out damaged count for nothing, and stay too: a person should look
    at them.

    :param good: proves a snapshot, which takes long; asked until one is good.
    :param fits: a quick look at each of the older ones.
    """
    damaged: list[Snapshot] = []
    newest: Optional[Snapshot] = None
    for snapshot in snapshots:
        if good(snapshot):
            newest = snapshot
            break
        damaged.append(snapshot)
    if newest is None:
        return Verdict({}, [], damaged)
    damaged += [snapshot for snapshot in snapshots[snapshots.index(newest) + 1 :] if not fits(snapshot)]
    sound = [snapshot for snapshot in snapshots if snapshot not in damaged]
    keep = reasons(sound, rule)
    keep.setdefault(newest.path, []).append("newest good one")
    return Verdict(keep, [snapshot for snapshot in sound if snapshot.path not in keep], damaged)


def _good(snapshot: Snapshot) -> bool:
    try:
        return existing(snapshot.path) is not None
    except CareError:
        return False


def prune(directory: str, rule: Rule, check_mode: bool) -> dict[str, Any]:
    """What the module etcd_snapshot does for state=pruned. The snapshots of each cluster are judged by themselves."""
    found = shelf(directory)
    clusters: dict[Any, list[Snapshot]] = {}
    for snapshot in found:
        if snapshot.ours:
            clusters.setdefault(snapshot.said.get("ca_sha256"), []).append(snapshot)
    kept: list[dict[str, Any]] = []
    damaged: list[str] = []
    drop: list[Snapshot] = []
    for snapshots in clusters.values():
        verdict = judge_cluster(snapshots, rule, _good, fits_sidecar)
        drop += verdict.drop
        damaged += [snapshot.name for snapshot in verdict.damaged]
        kept += [{"name": each.name, "why": verdict.keep[each.path]} for each in snapshots if each.path in verdict.keep]
    unreadable = [snapshot for snapshot in found if snapshot.problem]
    results: dict[str, Any] = {
        "kept": kept,
        "damaged": damaged + [snapshot.name for snapshot in unreadable],
        "others": [snapshot.name for snapshot in found if not snapshot.ours and not snapshot.problem],
        "warnings": [
            f"The snapshot {name} in {directory} is damaged, or not the one that its sidecar describes, and was left "
            "alone: look at it, then remove it (state=absent)."
            for name in damaged
        ]
        + [f"The snapshot {snapshot.name} was left alone: {snapshot.problem}" for snapshot in unreadable],
    }
    removed: list[str] = []
    try:
        for snapshot in drop:
            if not check_mode:
                remove(snapshot.path)
            removed.append(snapshot.name)
    except CareError as error:
        error.results.update(results, changed=bool(removed), removed=removed)
        raise
    return {"changed": bool(removed), "removed": removed, **results}
