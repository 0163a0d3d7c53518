# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The plan in words, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Finding

_WIDTH = 100


def render(plan: dict[str, Any], findings: list[Finding]) -> str:
    """Refusals first, then warnings, the order of work, and who would hold up a drain."""
    refused = [finding for finding in findings if finding.refuse]
    warned = [finding for finding in findings if not finding.refuse]
    if plan["nothing_to_do"]:
        lines = [f"Nothing to do: all {len(plan['hosts'])} nodes of {_cluster(plan)} run Kubernetes {plan['target']}."]
        return "\n".join(lines + list(_section("Warnings:", warned))) + "\n"
    lines = [f"Upgrade of {_cluster(plan)} to Kubernetes {plan['target'] or plan['asked']}."]
    lines += _section("REFUSED, and nothing is changed:", refused)
    lines += _section("Warnings:", warned)
    if any(not host["done"] for host in plan["hosts"].values()):
        lines += ["", "Order:" if not refused else "Order, once that is mended:", *_table(plan)]
    if plan["blockers"]:
        lines += ["", "A drain would wait or stop here:"]
        for blocker in plan["blockers"]:
            lines += _wrapped(blocker["message"])
    return "\n".join(lines) + "\n"


def _cluster(plan: dict[str, Any]) -> str:
    cluster = plan["cluster"]
    uid = f" (kube-system {cluster['uid']})" if cluster["uid"] else ""
    return f"cluster {cluster['name']}{uid}"


def _section(title: str, findings: list[Finding]) -> Iterator[str]:
    """One paragraph a sentence; hosts of which the same is said share it."""
    if not findings:
        return
    yield ""
    yield title
    hosts: dict[str, list[str]] = {}
    for finding in findings:
        hosts.setdefault(finding.sentence if finding.host else finding.message, []).append(finding.host)
    for sentence, names in hosts.items():
        who = ", ".join(name for name in names if name)
        yield from _wrapped(f"{who}: {sentence}" if who else sentence)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="  - ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _table(plan: dict[str, Any]) -> Iterator[str]:
    """One line a host, never wrapped: a table is read down its columns."""
    rows = [("", "host", "kubelet", "control plane", "steps")]
    for place, name in _in_order(plan):
        host = plan["hosts"][name]
        before = host["from"]
        rows.append(
            (
                place,
                name if host["node"] in (name, None) else f"{name} ({host['node']})",
                _change(before["kubelet"], host["to"]),
                _change(before["api_server"], host["to"]) if host["role"] == "master" else "-",
                _steps(host),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths))).rstrip()


def _in_order(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    place = 0
    for name in plan["order"]["masters"]:
        place += 1
        yield str(place), name
    for batch in plan["order"]["workers"]:
        place += 1
        for name in batch:
            yield str(place), name
    for name, host in plan["hosts"].items():
        if host["done"]:
            yield "-", name


def _change(before: Any, after: str) -> str:
    return f"{before or '?'}" if before == after else f"{before or '?'} -> {after}"


def _steps(host: dict[str, Any]) -> str:
    needs = host["needs"]
    if host["done"]:
        return "done"
    kubeadm = {"apply": "kubeadm apply", "node": "kubeadm node", "none": ""}[needs["kubeadm"]]
    named: Iterable[tuple[Any, str]] = (
        (needs["packages"], "packages"),
        (needs["images"], "images"),
        (kubeadm, kubeadm),
        (needs["drain"], "drain"),
        (needs["kubelet"], "kubelet"),
        (needs["uncordon"], "uncordon"),
    )
    return ", ".join(word for needed, word in named if needed)
