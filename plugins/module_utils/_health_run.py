# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Looking at a cluster again and again until it is healthy several times in a row."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._health import (
    LEADERS,
    Lease,
    Seen,
    Server,
    Wanted,
    missing,
    node_data,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import (
    Answer,
    Api,
    Refused,
    Unreachable,
    passes_by_itself,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

_SERVER_TIMEOUT = 5.0
_ASK_TIMEOUT = 10.0


@dataclass(frozen=True)
class Options:
    """What to look at and for how long."""

    scopes: tuple[str, ...]
    wanted: Wanted
    api_servers: tuple[str, ...]
    timeout: float
    passes: int
    interval: float
    wait: bool = True


class _NotNow(Exception):
    """This look found no answer; in words."""


def watch_health(api: Api, options: Options) -> dict[str, Any]:
    """Wait until all is well ``passes`` times in a row.

    :raises TimedOut: naming everything that was missing in the last look.
    """
    looker = _Looker(api, options)
    began = time.monotonic()
    names = {"cluster": "the cluster", "control_plane": "the control plane", "node": f"node {options.wanted.node}"}
    what = " and ".join(names[scope] for scope in options.scopes)
    try:
        if options.wait:
            deadline = Deadline(options.timeout, "timeout")
            wait_until(looker.look, deadline, f"Waiting for {what} to be healthy", options.passes, options.interval)
        else:
            looker.look()
    except TimedOut as error:
        raise TimedOut(error.message, timed_out=True, **looker.result(began)) from error
    return looker.result(began)


class _Looker:
    def __init__(self, api: Api, options: Options) -> None:
        self.api = api
        self.options = options
        self.servers = [(address, api.direct(address)) for address in options.api_servers]
        self.leaders = {name: Lease() for name in LEADERS} if "control_plane" in options.scopes else {}
        self.heartbeat = Lease()
        self.seen = Seen()
        self.missing: list[str] = ["nothing was seen yet"]

    def look(self) -> str | None:
        """One look; None when nothing is missing."""
        try:
            self.seen = self._see()
            self.missing = missing(self.options.scopes, self.seen, self.options.wanted)
        except _NotNow as error:
            self.missing = [str(error)]
        return "; ".join(self.missing) or None

    def _see(self) -> Seen:
        seen = Seen(servers=[self._ask_server(address, api) for address, api in self.servers])
        node = self.options.wanted.node
        if "cluster" in self.options.scopes:
            seen.nodes = self._list("/api/v1/nodes")
            seen.daemonsets = self._list("/apis/apps/v1/namespaces/kube-system/daemonsets")
            seen.deployments = self._list("/apis/apps/v1/namespaces/kube-system/deployments")
        if "control_plane" in self.options.scopes:
            seen.static_pods = self._list("/api/v1/namespaces/kube-system/pods", labelSelector="tier=control-plane")
            for name, lease in self.leaders.items():
                self._look_at_lease(lease, "kube-system", name)
        if "node" in self.options.scopes:
            found = self._ask(f"/api/v1/nodes/{node}")
            seen.nodes = [found.body] if found.status == 200 else []
            seen.pods = self._list("/api/v1/pods", fieldSelector=f"spec.nodeName={node}")
            self._look_at_lease(self.heartbeat, "kube-node-lease", str(node))
        seen.now, seen.leaders, seen.heartbeat = time.monotonic(), self.leaders, self.heartbeat
        return seen

    def _look_at_lease(self, lease: Lease, namespace: str, name: str) -> None:
        answer = self._ask(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}")
        lease.look(answer.body if answer.status == 200 else None, time.monotonic(), answer.clock)

    def _list(self, path: str, **query: Any) -> list[dict[str, Any]]:
        # In one piece: a look is short, and what it shows should be of one moment.
        return list(self._ask(path, "list", query).body.get("items") or [])

    def _ask(self, path: str, verb: str = "get", query: dict[str, Any] | None = None) -> Answer:
        try:
            answer = self.api.ask(verb, path, query, timeout=_ASK_TIMEOUT)
        except Unreachable as error:
            raise _NotNow(f"the API at {self.api.host} does not answer: {error}") from error
        if answer.status in (200, 404):
            return answer
        if passes_by_itself(answer) or self.api.starting_up(answer):
            raise _NotNow(f"the API at {self.api.host} answers {answer.status}: {answer.message}")
        raise Refused(f"Reading {path} at {self.api.host} was refused: {answer.status} {answer.message}", answer)

    def _ask_server(self, address: str, api: Api) -> Server:
        try:
            ready = api.ask("get", "/readyz", timeout=_SERVER_TIMEOUT)
            version = api.ask("get", "/version", timeout=_SERVER_TIMEOUT).body.get("gitVersion")
        except Unreachable as error:
            return Server(address, f"it does not answer: {error}")
        if ready.status == 200:
            return Server(address, None, version)
        failed = [line for line in ready.text.splitlines() if line.startswith("[-]")]
        return Server(address, ", ".join(failed) or f"{ready.status} {ready.message}", version)

    def result(self, began: float) -> dict[str, Any]:
        return {
            "healthy": not self.missing,
            "missing": self.missing,
            "nodes": [node_data(node) for node in self.seen.nodes],
            "api_servers": [server.data() for server in self.seen.servers],
            "leaders": {name: lease.holder for name, lease in self.leaders.items()},
            "seconds": round(time.monotonic() - began, 1),
            "api_calls": sum(sum(api.calls.values()) for api in [self.api, *(api for _name, api in self.servers)]),
        }
