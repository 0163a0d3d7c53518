# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a plan is made from: the request, the hosts' facts, the API's answers, and plain questions to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubeadm
from ansible_collections.clustercare.kubeadm.plugins.module_utils._conditions import condition, is_ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import read_cordon
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import host_port
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import CORDON_TAINT
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse_or_none

PURPOSE = "upgrade"
_PACKAGES = ("kubeadm", "kubelet", "kubectl")
_CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"


@dataclass(frozen=True)
class Request:
    """What was asked for, and what was learned on the hosts (keys are inventory names)."""

    version: str
    masters: list[str]
    workers: list[str]
    hosts: dict[str, dict[str, Any]]
    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    etcd: dict[str, dict[str, Any]] = field(default_factory=dict)
    unreachable: list[str] = field(default_factory=list)
    ignore_preflight_errors: list[str] = field(default_factory=list)
    manage_packages: bool = True
    max_unavailable: str = "1"
    drain_emptydir: str = "delete"
    drain_unmanaged: str = "fail"
    controller: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """Which cluster a kubeconfig speaks of."""

    origin: str
    server: str
    ca_sha256: tuple[str, ...] = ()
    verified: bool = True


@dataclass(frozen=True)
class Cluster:
    """What the API said; ``error`` when it did not answer, and then the rest is empty."""

    identity: Identity
    error: Optional[str] = None
    uid: Optional[str] = None
    version: Optional[str] = None
    nodes: list[dict[str, Any]] = field(default_factory=list)
    pods: list[dict[str, Any]] = field(default_factory=list)
    budgets: list[dict[str, Any]] = field(default_factory=list)
    kubeadm_config: Optional[dict[str, Any]] = None
    kubelet_config: Optional[dict[str, Any]] = None
    daemonsets: list[dict[str, Any]] = field(default_factory=list)
    unreached: dict[str, str] = field(default_factory=dict)  # masters whose own API server did not answer us, and why


class Finding(NamedTuple):
    """A refusal, or a warning: about a host (inventory name), a node, or the whole cluster (empty)."""

    host: str
    rule: str
    sentence: str
    refuse: bool = True

    @property
    def message(self) -> str:
        return f"{self.host}: {self.sentence}" if self.host else self.sentence[:1].upper() + self.sentence[1:]


def image_version(image: Optional[str]) -> Optional[Version]:
    """The version in an image's tag; None for a digest or a tag that is no version."""
    name = (image or "").split("@", 1)[0].rsplit("/", 1)[-1]
    return parse_or_none(name.split(":", 1)[1]) if ":" in name else None


def endpoint(api: dict[str, Any]) -> Optional[str]:
    """Address and port of an API server, as a URL has them."""
    address = str(api.get("address") or "")
    return host_port(address, api["port"]) if address else None


