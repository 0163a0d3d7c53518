# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What else would hurt an upgrade on the way, or should be known before it. One small function a rule."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_drain import movers
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_needs import Needs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Finding, View
from ansible_collections.clustercare.kubeadm.plugins.module_utils._pod import read_pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._traps import REFUSE, Surroundings, find_traps


def no_kubectl(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    """Python's standard library has no YAML; the host's kubectl reads it, offline."""
    for name, need in needs.items():
        kubectl = view.host(name).get("kubectl")
        if kubectl is not None and not kubectl.get("installed") and not need.done:
            sentence = "kubectl is not installed there, and the upgrade reads the host's files with it: install it."
            yield Finding(name, "no_kubectl", sentence)


def daemon_pods(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    """The gate after a node's new kubelet waits for them, whoever broke them and whenever."""
    pods = [read_pod(found) for found in view.cluster.pods]
    unready = [pod for pod in pods if pod.of_daemonset and not pod.ready]
    for name, need in needs.items():
        sick = [] if need.done else sorted(str(pod) for pod in unready if pod.node == view.node_name(name))
        if sick:
            sentence = (
                f"not Ready there now: {', '.join(sick)}. The run waits for every DaemonSet's pod after the new "
                "kubelet, and stops at this node if they stay so: mend them first."
            )
            yield Finding(name, "daemon_pods", sentence, False)


def external_etcd(view: View) -> Iterator[Finding]:
    """kubeadm neither upgrades it nor could put it back, and our gates know etcd as the masters' static pod."""
    external = ((view.cluster.kubeadm_config or {}).get("etcd") or {}).get("external") or {}
    if external:
        where = ", ".join(external.get("endpoints") or []) or "endpoints that kubeadm-config does not name"
        sentence = f"etcd is external ({where}), and only etcd as kubeadm's static pod on the masters is supported."
        yield Finding("", "external_etcd", sentence)


def ignored_all(view: View) -> Iterator[Finding]:
    if "all" in {name.strip().lower() for name in view.request.ignore_preflight_errors}:
        sentence = (
            "upgrade_ignore_preflight_errors says 'all', which would hide what really breaks: name the checks one by "
            "one."
        )
        yield Finding("", "ignore_all", sentence)


def traps(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    around = Surroundings(
        target=view.target,
        kubelet_config=view.cluster.kubelet_config or {},
        kubeadm_config=view.cluster.kubeadm_config or {},
        ignored=frozenset(name.strip().lower() for name in view.request.ignore_preflight_errors),
    )
    for name, need in needs.items():
        if need.done:
            continue
        for hit in find_traps(view.host(name), around):
            yield Finding(name, hit.trap.rule, hit.sentence, hit.trap.severity == REFUSE)


def busy(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name in view.known:
        job = view.host(name).get("job") or {}
        for process in view.host(name).get("busy") or []:
            sentence = f"{process.get('what')} is running there (process {process.get('pid')}): it is waited for."
            if job.get("running") and str(process.get("what")).startswith("kubeadm"):
                sentence = f"kubeadm of the run {job.get('run')} still runs there: its result is awaited and taken."
            yield Finding(name, "busy", sentence, False)
        if (view.host(name).get("packages") or {}).get("interrupted") and needs[name].packages:
            yield Finding(name, "dpkg", "dpkg was interrupted there once; it is mended first.", False)


def foreign_cordon(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name, need in needs.items():
        if view.cordoned_by_others(view.node(name)) and not need.done:
            sentence = "the node is cordoned, and not by us: it is upgraded, and stays cordoned."
            yield Finding(name, "foreign_cordon", sentence, False)


def stale_kubelet(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name, need in needs.items():
        if (view.host(name).get("kubelet") or {}).get("stale") and not need.kubelet:
            sentence = "the kubelet was started before its configuration last changed; this plan does not restart it."
            yield Finding(name, "stale_kubelet", sentence, False)


def nowhere_to_go(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name, need in needs.items():
        if need.undrained:
            sentence = (
                "no other node takes pods, so it is not drained: its pods stay, and are interrupted if the new kubelet "
                "must make them again."
            )
            yield Finding(name, "single_node", sentence, False)


def no_room(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    """Every node that could take the pods is cordoned by somebody else."""
    for name, need in needs.items():
        others = [view.nodes[other] for other in view.others_for(name)]
        shut = [node["metadata"]["name"] for node in others if view.cordoned_by_others(node)]
        if need.drain and others and len(shut) == len(others) and movers(view, name):
            sentence = (
                f"every node that could take its pods is cordoned ({', '.join(shut)}): give one back first "
                "(kubectl uncordon)."
            )
            yield Finding(name, "no_room", sentence)


def unread(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name in view.known:
        for problem in view.host(name).get("problems") or []:
            yield Finding(name, "unread", str(problem), False)


def small_etcd(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    if len(view.masters) < 3 and any(need.kubeadm != "none" for name, need in needs.items() if view.is_master(name)):
        count = "one master" if len(view.masters) == 1 else "two masters"
        sentence = f"with {count} the API is away for a while as its etcd and API server restart; running pods go on."
        yield Finding("", "api_away", sentence, False)


def controller(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    """Ansible itself may run on a machine, or in a pod, that this upgrade touches."""
    me = view.request.controller
    for name in view.known:
        if me.get("machine_id") and view.host(name).get("machine_id") == me["machine_id"] and not needs[name].done:
            sentence = "Ansible runs on this very node; the upgrade does not reboot it, and its processes go on."
            yield Finding(name, "controller", sentence, False)
    if not me.get("in_pod") or not me.get("hostname"):
        return
    for pod in view.cluster.pods:
        if pod["metadata"]["name"] != me["hostname"] and pod.get("spec", {}).get("hostname") != me["hostname"]:
            continue
        for name, need in needs.items():
            if view.node_name(name) != pod.get("spec", {}).get("nodeName"):
                continue
            where = f"Ansible runs in the pod {pod['metadata']['namespace']}/{pod['metadata']['name']} on this node"
            if need.drain:
                sentence = f"{where}, and the drain would evict it, and end the run: start it from outside this node."
                yield Finding(name, "controller", sentence)
            elif not need.done:
                yield Finding(name, "controller", f"{where}; the node is not drained, so it goes on.", False)
