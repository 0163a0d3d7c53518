# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a healthy cluster, control plane or node looks like: a table of predicates, each naming what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable

from ansible_collections.clustercare.kubeadm.plugins.module_utils._conditions import condition, is_ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch, iso
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse_or_none

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
LEADERS = ("kube-controller-manager", "kube-scheduler")
_ENDPOINT = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"
# Leaders renew every 2 s and lose their lease after 15 s.
_LEASE_ENDS = 15.0
_LEASE_MUST_MOVE = 3.0


@dataclass(frozen=True)
class Wanted:
    """What the person asked for."""

    node: str | None = None
    version: Version | None = None
    since: float | None = None
    boot_id: str | None = None


@dataclass(frozen=True)
class Server:
    """One API server, asked directly."""

    address: str
    problem: str | None
    version: str | None = None

    def data(self) -> dict[str, Any]:
        """For a module's result."""
        return {"server": self.address, "ready": self.problem is None, "version": self.version}


@dataclass
class Lease:
    """A lease over time: its holder writes the time by its own clock, so that it moves is the better proof."""

    holder: str | None = None
    renewed: float | None = None
    first_seen: float | None = None
    moved: float | None = None
    server_clock: float | None = None

    def look(self, found: Mapping[str, Any] | None, now: float, server_clock: float | None) -> None:
        """Take in what the API says at ``now`` (our monotonic clock)."""
        spec = (found or {}).get("spec") or {}
        renewed = _epoch(spec.get("renewTime"))
        if self.first_seen is None:
            self.first_seen = now
        elif renewed is not None and renewed != self.renewed:
            self.moved = now
        self.renewed, self.holder, self.server_clock = renewed, spec.get("holderIdentity"), server_clock

    def alive(self, now: float) -> bool:
        """Whether its holder renews it: seen to, or for the first moments by the clocks of the cluster's machines."""
        if self.moved is not None:
            return now - self.moved < _LEASE_ENDS
        just_begun = self.first_seen is not None and now - self.first_seen < _LEASE_MUST_MOVE
        if not just_begun or self.renewed is None or self.server_clock is None:
            return False
        return -_LEASE_MUST_MOVE < self.server_clock - self.renewed < _LEASE_ENDS


@dataclass
class Seen:
    """One look at the cluster; what no scope asks for stays empty."""

    now: float = 0.0
    nodes: list[dict[str, Any]] = field(default_factory=list)
    pods: list[dict[str, Any]] = field(default_factory=list)  # of one node
    static_pods: list[dict[str, Any]] = field(default_factory=list)  # of the control plane
    daemonsets: list[dict[str, Any]] = field(default_factory=list)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    leaders: dict[str, Lease] = field(default_factory=dict)
    heartbeat: Lease = field(default_factory=Lease)


Check = Callable[[Seen, Wanted], Iterator[str]]


