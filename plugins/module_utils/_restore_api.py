# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a restore does through an API server: prove that a write works, and take away what came back of our own."""

from __future__ import annotations

import http.client
import json
from typing import Any, Optional
from urllib.parse import quote

from ansible_collections.clustercare.kubeadm.plugins.module_utils._conditions import is_ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import Access, ApiServer
from ansible_collections.clustercare.kubeadm.plugins.module_utils._names import CORDON, LEASES, LOCK, PREFIX
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch

_NODE_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_NODES = "/api/v1/nodes"
_SILENT = 300.0  # seconds; clocks of hosts differ, and before that the controller manager tells


class Writer(ApiServer):
    """An API server that is also written to."""

    def send(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        """One request with its status and answer.

        :raises CareError: no answer.
        """
        try:
            text = None if body is None else json.dumps(body)
            self._connection.request(method, path, text, {**self._headers, "Content-Type": kind})
            answer = self._connection.getresponse()
            said = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise CareError(f"The API server {self.address}:{self.port} does not answer: {error}.") from error
        try:
            loaded = json.loads(said)
        except ValueError:
            loaded = {"message": said[:200]}
        return answer.status, loaded if isinstance(loaded, dict) else {}

    def must(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> dict[str, Any]:
        """Like ``send``, with an error for anything but success; what is not there any more counts as deleted."""
        status, said = self.send(method, path, body, kind)
        if 200 <= status < 300 or (method == "DELETE" and status == 404):
            return said
        where = f"The API server {self.address}:{self.port}"
        raise CareError(f"{where} answers {status} to {method} {path}: {said.get('message')}.")


def write_works(access: Access, address: str, port: int, name: str, word: str) -> Optional[str]:
    """Write, read and delete a Lease through one API server; None when that works.

    Webhooks do not run yet, and policies hardly ever ask one about Leases: kubelets renew theirs all the time.
    """
    server = Writer(access, address, port, timeout=5.0)
    path = f"{LEASES}/{quote(name)}"
    metadata = {"name": name, "annotations": {f"{PREFIX}restore": word}}
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {"holderIdentity": word},
    }
    try:
        server.must("DELETE", path)
        server.must("POST", LEASES, body)
        read = (server.must("GET", path).get("spec") or {}).get("holderIdentity")
        server.must("DELETE", path)
        return None if read == word else f"what was written through it cannot be read again ({read})"
    except CareError as error:
        return error.message.rstrip(".")
    finally:
        server.close()


def is_ours(lease: dict[str, Any]) -> bool:
    """Whether a Lease is one of this collection's locks."""
    metadata = lease["metadata"]
    noted = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    return bool(metadata["name"] == LOCK or any(key.startswith(PREFIX) for key in noted))


def without_ours(node: dict[str, Any]) -> Optional[dict[str, Any]]:
    """The patch that takes our annotations from a Node, and the cordon that belongs to them; None without any."""
    ours = [key for key in node["metadata"].get("annotations") or {} if key.startswith(PREFIX)]
    if not ours:
        return None
    patch: dict[str, Any] = {"metadata": {"annotations": dict.fromkeys(ours)}}
    if CORDON in ours and (node.get("spec") or {}).get("unschedulable"):
        patch["spec"] = {"unschedulable": None}
    return patch


def tidy(server: Writer) -> list[str]:
    """Remove the locks, annotations and cordons of our runs from before the snapshot; each in words."""
    done = []
    for lease in server.must("GET", LEASES).get("items") or []:
        if is_ours(lease):
            name = lease["metadata"]["name"]
            server.must("DELETE", f"{LEASES}/{quote(name)}")
            done.append(f"the Lease {name} in kube-system")
    for node in server.must("GET", _NODES).get("items") or []:
        patch = without_ours(node)
        if patch:
            name = node["metadata"]["name"]
            server.must("PATCH", f"{_NODES}/{quote(name)}", patch, "application/merge-patch+json")
            keys = ", ".join(sorted(patch["metadata"]["annotations"]))
            done.append(f"{keys} of Node {name}" + (", with its cordon" if "spec" in patch else ""))
    return done


def renewed(written: Optional[str]) -> float:
    """The epoch of a Lease's renewTime; 0 when there is none."""
    try:
        return epoch(written or "")
    except ValueError:
        return 0.0


def not_ready(nodes: list[dict[str, Any]], leases: list[dict[str, Any]], since: float) -> dict[str, bool]:
    """The Nodes that are not Ready, or have not been heard of since then: a stored Ready is an old one.

    Each with whether it has been heard of.
    """
    renewals = renewals_of(leases)
    found = {}
    for node in nodes:
        name = node["metadata"]["name"]
        heard = renewals.get(name, 0.0) >= since
        if not is_ready(node) or not heard:
            found[name] = heard
    return found


def renewals_of(leases: list[dict[str, Any]]) -> dict[str, float]:
    """When each Node was heard of last."""
    return {lease["metadata"]["name"]: renewed((lease.get("spec") or {}).get("renewTime")) for lease in leases}


def unready_nodes(server: ApiServer, since: float) -> dict[str, bool]:
    nodes = server.get(_NODES).get("items") or []
    leases = server.get(_NODE_LEASES).get("items") or []
    return not_ready(nodes, leases, since)


def nodes_now(server: ApiServer) -> tuple[list[str], list[str]]:
    """The names of all Nodes, and of those that are not well now.

    Nobody is heard of while the API cannot be written to, so a Node counts as silent against the one heard last.
    """
    nodes = server.get(_NODES).get("items") or []
    leases = server.get(_NODE_LEASES).get("items") or []
    last = max(renewals_of(leases).values(), default=0.0)
    return sorted(node["metadata"]["name"] for node in nodes), sorted(not_ready(nodes, leases, last - _SILENT))


def lock_now(server: ApiServer) -> Optional[dict[str, Any]]:
    """The Lease that is the lock of the cluster, or None; a few Leases are all that is in there."""
    leases = server.get(LEASES).get("items") or []
    found = next((lease for lease in leases if lease["metadata"]["name"] == LOCK), None)
    if found is None:
        return None
    return {"metadata": {"annotations": found["metadata"].get("annotations")}, "spec": found.get("spec")}
