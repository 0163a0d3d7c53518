# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What an upgrade is refused for, and warned of, before anything is changed: which rules, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_needs import Needs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Finding, View
from ansible_collections.clustercare.kubeadm.plugins.module_utils._rules_cluster import (
    api,
    hosts_without_node,
    identity,
    limited,
    no_masters,
    nodes_without_host,
    unreachable,
    wrong_group,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._rules_health import (
    control_plane_down,
    disk,
    not_kubeadm,
    not_ready,
    sick_etcd,
    silent_masters,
    unreached,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._rules_surroundings import (
    busy,
    controller,
    daemon_pods,
    external_etcd,
    foreign_cordon,
    ignored_all,
    no_kubectl,
    no_room,
    nowhere_to_go,
    small_etcd,
    stale_kubelet,
    traps,
    unread,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._rules_version import (
    api_servers_apart,
    begun,
    binaries,
    downgrade,
    kubelet_newer,
    kubelet_too_old,
    minor_skipped,
    open_run,
)

Rule = Callable[[View], Iterator[Finding]]
NeedsRule = Callable[[View, dict[str, Needs]], Iterator[Finding]]

# In this order people read them.
IDENTITY_RULES: tuple[Rule, ...] = (identity, api)
ANYWAY_RULES: tuple[Rule, ...] = (no_masters, unreachable, limited, silent_masters)
INVENTORY_RULES: tuple[Rule, ...] = (
    no_masters,
    unreachable,
    limited,
    hosts_without_node,
    nodes_without_host,
    wrong_group,
    not_kubeadm,
    unreached,
    external_etcd,
    ignored_all,
)
PATH_RULES: tuple[Rule, ...] = (open_run, minor_skipped, downgrade, begun, api_servers_apart)
VERSION_RULES: tuple[Rule, ...] = (
    kubelet_newer,
    kubelet_too_old,
    binaries,
)
STATE_RULES: tuple[NeedsRule, ...] = (
    not_ready,
    control_plane_down,
    sick_etcd,
    daemon_pods,
    no_kubectl,
    disk,
    traps,
    controller,
    busy,
    foreign_cordon,
    stale_kubelet,
    nowhere_to_go,
    no_room,
    unread,
    small_etcd,
)