def nodes_ready(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """Every node is Ready (a cordoned one too)."""
    for node in seen.nodes:
        told = condition(node, "Ready")
        if not is_ready(node):
            why = told.get("message") or told.get("reason") or "no word from its kubelet"
            yield f"node {_name(node)} is not Ready: {why}"
    if not seen.nodes:
        yield f"there is no node {wanted.node}" if wanted.node else "there are no nodes"


def conditions_clean(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """A node can be Ready while it is about to push its pods out."""
    for node in seen.nodes:
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"):
            told = condition(node, kind)
            if told.get("status") == "True":
                yield f"node {_name(node)} tells of {kind}: {told.get('message') or told.get('reason')}"


def kubelets_at_version(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """Every kubelet tells the wanted version."""
    for node in seen.nodes if wanted.version else []:
        told = ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion")
        if parse_or_none(told) != wanted.version:
            yield f"the kubelet of {_name(node)} is {told}, not yet v{wanted.version}"


def heartbeat_is_new(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """The node's kubelet renewed its lease after ``since``, or was seen to do it."""
    if wanted.since is None or seen.heartbeat.moved is not None:
        return
    beats = [seen.heartbeat.renewed, *(_epoch(condition(n, "Ready").get("lastHeartbeatTime")) for n in seen.nodes)]
    last = max((beat for beat in beats if beat is not None), default=None)
    if last is None or last <= wanted.since:
        yield f"no heartbeat of {wanted.node} after {_iso(wanted.since)}; the last is of {_iso(last)}"


def boot_is_known(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """The node's kubelet speaks from the wanted boot: until then all that the API shows is from before."""
    for node in seen.nodes if wanted.boot_id else []:
        told = ((node.get("status") or {}).get("nodeInfo") or {}).get("bootID")
        if told != wanted.boot_id:
            yield f"the kubelet of {_name(node)} still tells of the boot {told}, not of {wanted.boot_id}"


def daemon_pods_ready(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """Every DaemonSet's pod on the node is Ready, and after a reboot has started since."""
    for pod in seen.pods:
        owners = pod["metadata"].get("ownerReferences") or []
        if any(owner.get("controller") and owner["kind"] == "DaemonSet" for owner in owners):
            yield from _pod_ready(pod)
            if wanted.boot_id and wanted.since is not None:
                yield from _started_since(pod, wanted.since)


def servers_ready(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """Every API server, asked one by one, says that it is ready."""
    for server in seen.servers:
        if server.problem:
            yield f"the API server at {server.address} is not ready: {server.problem}"


def servers_at_version(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """The API server of the node (of all nodes, when none is named) tells the wanted version."""
    if wanted.version is None:
        return
    own = _endpoints(seen, wanted.node)
    for server in seen.servers:
        ours = wanted.node is None or _address(server.address) in own
        if ours and server.problem is None and parse_or_none(server.version) != wanted.version:
            yield f"the API server at {server.address} is {server.version}, not yet v{wanted.version}"


def static_pods_good(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """The control plane's static pods are Ready and of the wanted version."""
    # Cloud controllers carry such labels too, and may run on workers.
    masters = {_node_of(pod) for pod in seen.static_pods if _component(pod) in COMPONENTS}
    nodes = [wanted.node] if wanted.node else sorted(masters)
    for node in nodes:
        there = {_component(pod): pod for pod in seen.static_pods if _node_of(pod) == node}
        for component in COMPONENTS:
            pod = there.get(component)
            if pod is None:
                yield f"{component} has no pod on {node}"
                continue
            yield from _pod_ready(pod)
            tag = _tag(_image(pod["spec"], component))
            if wanted.version and parse_or_none(tag) != wanted.version:
                yield f"{component} on {node} is {tag}, not yet v{wanted.version}"
        if "etcd" in there:
            yield from _pod_ready(there["etcd"])
    if not nodes:
        yield "no static pods of a control plane are there"


def leaders_alive(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """Controller manager and scheduler each have a leader that renews its lease."""
    for name, lease in seen.leaders.items():
        if lease.renewed is None:
            yield f"{name} has no leader"
        elif not lease.alive(seen.now):
            yield f"the leader of {name} ({lease.holder}) does not renew its lease, last {_iso(lease.renewed)}"


def addons_rolled_out(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """kube-proxy and CoreDNS, where kubeadm runs them, are complete in their newest form."""
    for found in seen.daemonsets:
        if _name(found) == "kube-proxy":
            status = found.get("status") or {}
            due = status.get("desiredNumberScheduled") or 0
            yield from _rolled_out(found, "kube-proxy", due, "updatedNumberScheduled", "numberAvailable")
            tag = _tag(_image(found["spec"]["template"]["spec"], "kube-proxy"))
            if wanted.version and parse_or_none(tag) not in (None, wanted.version):
                yield f"kube-proxy is {tag}, not yet v{wanted.version}"
    for found in seen.deployments:
        if _name(found) == "coredns":
            due = found["spec"].get("replicas", 1)
            yield from _rolled_out(found, "CoreDNS", due, "updatedReplicas", "availableReplicas")


CHECKS: dict[str, tuple[Check, ...]] = {
    "cluster": (nodes_ready, kubelets_at_version, addons_rolled_out, servers_ready, servers_at_version),
    "control_plane": (servers_ready, servers_at_version, static_pods_good, leaders_alive),
    "node": (nodes_ready, conditions_clean, kubelets_at_version, boot_is_known, heartbeat_is_new, daemon_pods_ready),
}


def missing(scopes: Iterable[str], seen: Seen, wanted: Wanted) -> list[str]:
    """Everything that is not as wanted, in words; nothing when all is well."""
    return [said for scope in scopes for check in CHECKS[scope] for said in check(seen, wanted)]


def node_data(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node for a module's result."""
    return {
        "name": _name(node),
        "ready": is_ready(node),
        "version": ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion"),
        "cordoned": bool((node.get("spec") or {}).get("unschedulable")),
    }


def read_since(written: str | None) -> float | None:
    """The option ``since``: seconds since 1970 or ISO 8601 with its zone."""
    if not written:
        return None
    try:
        return float(written)
    except ValueError:
        pass
    try:
        told = datetime.fromisoformat(written.strip().replace("Z", "+00:00"))
    except ValueError:
        told = None
    if told is None or told.tzinfo is None:
        raise CareError(
            f"'{written}' is no time (option since); write seconds since 1970, or like 2026-11-22T03:12:08Z."
        )
    return told.timestamp()


# --- reading objects --------------------------------------------------------------------------------------------


def _name(found: Mapping[str, Any]) -> str:
    return str(found["metadata"]["name"])


def _node_of(pod: Mapping[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _component(pod: Mapping[str, Any]) -> str:
    labels = pod["metadata"].get("labels") or {}
    return str(labels.get("component") or "") if labels.get("tier") == "control-plane" else ""


def _pod_ready(pod: Mapping[str, Any]) -> Iterator[str]:
    where = f"{pod['metadata']['namespace']}/{_name(pod)}"
    if pod["metadata"].get("deletionTimestamp"):
        yield f"pod {where} is terminating"
    elif not is_ready(pod):
        yield f"pod {where} is not Ready{_why_not_ready(pod)}"


def _started_since(pod: Mapping[str, Any], since: float) -> Iterator[str]:
    """A kubelet that has just booted still shows what ran before."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        started = _epoch(((container.get("state") or {}).get("running") or {}).get("startedAt"))
        # The API writes whole seconds.
        if started is None or started + 1 < since:
            yield f"{container['name']} of {pod['metadata']['namespace']}/{_name(pod)} has not started since the boot"


def _why_not_ready(pod: Mapping[str, Any]) -> str:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason"):
            return f": {container['name']} {waiting['reason']}"
    return f" ({(pod.get('status') or {}).get('phase') or 'unknown'})"


def _image(spec: Mapping[str, Any], name: str) -> str:
    """The image of the container of that name, else of the first: a kubeadm patch may put others before it."""
    containers = spec["containers"]
    return str(next((c for c in containers if c.get("name") == name), containers[0]).get("image") or "")


def _tag(image: str) -> str:
    return image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[2] or image


def _endpoints(seen: Seen, node: str | None) -> set[tuple[str, str]]:
    """Where the API server of a node listens, by the word of its own static pod."""
    return {
        _address(pod["metadata"]["annotations"][_ENDPOINT])
        for pod in seen.static_pods
        if _node_of(pod) == node and _ENDPOINT in (pod["metadata"].get("annotations") or {})
    }


def _address(written: str) -> tuple[str, str]:
    bare = written.partition("://")[2] or written
    host, _colon, port = bare.rstrip("/").rpartition(":")
    return (host.strip("[]"), port)


def _rolled_out(found: Mapping[str, Any], what: str, due: int, updated: str, available: str) -> Iterator[str]:
    status = found.get("status") or {}
    if (status.get("observedGeneration") or 0) < (found["metadata"].get("generation") or 0):
        yield f"{what} is not yet rolled out: its controller has not seen the newest form"
        return
    for key, word in ((updated, "of the newest form"), (available, "available")):
        if (status.get(key) or 0) < due:
            yield f"{what} is not yet rolled out: {status.get(key) or 0} of {due} pods are {word}"


def _epoch(written: str | None) -> float | None:
    return None if written is None else epoch(written)


def _iso(seconds: float | None) -> str:
    return "never" if seconds is None else iso(seconds)
