# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""From the module's connection options to what the API says, without a word to a cluster that cannot be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import (
    Api,
    Unreachable,
    auth_parameters,
    connect,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_api import read_cluster, read_uid
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_identity import identify
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import (
    Cluster,
    Identity,
    Request,
    endpoint,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

_DIRECT = 5.0  # seconds for one API server, and for a second try
_STRANGER = 10.0  # seconds to ask a cluster that is known to be another one for its name


def read(module: Any, request: Request, environ: Mapping[str, str]) -> Cluster:
    """What the API says; every reason why it could not be asked ends in the cluster's ``error``."""
    auth = auth_parameters(module.params, environ)
    if "kubeconfig" in auth and not auth["kubeconfig"]:
        said = "there is no kubeconfig, as no master's API server answered; set kubeadm_kubeconfig if you have one."
        return Cluster(Identity("The kubeconfig", ""), error=said)
    try:
        identity = identify(auth, environ)
    except CareError as error:
        return Cluster(Identity("The kubeconfig", ""), error=error.message)
    if not identity.verified:
        return Cluster(identity)
    authorities = {(request.hosts.get(name) or {}).get("ca_sha256") for name in request.masters} - {None}
    try:
        api = connect(module)
        if authorities and not authorities & set(identity.ca_sha256):
            return read_uid(api, identity, Deadline(_STRANGER, "timeout"))
        cluster = read_cluster(api, identity, Deadline(float(module.params["timeout"]), "timeout"))
        return cluster if cluster.error else replace(cluster, unreached=unreached(api, request))
    except CareError as error:
        return Cluster(identity, error=error.message)


def unreached(api: Api, request: Request) -> dict[str, str]:
    """Masters whose own API server answers on the host, but not us; and why."""

    def why(address: str) -> Optional[str]:
        try:
            server = api.direct(address)
            try:
                server.ask("get", "/readyz", timeout=_DIRECT)
            except Unreachable:
                server.ask("get", "/readyz", timeout=_DIRECT)
        except Unreachable as error:
            return str(error)
        except CareError as error:
            return error.message
        return None

    told = {name: (request.hosts.get(name) or {}).get("api") or {} for name in request.masters}
    asked = {name: endpoint(one) for name, one in told.items() if one.get("reachable")}
    addresses = {name: address for name, address in asked.items() if address}
    if not addresses:
        return {}
    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        found = dict(zip(addresses, pool.map(why, addresses.values())))
    return {name: said for name, said in found.items() if said}
