# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a restore does through an API server: prove that a write works, and take away what came back of our own."""

from __future__ import annotations

import calendar
import http.client
import json
import time
from collections.abc import Collection
from typing import Any, Optional
from urllib.parse import quote

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import Access, ApiServer

_MAPS = "/api/v1/namespaces/kube-system/configmaps"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
_NODE_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_NODES = "/api/v1/nodes"
_OURS = "clustercare.io/"
_LOCK = "clustercare"
CORDON = "clustercare.io/cordon"


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
    """Write, read and delete a ConfigMap through one API server; None when that works."""
    server = Writer(access, address, port, timeout=5.0)
    path = f"{_MAPS}/{quote(name)}"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"word": word}}
    try:
        server.must("DELETE", path)
        server.must("POST", _MAPS, body)
        read = (server.must("GET", path).get("data") or {}).get("word")
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
    return bool(metadata["name"] == _LOCK or any(key.startswith(_OURS) for key in noted))


def without_ours(node: dict[str, Any]) -> Optional[dict[str, Any]]:
    """The patch that takes our annotations from a Node, and the cordon that belongs to them; None without any."""
    ours = [key for key in node["metadata"].get("annotations") or {} if key.startswith(_OURS)]
    if not ours:
        return None
    patch: dict[str, Any] = {"metadata": {"annotations": dict.fromkeys(ours)}}
    if CORDON in ours and (node.get("spec") or {}).get("unschedulable"):
        patch["spec"] = {"unschedulable": None}
    return patch


def tidy(server: Writer) -> list[str]:
    """Remove the locks, annotations and cordons of our runs from before the snapshot; each in words."""
    done = []
    for lease in server.must("GET", _LEASES).get("items") or []:
        if is_ours(lease):
            name = lease["metadata"]["name"]
            server.must("DELETE", f"{_LEASES}/{quote(name)}")
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
        return calendar.timegm(time.strptime((written or "").partition(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0.0


def not_ready(
    nodes: list[dict[str, Any]], leases: list[dict[str, Any]], since: float, without: Collection[str] = ()
) -> list[str]:
    """The Nodes that are not Ready, or have not been heard of since the restore: a stored Ready is an old one.

    :param without: masters that are gone for good; their Nodes have come back with the data, and nobody waits for them.
    """
    heard = {lease["metadata"]["name"]: renewed((lease.get("spec") or {}).get("renewTime")) for lease in leases}
    found = []
    for node in nodes:
        name = node["metadata"]["name"]
        conditions = (node.get("status") or {}).get("conditions") or []
        ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
        if not ready or heard.get(name, 0.0) < since:
            found.append(name)
    return sorted(set(found) - set(without))


def unready_nodes(server: Writer, since: float, without: Collection[str] = ()) -> list[str]:
    nodes = server.must("GET", _NODES).get("items") or []
    leases = server.must("GET", _NODE_LEASES).get("items") or []
    return not_ready(nodes, leases, since, without)
