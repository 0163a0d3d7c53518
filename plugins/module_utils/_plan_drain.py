# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Who would hold up the drain of a node, told before anything is touched."""

from __future__ import annotations

from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import View


def obstacles(view: View, name: str) -> list[dict[str, Any]]:
    """Budgets that allow nothing now, pods with two budgets, pods that would be lost."""
    node = view.node_name(name)
    pods = [pod for pod in view.cluster.pods if pod.get("spec", {}).get("nodeName") == node and _would_go(pod)]
    found: list[dict[str, Any]] = []
    held: dict[str, tuple[dict[str, Any], list[str]]] = {}
    bare: list[str] = []
    local: list[str] = []
    for pod in pods:
        here = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        budgets = [budget for budget in view.cluster.budgets if _matches(budget, pod)]
        names = [f"{b['metadata']['namespace']}/{b['metadata']['name']}" for b in budgets]
        if len(budgets) > 1:
            sentence = (
                f"{here} is under {len(budgets)} budgets ({', '.join(names)}): it can never be evicted, keep one."
            )
            found.append(_obstacle(view, name, "budgets", names[0], [here], sentence))
        elif budgets and int((budgets[0].get("status") or {}).get("disruptionsAllowed") or 0) == 0:
            held.setdefault(names[0], (budgets[0], []))[1].append(here)
        if not pod["metadata"].get("ownerReferences"):
            bare.append(here)
        if any("emptyDir" in volume for volume in pod["spec"].get("volumes") or []):
            local.append(here)
    for budget_name, (budget, names) in held.items():
        status = budget.get("status") or {}
        sentence = (
            f"budget {budget_name} allows no eviction now (needs {status.get('desiredHealthy', '?')} healthy, has "
            f"{status.get('currentHealthy', '?')}): {', '.join(names)}."
        )
        found.append(_obstacle(view, name, "budget", budget_name, names, sentence))
    if bare and view.request.drain_unmanaged == "fail":
        sentence = (
            f"nothing would make these pods again, so the drain stops (upgrade_drain_unmanaged): {', '.join(bare)}."
        )
        found.append(_obstacle(view, name, "unmanaged", None, bare, sentence))
    if local and view.request.drain_emptydir == "fail":
        sentence = f"these pods have an emptyDir, so the drain stops (upgrade_drain_emptydir): {', '.join(local)}."
        found.append(_obstacle(view, name, "emptydir", None, local, sentence))
    return found


def _obstacle(view: View, name: str, kind: str, budget: Any, pods: list[str], sentence: str) -> dict[str, Any]:
    return {
        "host": name,
        "node": view.node_name(name),
        "kind": kind,
        "budget": budget,
        "pods": pods,
        "message": f"{name}: {sentence}",
    }


def _would_go(pod: dict[str, Any]) -> bool:
    meta = pod["metadata"]
    if "kubernetes.io/config.mirror" in (meta.get("annotations") or {}):
        return False
    if any(owner.get("kind") == "DaemonSet" for owner in meta.get("ownerReferences") or []):
        return False
    return not meta.get("deletionTimestamp") and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _matches(budget: dict[str, Any], pod: dict[str, Any]) -> bool:
    if budget["metadata"]["namespace"] != pod["metadata"]["namespace"]:
        return False
    selector = (budget.get("spec") or {}).get("selector")
    if selector is None:
        return False
    labels = pod["metadata"].get("labels") or {}
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items())
