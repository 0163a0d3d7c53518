# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What an upgrade did: as data for machines, as Markdown and as a few lines on the screen for people."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

# The order in which phases happen; what a role adds later comes after them.
PHASES = (
    "packages",
    "images",
    "snapshot",
    "dns",
    "kubeadm",
    "etcd_gate",
    "control_plane_gate",
    "drain",
    "kubelet_package",
    "kubelet",
    "etcd_gate_after_kubelet",
    "node_gate",
    "uncordon",
)

_LONGEST = 3


def phases_of(hostvars: Mapping[str, Any], hosts: Iterable[str], prefix: str) -> dict[str, list[dict[str, Any]]]:
    """Turn each host's registered results (variables ``prefix`` + phase) into its list of phases, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for host in hosts:
        variables = hostvars.get(host) or {}
        phases = []
        for name in variables:
            if not str(name).startswith(prefix):
                continue
            result = variables[name]
            if isinstance(result, Mapping) and not result.get("skipped"):
                phases.append(_phase(str(name)[len(prefix) :], result))
        if phases:
            found[host] = sorted(phases, key=lambda phase: _place(phase["phase"]))
    return found


def _place(phase: str) -> tuple[int, str]:
    return (PHASES.index(phase) if phase in PHASES else len(PHASES), phase)


def _phase(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    failed = bool(result.get("failed") or result.get("unreachable"))
    details = {}
    if failed and result.get("msg"):
        details["message"] = str(result["msg"])
    for key in ("warnings", "timed_out", "missing", "blocked_by", "remaining", "counts", "downloaded", "rc"):
        if result.get(key):
            details[key] = result[key]
    return {
        "phase": name,
        "seconds": _seconds(result.get("elapsed", result.get("seconds"))),
        "changed": bool(result.get("changed")),
        "failed": failed,
        "details": details,
    }


def _seconds(value: Any) -> float:
    try:
        return round(float(value), 1)
    except (TypeError, ValueError):
        return 0.0


def build(
    plan: Mapping[str, Any],
    phases: Optional[Mapping[str, Sequence[Mapping[str, Any]]]] = None,
    run_id: str = "",
    started: str = "",
    finished: str = "",
    outcome: str = "",
    snapshot: Optional[Mapping[str, Any]] = None,
    failure: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """Put the plan and what became of it together.

    :param phases: per inventory name a list of ``{phase, seconds, changed, failed, details}``.
    :param outcome: derived from the rest when empty: refused, failed, nothing to do, upgraded.
    """
    phases = phases or {}
    failure = failure or None
    nodes = [_node(name, host, list(phases.get(name) or []), failure) for name, host in plan["hosts"].items()]
    totals: dict[str, float] = {}
    for node in nodes:
        for phase in node["phases"]:
            totals[phase["phase"]] = round(totals.get(phase["phase"], 0.0) + _seconds(phase.get("seconds")), 1)
    return {
        "schema": 1,
        "run": run_id,
        "cluster": dict(plan["cluster"]),
        "target": plan["target"] or plan.get("asked"),
        "outcome": outcome or _outcome(plan, failure),
        "failure": dict(failure) if failure else None,
        "started": started,
        "finished": finished,
        "seconds": _between(started, finished),
        "nodes": nodes,
        "phases": {name: totals[name] for name in sorted(totals, key=_place)},
        "snapshot": _snapshot(snapshot),
        "refusals": list(plan["refusals"]),
        "warnings": list(dict.fromkeys(plan["warnings"])),
    }


def _outcome(plan: Mapping[str, Any], failure: Optional[Mapping[str, Any]]) -> str:
    if plan["refusals"]:
        return "refused"
    if failure:
        return "failed"
    return "nothing to do" if plan["nothing_to_do"] else "upgraded"


def _node(
    name: str, host: Mapping[str, Any], phases: list[Mapping[str, Any]], failure: Optional[Mapping[str, Any]]
) -> dict[str, Any]:
    before = dict(host["from"])
    ended = {str(phase["phase"]) for phase in phases if not phase.get("failed")}
    failed = any(phase.get("failed") for phase in phases) or bool(failure and failure.get("host") == name)
    # These two phases end well only when the new process, or kubeadm's exit 0 and the static pods, are proven.
    after = dict(before)
    if "kubeadm" in ended and host["role"] == "master":
        after.update(dict.fromkeys(("api_server", "controller_manager", "scheduler"), host["to"]))
    if "kubelet" in ended:
        after["kubelet"] = host["to"]
    if "packages" in ended:
        after["kubeadm"] = host["to"]
    if failed:
        outcome = "failed"
    elif host["done"]:
        outcome = "done before"
    elif host["needs"]["kubelet"] and "kubelet" not in ended:
        outcome = "not reached" if not ended & {"kubeadm", "drain"} else "unfinished"
    else:
        outcome = "upgraded"
    return {
        "name": name,
        "node": host["node"],
        "role": host["role"],
        "outcome": outcome,
        "changed": any(phase.get("changed") for phase in phases),
        "before": before,
        "after": after,
        "seconds": round(sum(_seconds(phase.get("seconds")) for phase in phases), 1),
        "phases": [dict(phase) for phase in phases],
    }


def _snapshot(snapshot: Optional[Mapping[str, Any]]) -> Optional[dict[str, Any]]:
    if not snapshot:
        return None
    return {key: snapshot.get(key) for key in ("path", "size", "sha256", "revision", "host") if key in snapshot}


def _between(started: str, finished: str) -> Optional[float]:
    begin, end = _moment(started), _moment(finished)
    return round((end - begin).total_seconds(), 1) if begin and end else None


def _moment(written: str) -> Optional[datetime.datetime]:
    try:
        moment = datetime.datetime.fromisoformat(str(written).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)


# ------------------------------------------------------------------------------------------------ for people


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    cluster = report["cluster"]
    lines = [f"# Upgrade to Kubernetes {report['target']}: {report['outcome']}", ""]
    if report["failure"]:
        failure = report["failure"]
        lines += [f'**Stopped at {failure.get("host")}, in "{failure.get("task")}".** {failure.get("message")}', ""]
    lines += _bullets("Refused", [refusal["message"] for refusal in report["refusals"]])
    lines += [
        f"- cluster: {cluster.get('name')}, {cluster.get('server')}, kube-system {cluster.get('uid')}",
        f"- run: {report['run']}",
        f"- from {report['started']} to {report['finished']}{_took(report)}",
        f"- snapshot of etcd before: {_snapshot_words(report['snapshot'])}",
        "",
    ]
    if report["nodes"]:
        lines += ["## Nodes", "", *_nodes_table(report), ""]
    if report["phases"]:
        lines += ["## Seconds in each phase", "", *_phases_table(report), ""]
    lines += _bullets("Warnings", report["warnings"])
    return "\n".join(lines).rstrip() + "\n"


def summary(report: Mapping[str, Any]) -> str:
    """A few lines for the screen."""
    reached = sum(1 for node in report["nodes"] if node["outcome"] in ("upgraded", "done before"))
    if report["outcome"] == "nothing to do":
        head = f"Nothing to do: {len(report['nodes'])} nodes run Kubernetes {report['target']}"
    else:
        head = f"{report['outcome'].capitalize()}: {reached} of {len(report['nodes'])} nodes at {report['target']}"
    lines = [head + (f" ({report['seconds']:g} s)" if report["seconds"] is not None else "") + "."]
    width = max((len(node["name"]) for node in report["nodes"]), default=0)
    worked_on = report["nodes"] if report["outcome"] != "nothing to do" else []
    lines += [f"  {n['name'].ljust(width)}  {_versions_words(n)}  {n['outcome']}{_spent(n)}" for n in worked_on]
    if report["snapshot"]:
        lines.append(f"Snapshot of etcd: {_snapshot_words(report['snapshot'])}")
    lines += [f"Warning: {warning}" for warning in report["warnings"]]
    return "\n".join(lines) + "\n"


def _spent(node: Mapping[str, Any]) -> str:
    """Where most of a node's time went; report.md has the rest."""
    longest = sorted(node["phases"], key=lambda phase: -_seconds(phase.get("seconds")))[:_LONGEST]
    told = [f"{phase['phase'].replace('_', ' ')} {_seconds(phase.get('seconds')):g}" for phase in longest]
    return f", {node['seconds']:g} s (most of it: {', '.join(told)})" if told else ""


