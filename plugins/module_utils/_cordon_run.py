# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Cordoning and uncordoning alone: one node or several."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import (
    Change,
    Cordon,
    get_node,
    lift_cordon,
    may_lift,
    read_cordon,
    set_cordon,
    wants_change,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_options import Options
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_result import as_text
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


def cordoned(api: Api, options: Options) -> dict[str, Any]:
    """State ``cordoned``: new pods stay away, whosever cordon it is."""

    def change(name: str, found: Cordon, deadline: Deadline) -> Change:
        if not wants_change(found, options.owner, options.run_given):
            return Change(found, found, False)
        if options.check:
            return Change(found, options.owner.cordon(), True)
        return set_cordon(api, name, options.owner, deadline, options.run_given)

    return _told(api, options, _each(api, options, change), [])


def uncordoned(api: Api, options: Options) -> dict[str, Any]:
    """State ``uncordoned``: ours only."""
    purpose, force = options.owner.purpose, options.force_uncordon

    def change(name: str, found: Cordon, deadline: Deadline) -> Change:
        if not may_lift(found, purpose, force):
            return Change(found, found, False)
        if options.check:
            return Change(found, Cordon(False), True)
        return lift_cordon(api, name, purpose, force, deadline)

    changes = _each(api, options, change)
    warnings = [
        f"Node {name} stays cordoned: it was cordoned {after}, not for '{purpose}' "
        "(option owner, or force_uncordon to lift it all the same)."
        for name, (_before, after, _changed) in changes.items()
        if after.cordoned
    ]
    return _told(api, options, changes, warnings)


def _each(api: Api, options: Options, change: Callable[[str, Cordon, Deadline], Change]) -> dict[str, Change]:
    """Look at all nodes before the first one is touched; what was done stays told when one fails."""
    deadline = Deadline(options.timeout, "timeout")
    found = {name: read_cordon(get_node(api, name, deadline)) for name in options.names}
    changes: dict[str, Change] = {}
    try:
        for name, cordon in found.items():
            changes[name] = change(name, cordon, deadline)
    except CareError as error:
        if options.single:
            raise
        told = _told(api, options, changes, [])
        told["changed"] = bool(told["changed"] or error.results.get("changed"))
        raise CareError(error.message, **{**error.results, **told}) from error
    return changes


def _told(api: Api, options: Options, changes: dict[str, Change], warnings: list[str]) -> dict[str, Any]:
    nodes: dict[str, dict[str, Any]] = {
        name: {
            "node": name,
            "changed": changed,
            "cordon": {"before": before.data(), "after": after.data()},
            "diff": {"before": as_text(name, before, ()), "after": as_text(name, after, ())},
        }
        for name, (before, after, changed) in changes.items()
    }
    shared = {"api_calls": api.calls, "warnings": warnings}
    if options.single:
        return {**next(iter(nodes.values())), **shared}
    diffs = [node.pop("diff") for node in nodes.values()]
    diff = {side: "".join(part[side] for part in diffs) for side in ("before", "after")}
    return {"changed": any(c.changed for c in changes.values()), "nodes": nodes, "diff": diff, **shared}
