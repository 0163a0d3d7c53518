# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a drain tells at its end, whether it went well or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import ANNOTATION, Cordon
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_node import NodeDrain
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_options import Options
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain_record import (
    WAITING,
    blocked,
    count_actions,
    skipped,
    why,
    would,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import CORDON_TAINT


def result(drains: Sequence[NodeDrain], options: Options, api: Api) -> dict[str, Any]:
    """One node's story, or those of several and their sum."""
    warnings = [warning for drain in drains for warning in (*drain.warnings, *drain.pods.warnings)]
    warnings.extend(drains[0].cluster.replicas.warnings)
    if options.grace_period == 0:
        warnings.append("Pods were given no time to end (option grace_period=0): what they had to save may be lost.")
    told = [_of_node(drain) for drain in drains]
    shared = {"api_calls": api.calls, "warnings": warnings}
    if options.single:
        return {**told[0], **shared}
    diff = [entry.pop("diff") for entry in told]
    counts: dict[str, int] = {}
    for entry in told:
        for action, count in entry["counts"].items():
            counts[action] = counts.get(action, 0) + count
    return {
        "changed": any(entry["changed"] for entry in told),
        "nodes": {entry["node"]: entry for entry in told},
        "counts": counts,
        "remaining": [pod for entry in told for pod in entry["remaining"]],
        "blocked_by": [budget for entry in told for budget in entry["blocked_by"]],
        "at_risk": [risk for entry in told for risk in entry["at_risk"]],
        "diff": {side: "".join(part[side] for part in diff) for side in ("before", "after")},
        **shared,
    }


def _of_node(drain: NodeDrain) -> dict[str, Any]:
    check = drain.options.check
    going = list(drain.pods.records.values())
    if check:
        for record in going:
            record.action = would(record)
    pods = [record.data() for record in going]
    pods.extend(skipped(pod, verdict).data() for pod, verdict in drain.pods.skipped.values())
    left = drain.pods.left
    before = drain.cordon.before
    planned = check and not drain.outcome
    after = drain.cordon.expected(drain.has_work) if planned else drain.cordon.after
    something_to_do = not before.same_hands(after) or any(record.state == WAITING for record in going)
    found = {
        "changed": bool((planned and something_to_do) or drain.changed),
        "node": drain.name,
        "outcome": drain.outcome or "would_drain",
        "cordon": {"before": before.data(), "after": after.data()},
        "pods": pods,
        "counts": count_actions(pods),
        "remaining": [] if planned else [f"{r.pod} ({why(r, drain.ready)})" for r in left],
        "blocked_by": blocked(drain.held_back()),
        "at_risk": sorted(
            ({"pod": str(r.pod), "risks": r.risks} for r in going if r.risks), key=lambda entry: str(entry["pod"])
        ),
        "plan": drain.plan or {},
        "timed_out": drain.timed_out,
        "volumes_attached": drain.attached,
        "seconds": drain.seconds,
        "diff": {
            "before": as_text(drain.name, before, [str(r.pod) for r in going]),
            "after": as_text(drain.name, after, [] if planned else [str(r.pod) for r in left]),
        },
    }
    if drain.pods.refused:
        found["refused"] = [{"pod": str(pod), "reason": verdict.reason} for pod, verdict in drain.pods.refused]
    return found


def failure(drains: Sequence[NodeDrain], options: Options, error: str) -> str:
    """The sentence of a drain that failed."""
    said = [error] if error else []
    said.extend(drain.error for drain in drains if drain.error)
    if error and any(drain.changed for drain in drains):
        said.extend(f"Left on {drain.name}: {drain.left_in_words()}" for drain in drains if drain.pods.left)
    said.extend(drain.aftermath for drain in drains if drain.aftermath)
    if not options.single:
        by_outcome = {
            "Drained": [drain.name for drain in drains if drain.outcome == "drained"],
            "Not begun": [drain.name for drain in drains if drain.outcome == "not_begun"],
        }
        said.extend(f"{words}: {', '.join(names)}" for words, names in by_outcome.items() if names)
    return " ".join(f"{sentence.rstrip('.')}." for sentence in said)


def as_text(name: str, cordon: Cordon, pods: Iterable[str]) -> str:
    """One side of a diff."""
    owner = f"{cordon.owner} (run {cordon.run})" if cordon.owner and cordon.run else cordon.owner or "-"
    lines = [f"node: {name}", f"unschedulable: {str(cordon.cordoned).lower()}"]
    if cordon.cordoned:
        lines.append(f"taint: {CORDON_TAINT['key']}:{CORDON_TAINT['effect']}")
    lines.append(f"{ANNOTATION}: {owner}")
    return "\n".join([*lines, *(f"pod: {pod}" for pod in sorted(pods))]) + "\n"