class View:
    """Plain questions to a request and a cluster. ``target`` is set once it is known."""

    def __init__(self, request: Request, cluster: Cluster) -> None:
        self.request = request
        self.cluster = cluster
        self.target: Version = Version(0, 0, 0)
        self.masters = _once(request.masters)
        self.workers = [name for name in _once(request.workers) if name not in self.masters]
        self.nodes = {node["metadata"]["name"]: node for node in cluster.nodes}

    # ---- the inventory

    @property
    def names(self) -> list[str]:
        """Every inventory host, masters first."""
        return self.masters + self.workers

    @property
    def known(self) -> list[str]:
        """Inventory hosts whose facts are there."""
        return [name for name in self.names if self.request.hosts.get(name)]

    @property
    def unknown(self) -> list[str]:
        """Inventory hosts without facts: unreachable, or left out by --limit."""
        return [name for name in self.names if not self.request.hosts.get(name)]

    def host(self, name: str) -> dict[str, Any]:
        return self.request.hosts.get(name) or {}

    def is_master(self, name: str) -> bool:
        return name in self.masters

    # ---- nodes

    def node_name(self, name: str) -> Optional[str]:
        return self.host(name).get("node_name")

    def node(self, name: str) -> dict[str, Any]:
        return self.nodes.get(self.node_name(name) or "", {})

    def label(self, name: str) -> str:
        """The inventory name, with the node's beside it where they differ."""
        node = self.node_name(name)
        return name if not node or node == name else f"{name} (node {node})"

    def is_control_plane(self, node: dict[str, Any]) -> bool:
        return _CONTROL_PLANE_LABEL in (node.get("metadata", {}).get("labels") or {})

    def not_ready(self, node: dict[str, Any]) -> Optional[str]:
        """Why a node is not Ready, or None."""
        told = condition(node, "Ready")
        if not told:
            return "it has never reported a Ready condition"
        said = told.get("message") or told.get("reason") or f"its Ready condition is {told.get('status')}"
        return None if is_ready(node) else str(said)

    def others_for(self, name: str) -> list[str]:
        """Nodes that could take this one's pods: they have no taint that it does not have. Cordons are left aside."""
        here = _taints(self.node(name))
        mine = self.node_name(name)
        return [n for n, node in self.nodes.items() if n != mine and not self.not_ready(node) and _taints(node) <= here]

    def cordoned_by_us(self, node: dict[str, Any]) -> bool:
        """Cordoned by an upgrade of ours that did not end; others' cordons are not ours to lift."""
        return read_cordon(node).is_ours(PURPOSE)

    def cordoned_by_others(self, node: dict[str, Any]) -> bool:
        return bool(node.get("spec", {}).get("unschedulable")) and not self.cordoned_by_us(node)

    # ---- versions

    def kubelet(self, name: str) -> Optional[Version]:
        """The kubelet that really runs; what the API says only when the process cannot be asked."""
        running = parse_or_none((self.host(name).get("kubelet") or {}).get("running"))
        return running or parse_or_none(self.node(name).get("status", {}).get("nodeInfo", {}).get("kubeletVersion"))

    def static_pod(self, name: str, component: str) -> Optional[Version]:
        pod = (self.host(name).get("static_pods") or {}).get(component) or {}
        return parse_or_none(pod.get("version")) or image_version(pod.get("image"))

    def api_server(self, name: str) -> Optional[Version]:
        """A master's own API server: what it answers, else what its manifest says."""
        api = self.host(name).get("api") or {}
        return parse_or_none(api.get("version")) or self.static_pod(name, "kube-apiserver")

    def api_address(self, name: str) -> Optional[str]:
        """Where a master's own API server listens."""
        return endpoint(self.host(name).get("api") or {})

    def api_servers(self) -> dict[str, Version]:
        found = {name: self.api_server(name) for name in self.masters if name in self.known}
        return {name: version for name, version in found.items() if version}

    @property
    def configured(self) -> Optional[Version]:
        """The version in the ConfigMap kubeadm-config: kubeadm writes it after the static pods."""
        return parse_or_none((self.cluster.kubeadm_config or {}).get("kubernetesVersion"))

    @property
    def kube_proxy(self) -> Optional[Version]:
        """That of kubeadm's kube-proxy; None where something else does its work."""
        for found in self.cluster.daemonsets:
            if (found["metadata"]["namespace"], found["metadata"]["name"]) == ("kube-system", "kube-proxy"):
                template = (found.get("spec") or {}).get("template") or {}
                for container in (template.get("spec") or {}).get("containers") or []:
                    if container.get("name") == "kube-proxy":
                        return image_version(container.get("image"))
        return None

    def packages(self, name: str) -> dict[str, str]:
        """Installed versions of the packages that carry Kubernetes' version; cri-tools and the like have their own."""
        installed = (self.host(name).get("packages") or {}).get("installed") or {}
        return {package: installed[package] for package in _PACKAGES if installed.get(package)}

    # ---- our own earlier runs

    def record_version(self, name: str) -> Optional[Version]:
        return parse_or_none((self.host(name).get("record") or {}).get("target"))

    def begun(self, name: str) -> bool:
        """Whether a run of ours to this target has touched the host, beyond what is inert until it is used."""
        record, job = self.host(name).get("record") or {}, self.host(name).get("job") or {}
        touched = bool(record.get("steps")) or record.get("phase") in ("kubeadm", "kubelet")
        return (touched and self.record_version(name) == self.target) or parse_or_none(job.get("target")) == self.target

    def open_runs(self) -> dict[str, dict[str, Any]]:
        """By host, the runs of ours that began there and did not end, whatever their target."""
        runs = {name: _kubeadm.open_run(self.host(name)) for name in self.known}
        return {name: run for name, run in runs.items() if run and not run["reached"]}

    def step_recorded(self, name: str, step: str) -> Optional[dict[str, Any]]:
        """The record of a step that ended well for this target."""
        record = self.host(name).get("record") or {}
        found = (record.get("steps") or {}).get(step) or {}
        at = parse_or_none(found.get("target") or record.get("target"))
        return found if found and at == self.target else None

    @property
    def cluster_name(self) -> str:
        return str((self.cluster.kubeadm_config or {}).get("clusterName") or "kubernetes")


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _taints(node: dict[str, Any]) -> set[str]:
    """Keys of the taints that keep ordinary pods away; a cordon's is not counted, it comes and goes."""
    taints = node.get("spec", {}).get("taints") or []
    keys = {str(taint.get("key")) for taint in taints if taint.get("effect") in ("NoSchedule", "NoExecute")}
    return keys - {CORDON_TAINT["key"]}
