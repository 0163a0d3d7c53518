# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Where pods could go: nodes that take them, and whether their requests fit there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._conditions import is_ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import CORDON_TAINT, Pod, tolerates
from ansible_collections.clustercare.kubeadm.plugins.module_utils._selector import holds

_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([a-zA-Z]*))")
_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_ROUNDING = 1e-9


def places(pod: Pod, nodes: Iterable[Mapping[str, Any]], without: str | Collection[str]) -> list[str]:
    """The nodes on which the scheduler could put a pod of this kind, as far as taints and selectors tell.

    :param without: the node or nodes that are emptied.
    """
    away = {without} if isinstance(without, str) else set(without)
    return [n["metadata"]["name"] for n in nodes if n["metadata"]["name"] not in away and _takes(n, pod.spec)]


def _takes(node: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    node_spec = node.get("spec") or {}
    if not is_ready(node):
        return False
    taints = list(node_spec.get("taints") or [])
    if node_spec.get("unschedulable"):
        taints.append(CORDON_TAINT)
    if not all(t.get("effect") == "PreferNoSchedule" or tolerates(spec, t) for t in taints):
        return False
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    return terms is None or any(_term_holds(term, node["metadata"]["name"], labels) for term in terms)


def _term_holds(term: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    return all(holds(e, labels) for e in expressions) and all(holds(f, {"metadata.name": name}) for f in fields)


# --- capacity ---------------------------------------------------------------------------------------------------


def quantity(written: Any) -> float:
    """A number as the API writes it: ``250m``, ``1.5Gi``, ``2e3``; 0 for what is none."""
    found = _QUANTITY.fullmatch(str(written))
    if not found:
        return 0.0
    number, exponent, suffix = found.groups()
    return float(number + exponent) if exponent else float(number) * _SUFFIXES.get(suffix, 0.0)


def requests(spec: Mapping[str, Any]) -> dict[str, float]:
    """What the scheduler keeps free for a pod: containers and sidecars together, or the largest init container."""
    running: dict[str, float] = {"pods": 1.0}
    peak: dict[str, float] = {}
    for container in spec.get("containers") or []:
        _add(running, _asked(container))
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            _add(running, _asked(container))
        else:
            for name, amount in _asked(container).items():
                peak[name] = max(peak.get(name, 0.0), amount)
    total = {name: max(running.get(name, 0.0), peak.get(name, 0.0)) for name in {*running, *peak}}
    _add(total, {name: quantity(amount) for name, amount in (spec.get("overhead") or {}).items()})
    return total


def _asked(container: Mapping[str, Any]) -> dict[str, float]:
    asked = (container.get("resources") or {}).get("requests") or {}
    return {name: quantity(amount) for name, amount in asked.items()}


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0.0) + amount


def without_place(
    leaving: Sequence[Pod], everything: Iterable[Pod], nodes: Sequence[Mapping[str, Any]], emptied: Collection[str]
) -> list[dict[str, str]]:
    """The pods that would find no place, and why, by taints, selectors and requests; the largest are placed first.

    :param everything: all pods of the cluster.
    :param emptied: the nodes that will take nobody.
    """
    free = {n["metadata"]["name"]: _allocatable(n) for n in nodes}
    for pod in everything:
        if pod.node in free and not pod.finished:
            _add(free[pod.node], {name: -amount for name, amount in requests(pod.spec).items()})
    lost = []
    needs = {pod.uid: requests(pod.spec) for pod in leaving}
    for pod in sorted(leaving, key=lambda p: (-needs[p.uid].get("cpu", 0.0), -needs[p.uid].get("memory", 0.0), str(p))):
        if pod.controller is None or pod.of_daemonset:
            continue  # nobody would make another one, or none elsewhere
        candidates = places(pod, nodes, emptied)
        place = next((name for name in candidates if not _short(needs[pod.uid], free[name])), None)
        if place is not None:
            _add(free[place], {name: -amount for name, amount in needs[pod.uid].items()})
        elif not candidates:
            lost.append({"pod": str(pod), "reason": "no other node takes it (taints, selectors, Ready)"})
        else:
            short = sorted({name for node in candidates for name in _short(needs[pod.uid], free[node])})
            reason = f"too little {' and '.join(short)} free on {', '.join(candidates)}"
            lost.append({"pod": str(pod), "reason": reason})
    return lost


def _allocatable(node: Mapping[str, Any]) -> dict[str, float]:
    status = node.get("status") or {}
    return {name: quantity(amount) for name, amount in (status.get("allocatable") or {}).items()}


def _short(needed: Mapping[str, float], free: Mapping[str, float]) -> list[str]:
    return [name for name, amount in needed.items() if amount > 0 and amount > free.get(name, 0.0) + _ROUNDING]
