# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The plan of an upgrade: a pure decision over the hosts' facts and the API's answers."""

from __future__ import annotations

from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_drain import obstacles
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_needs import Needs, decide
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_rules import (
    ANYWAY_RULES,
    IDENTITY_RULES,
    INVENTORY_RULES,
    PATH_RULES,
    STATE_RULES,
    VERSION_RULES,
    Rule,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_target import Target, resolve
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_text import render
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Cluster, Finding, Request, View


def make_plan(request: Request, cluster: Cluster) -> dict[str, Any]:
    """Decide what an upgrade would do, in which order, and what stands in its way."""
    view = View(request, cluster)
    batch = batch_size(request.max_unavailable, len(view.workers))
    findings = _ask(IDENTITY_RULES, view)
    if any(finding.refuse for finding in findings):
        # Nothing that another cluster says, or does not say, is worth a word.
        findings += _ask(ANYWAY_RULES, view)
        return _compose(view, None, {}, findings, [], batch)
    findings += _ask(INVENTORY_RULES, view)
    target = resolve(view)
    if target.version is None:
        return _compose(view, target, {}, findings + target.findings, [], batch)
    view.target = target.version
    off_the_path = _ask(PATH_RULES, view)
    if off_the_path:
        # What a version needs that cannot be next is of no use to anybody.
        return _compose(view, target, {}, findings + off_the_path, [], batch)
    findings += target.findings + _ask(VERSION_RULES, view)
    needs = decide(view)
    for rule in STATE_RULES:
        findings += rule(view, needs)
    blockers = [found for name, need in needs.items() if need.drain for found in obstacles(view, name)]
    return _compose(view, target, needs, findings, blockers, batch)


def batch_size(written: str, workers: int) -> int:
    """How many workers at once: a number, or a percentage of all workers rounded down; at least one.

    :raises CareError: for anything else.
    """
    text = str(written).strip()
    number = text[:-1].strip() if text.endswith("%") else text
    if not number.isdigit() or int(number) < 1:
        raise CareError(
            f"max_unavailable is '{written}'; it must be a number of workers from 1 on, or a percentage like 20%."
        )
    return max(1, workers * int(number) // 100) if text.endswith("%") else int(number)


def _ask(rules: tuple[Rule, ...], view: View) -> list[Finding]:
    return [finding for rule in rules for finding in rule(view)]


def _order(view: View, needs: dict[str, Needs], batch: int) -> dict[str, Any]:
    """The first master, then masters, then workers in batches; what an unfinished run left comes first."""

    def todo(names: list[str]) -> list[str]:
        return sorted((n for n in names if n in needs and not needs[n].done), key=lambda n: not needs[n].unfinished)

    first = view.masters[0] if view.masters else None
    masters = sorted(todo(view.masters), key=lambda name: name != first)
    workers = todo(view.workers)
    return {
        "first_master": first,
        "masters": masters,
        "workers": [workers[at : at + batch] for at in range(0, len(workers), batch)],
        "max_unavailable": batch,
    }


def _host(view: View, name: str, need: Needs, packages: dict[str, str]) -> dict[str, Any]:
    host = view.host(name)
    runtime = host.get("runtime") or {}

    def written(version: Any) -> Any:
        return str(version) if version else None

    return {
        "node": view.node_name(name),
        "role": "master" if view.is_master(name) else "worker",
        "from": {
            "api_server": written(view.api_server(name)) if view.is_master(name) else None,
            "controller_manager": written(view.static_pod(name, "kube-controller-manager")),
            "scheduler": written(view.static_pod(name, "kube-scheduler")),
            "etcd": (host.get("etcd") or {}).get("version"),
            "kubelet": written(view.kubelet(name)),
            "kubeadm": (host.get("kubeadm") or {}).get("installed"),
            "runtime": f"{runtime.get('name')} {runtime.get('version')}" if runtime.get("name") else None,
        },
        "to": str(view.target),
        "package_version": packages.get(name),
        "done": need.done,
        "unfinished": need.unfinished,
        "needs": need.steps(),
        "why": need.why,
    }


def _compose(
    view: View,
    target: Any,
    needs: dict[str, Needs],
    findings: list[Finding],
    blockers: list[dict[str, Any]],
    batch: int,
) -> dict[str, Any]:
    resolved: Target = target or Target(None, {}, [])
    packages = resolved.packages
    managers: dict[str, str] = {}
    for name, package in packages.items():
        managers.setdefault(str((view.host(name).get("packages") or {}).get("manager") or "none"), package)
    authority = next(
        (view.host(name).get("ca_sha256") for name in view.masters if view.host(name).get("ca_sha256")), None
    )
    refusals = [finding for finding in findings if finding.refuse]
    addresses = [view.api_address(name) for name in view.masters]
    plan: dict[str, Any] = {
        "target": str(resolved.version) if resolved.version else None,
        "asked": view.request.version,
        "package_version": managers,
        "package_versions": packages,
        "cluster": {
            "name": view.cluster_name,
            "uid": view.cluster.uid,
            "ca_sha256": authority,
            "version": view.cluster.version,
            "server": view.cluster.identity.server,
            "nodes": len(view.nodes),
        },
        "nothing_to_do": not refusals and bool(needs) and all(need.done for need in needs.values()),
        "refusals": [{"host": f.host, "rule": f.rule, "message": f.message} for f in refusals],
        "warnings": [finding.message for finding in findings if not finding.refuse],
        "order": _order(view, needs, batch),
        "api_servers": [address for address in addresses if address],
        "hosts": {name: _host(view, name, need, packages) for name, need in needs.items()},
        "blockers": blockers,
    }
    plan["text"] = render(plan, findings)
    return plan
