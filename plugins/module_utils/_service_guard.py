# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What the cluster would lose if a component stopped: the majority of etcd, the last API server that answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional
from urllib.parse import urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import judge, observe
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import local_server, option_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import ApiServer, Unreachable, ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import Service
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober, etcd_access

_SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=kubernetes"
)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ALLOW = "Set allow_outage to true if that is meant."


def etcd_refusal(etcd: dict[str, Any]) -> Optional[str]:
    """Why this host's member must not go, from ``_etcd_health.judge``; None when the others suffice."""
    local = next((member for member in etcd["members"] if member["local"]), None)
    if local is None:
        why = " ".join(etcd["problems"]) or "It is not in its own list of members."
        return f"It cannot be told whether etcd would keep its majority: {why} {_ALLOW}"
    quorum = etcd["quorum"]
    left = quorum["healthy"] - int(local["healthy"] and not local["learner"])
    if left >= quorum["needed"]:
        return None
    others = [member for member in etcd["members"] if not member["local"] and not member["learner"]]
    sick = [member["name"] or member["id_hex"] for member in others if not member["healthy"]]
    lost = f"{left} of {quorum['members']} voting members would be left and {quorum['needed']} are needed"
    sick_words = f" (not well now: {', '.join(sick)})" if sick else ""
    return f"etcd would lose its majority, and the cluster every write: {lost}{sick_words}. {_ALLOW}"


def addresses_of(slices: dict[str, Any]) -> list[tuple[str, int]]:
    """Where the cluster's API servers say that they are: the endpoints of the service kubernetes."""
    found = []
    for one in slices.get("items") or []:
        ports = [port["port"] for port in one.get("ports") or [] if port.get("name") == "https"] or [6443]
        for endpoint in one.get("endpoints") or []:
            found += [(address, ports[0]) for address in endpoint.get("addresses") or []]
    return sorted(set(found))


def api_refusal(others: dict[str, Optional[str]], stops: str = "This API server") -> Optional[str]:
    """Why the local API server must not go: none of the others, by address, is ready (None)."""
    if any(problem is None for problem in others.values()):
        return None
    seen = "; ".join(f"{address}: {problem}" for address, problem in sorted(others.items()))
    why = f"no other one is ready ({seen})" if seen else "the cluster has no other one"
    return f"{stops} is the last one that answers: {why}. Without it nobody can change or watch anything. {_ALLOW}"


def depends_on_local_etcd(server: list[str]) -> bool:
    """Whether an API server knows no other etcd than this host's, as kubeadm's stacked ones do."""
    urls = [url for url in (option_of(server, "--etcd-servers") or "").split(",") if url.strip()]
    own = {*_LOOPBACK, option_of(server, "--advertise-address")}
    return bool(urls) and all(urlsplit(url.strip()).hostname in own for url in urls)


def _other_servers(prober: Prober, argv: list[str]) -> Optional[dict[str, Optional[str]]]:
    """The cluster's other API servers and what is wrong with each; None when the local one serves nobody anyway."""
    access = prober.api_access()
    local = local_server(access, argv)
    own = option_of(argv, "--advertise-address") or local.address
    try:
        elsewhere = [(name, port) for name, port in addresses_of(local.get(_SLICES)) if name != own]
    except Unreachable:
        return None
    finally:
        local.close()
    if not elsewhere:
        return {}
    with ThreadPoolExecutor(max_workers=min(8, len(elsewhere))) as pool:
        problems = list(pool.map(lambda one: ready(ApiServer(access, one[0], one[1], 3.0)), elsewhere))
    return dict(zip([name for name, _port in elsewhere], problems))


def refusals(prober: Prober, stopping: list[Service]) -> list[str]:
    """Everything that speaks against stopping these; empty when the cluster bears it."""
    found: list[str] = []
    running = {service.name: service for service in stopping if service.running}
    server = running.get("kube-apiserver")
    stops = "This API server"
    if "etcd" in running:
        try:
            refusal = etcd_refusal(judge(observe(etcd_access(running["etcd"], prober.etcd)), ""))
        except CareError as error:
            refusal = f"It cannot be told whether etcd would keep its majority: {error.message} {_ALLOW}"
        found += [refusal] if refusal else []
        if server is None:
            beside = prober.host.look("kube-apiserver")
            if beside.running and depends_on_local_etcd(beside.argv):
                server, stops = beside, "The API server beside this etcd, which it cannot do without,"
    if server is not None and not found:
        try:
            others = _other_servers(prober, server.argv)
            refusal = None if others is None else api_refusal(others, stops)
        except CareError as error:
            refusal = f"It cannot be told whether another API server answers: {error.message} {_ALLOW}"
        found += [refusal] if refusal else []
    return found
