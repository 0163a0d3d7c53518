# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a person may ask a drain for, checked before anything is looked at."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import Owner
from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain import Rule, Wishes
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._selector import parse_selector

_AT_LEAST = {
    "timeout": 0.1, "grace_period": 0, "max_concurrent": 1, "max_parallel_nodes": 1, "last_replica_wait": 0,
    "pdb_timeout": 0, "skip_terminating_older_than": 0,
}  # fmt: skip


@dataclass(frozen=True)
class RuleWish:
    """A rule as it was written; which namespaces have the labels is asked at the start."""

    rule: Rule
    namespace_selector: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class Options:
    """What the person asked for."""

    names: tuple[str, ...]
    single: bool
    owner: Owner
    run_given: bool
    wishes: Wishes = field(default_factory=Wishes)
    rules: tuple[RuleWish, ...] = ()
    pod_selector: Optional[str] = None
    timeout: float = 600.0
    grace_period: Optional[int] = None
    delete: bool = False
    max_concurrent: int = 10
    max_parallel_nodes: int = 1
    last_replica_wait: float = 60.0
    pdb_timeout: Optional[float] = None
    delete_after_pdb_timeout: bool = False
    skip_terminating_older_than: Optional[float] = None
    best_effort: bool = False
    volume_detach: bool = False
    capacity_check: str = "off"
    restore: bool = False
    force_uncordon: bool = False
    check: bool = False
    lock_run: Optional[str] = None


def read_options(params: Mapping[str, Any], check: bool) -> Options:
    """The module's options.

    :raises CareError: for a value that makes no sense, with the option's name.
    """
    for option, least in _AT_LEAST.items():
        if params[option] is not None and params[option] < least:
            raise CareError(f"Option {option} is {params[option]:g}; it has to be at least {least}.")
    if params["pod_selector"]:
        parse_selector(params["pod_selector"], "pod_selector")
    run = params["run_id"] or f"{platform.node()}-{uuid.uuid4().hex[:8]}"
    return Options(
        names=_names(params),
        single=params["names"] is None,
        owner=Owner(params["owner"], run, platform.node(), params["cordon_reason"]),
        run_given=params["run_id"] is not None,
        wishes=Wishes(
            params["daemonsets"],
            params["emptydir"],
            params["unmanaged"],
            _chosen("namespaces", params["namespaces"]),
            params["exclude_namespaces"] or (),
        ),
        rules=tuple(_rule(number, rule) for number, rule in enumerate(params["rules"] or [])),
        pod_selector=params["pod_selector"],
        timeout=params["timeout"],
        grace_period=params["grace_period"],
        delete=params["eviction"] == "delete",
        max_concurrent=params["max_concurrent"],
        max_parallel_nodes=params["max_parallel_nodes"],
        last_replica_wait=params["last_replica_wait"],
        pdb_timeout=params["pdb_timeout"],
        delete_after_pdb_timeout=params["on_pdb_timeout"] == "delete",
        skip_terminating_older_than=params["skip_terminating_older_than"],
        best_effort=params["unreachable"] == "best_effort",
        volume_detach=params["wait_for_volume_detach"],
        capacity_check=params["capacity_check"],
        restore=params["on_failure"] == "restore",
        force_uncordon=params["force_uncordon"],
        check=check,
        lock_run=params["lock_run"],
    )


def _names(params: Mapping[str, Any]) -> tuple[str, ...]:
    names = [params["name"]] if params["names"] is None else params["names"]
    if not names or not all(names):
        raise CareError("No node was named (option name or names).")
    return tuple(dict.fromkeys(names))


def _chosen(option: str, namespaces: Optional[list[str]]) -> Optional[list[str]]:
    """An empty list would quietly choose nothing: a node would be called drained with all its pods on it."""
    if namespaces is not None and not any(name.strip() for name in namespaces):
        raise CareError(f"Option {option} names no namespace; leave it out when all are meant.")
    return namespaces


def _rule(number: int, written: Mapping[str, Any]) -> RuleWish:
    option = f"rules[{number}]"
    if written["namespaces"] is not None and written["namespace_selector"] is not None:
        raise CareError(f"Option {option} has both namespaces and namespace_selector; keep one.")
    if written["order"] and written["behavior"] != "drain":
        raise CareError(f"Option {option} has an order, which only behavior=drain knows.")
    chosen = written["namespace_selector"]
    namespaces = _chosen(f"{option}.namespaces", written["namespaces"])
    return RuleWish(
        Rule(
            parse_selector(written["selector"], f"{option}.selector") if written["selector"] else None,
            None if namespaces is None else frozenset(namespaces),
            written["behavior"],
            written["order"],
        ),
        parse_selector(chosen, f"{option}.namespace_selector") if chosen is not None and chosen else None,
    )
