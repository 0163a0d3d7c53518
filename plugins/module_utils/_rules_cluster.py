# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Is it the cluster that is meant, and does the inventory name all of it? One small function a rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Finding, View


def identity(view: View) -> Iterator[Finding]:
    """The API that is spoken to is the one of the hosts: same CA, same kube-system."""
    kubeconfig = view.cluster.identity
    if not kubeconfig.verified:
        sentence = (
            f"{kubeconfig.origin} skips TLS verification ({kubeconfig.server}): anyone in between could answer in the "
            "cluster's name. Give the cluster's CA certificate instead (certificate-authority-data)."
        )
        yield Finding("", "tls", sentence)
        return
    masters = [name for name in view.masters if name in view.known]
    authorities = {name: view.host(name).get("ca_sha256") for name in masters if view.host(name).get("ca_sha256")}
    if len(set(authorities.values())) > 1:
        listed = ", ".join(f"{name} {short(ca)}" for name, ca in authorities.items())
        yield Finding("", "identity", f"the masters belong to different clusters; their cluster CAs are: {listed}.")
        return
    if not authorities:
        if masters:
            sentence = "no master has a cluster CA (/etc/kubernetes/pki/ca.crt), so their cluster cannot be identified."
            yield Finding("", "identity", sentence)
        return
    first = min(authorities, key=masters.index)
    ca = authorities[first]
    yield from _foreign_hosts(view, first, str(ca))
    if kubeconfig.server and ca not in kubeconfig.ca_sha256:
        yield _two_clusters(view, first, str(ca), None)
        return
    if view.cluster.error:
        return
    yield from _foreign_api(view, first, str(ca))


def _foreign_hosts(view: View, first: str, ca: str) -> Iterator[Finding]:
    for name in view.workers:
        other = view.host(name).get("ca_sha256")
        if other and other != ca:
            sentence = f"the host belongs to another cluster: its CA is {short(other)}, that of {first} is {short(ca)}."
            yield Finding(name, "identity", sentence)


def _foreign_api(view: View, first: str, ca: str) -> Iterator[Finding]:
    seen = {name: (view.host(name).get("api") or {}).get("kube_system_uid") for name in view.masters}
    uids = {name: uid for name, uid in seen.items() if uid}
    strangers = [name for name, uid in uids.items() if uid != view.cluster.uid]
    if strangers:
        yield _two_clusters(view, strangers[0], ca, uids[strangers[0]])
    elif not uids and view.known:
        sentence = (
            "no master's own API server could be asked for the UID of kube-system, so it is not proven that "
            f"{view.cluster.identity.origin} ({view.cluster.identity.server}) speaks to the cluster of {first}."
        )
        yield Finding("", "identity", sentence)


def _two_clusters(view: View, master: str, ca: str, uid: Optional[str]) -> Finding:
    there = view.cluster.identity
    api = view.host(master).get("api") or {}
    uid = uid or api.get("kube_system_uid")
    sentence = (
        f"{there.origin} and the inventory name two different clusters. The kubeconfig speaks to {there.server} "
        f"(CA {', '.join(short(one) for one in there.ca_sha256) or 'not given'}, kube-system "
        f"{view.cluster.uid or 'not seen'}); {master} serves {view.api_address(master)} (CA {short(ca)}, "
        f"kube-system {uid or 'not seen'}). Set kubeadm_kubeconfig to a kubeconfig of the masters' cluster, or correct "
        "the inventory."
    )
    return Finding("", "identity", sentence)


def short(digest: Optional[str]) -> str:
    return f"{digest[:12]}" if digest else "unknown"


def api(view: View) -> Iterator[Finding]:
    if view.cluster.error and not any(finding.refuse for finding in identity(view)):
        yield Finding("", "api", f"the API could not be asked: {view.cluster.error}")


# ---- the inventory


def no_masters(view: View) -> Iterator[Finding]:
    if not view.masters:
        yield Finding("", "inventory", "the inventory names no masters (see masters_group).")


def unreachable(view: View) -> Iterator[Finding]:
    for name in view.unknown:
        if name in view.request.unreachable:
            yield Finding(name, "unreachable", "the host cannot be reached, so nobody knows its versions.")


def limited(view: View) -> Iterator[Finding]:
    missing = [name for name in view.unknown if name not in view.request.unreachable]
    if missing:
        sentence = (
            f"no facts of {', '.join(missing)}: a plan is made of the whole cluster. Run without --limit; hosts "
            "that are done are skipped by themselves."
        )
        yield Finding("", "limit", sentence)


def hosts_without_node(view: View) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for name in view.known:
        node = view.node_name(name)
        if not node:
            sentence = (
                "the host is no node: its kubelet has no client certificate (/var/lib/kubelet/pki). Join it, or take "
                "it out of the inventory."
            )
            yield Finding(name, "not_a_node", sentence)
        elif node not in view.nodes:
            sentence = f"the host is the node {node}, which this cluster does not have: join it, or take it out."
            yield Finding(name, "not_a_node", sentence)
        elif node in owners:
            yield Finding(
                name, "not_a_node", f"the host is the node {node}, and so is {owners[node]}: one machine, two names."
            )
        else:
            owners[node] = name


def nodes_without_host(view: View) -> Iterator[Finding]:
    if view.unknown:
        return  # a host that gave no facts may be any of them; it is refused already
    owned = {view.node_name(name) for name in view.known}
    missing = {name: node for name, node in view.nodes.items() if name not in owned}
    total = sum(1 for node in view.nodes.values() if view.is_control_plane(node))
    for name, node in missing.items():
        if view.is_control_plane(node):
            sentence = (
                f"the cluster has {total} masters, but the inventory names {len(view.masters)}: this control-plane "
                "node is in no group. Add it to the masters, or remove it from the cluster."
            )
            yield Finding(name, "fewer_masters", sentence)
        else:
            sentence = "this node of the cluster is in no group: add it to the workers, or remove it from the cluster."
            yield Finding(name, "node_in_no_group", sentence)


def wrong_group(view: View) -> Iterator[Finding]:
    for name in view.known:
        role = view.host(name).get("role")
        if not view.is_master(name) and (role == "master" or view.is_control_plane(view.node(name))):
            yield Finding(name, "wrong_group", "the host runs a control plane, but is listed among the workers.")
        elif view.is_master(name) and role != "master":
            yield Finding(name, "wrong_group", "the host is listed among the masters, but runs no control plane.")