def _took(report: Mapping[str, Any]) -> str:
    return f", {report['seconds']:g} s" if report["seconds"] is not None else ""


def _snapshot_words(snapshot: Optional[Mapping[str, Any]]) -> str:
    if not snapshot:
        return "none"
    size = int(snapshot.get("size") or 0) / 1e6
    return (
        f"{snapshot.get('path')} ({size:.1f} MB, revision {snapshot.get('revision')}, sha256 {snapshot.get('sha256')})"
    )


def _bullets(title: str, sentences: Iterable[str]) -> list[str]:
    listed = [f"- {sentence}" for sentence in sentences]
    return [f"## {title}", "", *listed, ""] if listed else []


def _kubelet(node: Mapping[str, Any]) -> str:
    return _change(node["before"].get("kubelet"), node["after"].get("kubelet"))


def _versions_words(node: Mapping[str, Any]) -> str:
    """The kubelet's versions; the control plane's beside them when it is elsewhere, as in a run that stopped."""
    before, after = node["before"].get("api_server"), node["after"].get("api_server")
    said = _kubelet(node)
    apart = node["role"] == "master" and after != node["after"].get("kubelet")
    return f"{said} (control plane {_change(before, after)})" if apart else said


def _change(before: Optional[str], after: Optional[str]) -> str:
    return str(before or "-") if before == after else f"{before or '?'} -> {after or '?'}"


def _nodes_table(report: Mapping[str, Any]) -> list[str]:
    rows = [["host", "node", "role", "kubelet", "control plane", "outcome", "seconds"]]
    for node in report["nodes"]:
        control_plane = _change(node["before"].get("api_server"), node["after"].get("api_server"))
        row = [node["name"], node["node"], node["role"], _kubelet(node), control_plane, node["outcome"]]
        rows.append([*row, f"{node['seconds']:g}"])
    return _table(rows)


def _phases_table(report: Mapping[str, Any]) -> list[str]:
    names = list(report["phases"])
    rows = [["host", *(name.replace("_", " ") for name in names)]]
    for node in report["nodes"]:
        spent: dict[str, float] = {}
        for phase in node["phases"]:
            spent[phase["phase"]] = spent.get(phase["phase"], 0.0) + _seconds(phase.get("seconds"))
        rows.append([node["name"], *(f"{spent[name]:g}" if name in spent else "" for name in names)])
    rows.append(["all", *(f"{report['phases'][name]:g}" for name in names)])
    return _table(rows)


def _table(rows: list[list[Any]]) -> list[str]:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(cells[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
