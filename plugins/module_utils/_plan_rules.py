# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What an upgrade is refused for, and warned of, before anything is changed. One small function a rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._drain import read_pod
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm import CONTROL_PLANE
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_drain import movers
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_needs import Needs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Finding, View
from ansible_collections.clustercare.kubeadm.plugins.module_utils._traps import REFUSE, Surroundings, find_traps
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse_or_none

_MIB = 1024 * 1024
_BEHIND = 3  # minors that a kubelet may be older than its API server


# ------------------------------------------------------------------------------------- which cluster is it


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


# ------------------------------------------------------------------------------------- the inventory


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


# ------------------------------------------------------------------------------------- versions


def minor_skipped(view: View) -> Iterator[Finding]:
    target = view.target
    for name, version in view.api_servers().items():
        if target.major == version.major and target.minor > version.minor + 1:
            sentence = (
                f"the API server runs {version}; {target} would skip {version.major}.{version.minor + 1}. kubeadm goes "
                f"one minor at a time: upgrade to {version.major}.{version.minor + 1} first."
            )
            yield Finding(name, "minor_skipped", sentence)


def downgrade(view: View) -> Iterator[Finding]:
    target = view.target
    for name in view.known:
        seen = [(view.api_server(name), "API server"), (view.kubelet(name), "kubelet")]
        for version, what in seen:
            if version and version > target:
                sentence = (
                    f"the {what} runs {version}; {target} would be a downgrade, which Kubernetes does not support."
                )
                yield Finding(name, "downgrade", sentence)
                break


def api_servers_apart(view: View) -> Iterator[Finding]:
    versions = view.api_servers()
    if not versions:
        return
    oldest = min(versions, key=lambda name: versions[name])
    newest = max(versions, key=lambda name: versions[name])
    if versions[newest].minor - versions[oldest].minor > 1:
        sentence = (
            f"the API server runs {versions[oldest]}, that of {newest} runs {versions[newest]}: API servers may be one "
            f"minor apart at most. Bring {oldest} up first."
        )
        yield Finding(oldest, "api_servers_apart", sentence)


def kubelet_newer(view: View) -> Iterator[Finding]:
    servers = view.api_servers()
    if not servers:
        return
    oldest = min(servers, key=lambda name: servers[name])
    for name in view.known:
        kubelet = view.kubelet(name)
        # A master's kubelet follows its own API server: half-way through, the other masters are older than both.
        own = servers.get(name)
        server, where = (own, name) if own else (servers[oldest], oldest)
        if kubelet and kubelet.series > server.series:
            sentence = (
                f"the kubelet runs {kubelet}, newer than the API server of {where} ({server}): a kubelet may never be "
                "newer than an API server."
            )
            yield Finding(name, "kubelet_newer", sentence)


def kubelet_too_old(view: View) -> Iterator[Finding]:
    for name in view.known:
        kubelet = view.kubelet(name)
        if kubelet and view.target.minor - kubelet.minor > _BEHIND:
            sentence = (
                f"the kubelet runs {kubelet}, more than {_BEHIND} minors behind {view.target}: API servers at the "
                "target would no longer work with it. Bring this node up first."
            )
            yield Finding(name, "kubelet_too_old", sentence)


def binaries(view: View) -> Iterator[Finding]:
    """Without package management the machine's image must carry the target already."""
    if view.request.manage_packages:
        return
    for name in view.known:
        for binary in ("kubeadm", "kubelet"):
            installed = (view.host(name).get(binary) or {}).get("installed")
            if parse_or_none(installed) != view.target:
                sentence = (
                    f"{binary} is {installed or 'missing'}, not {view.target}, and upgrade_manage_packages is "
                    "false: put the target's binaries into the machine's image, or let this playbook manage packages."
                )
                yield Finding(name, "binaries", sentence)


# ------------------------------------------------------------------------------------- health and room


def not_kubeadm(view: View) -> Iterator[Finding]:
    if view.cluster.kubeadm_config is None and not view.cluster.error:
        yield Finding("", "not_kubeadm", "there is no ConfigMap kubeadm-config in kube-system: not a kubeadm cluster.")
    for name in view.masters:
        if name not in view.known or view.host(name).get("role") != "master":
            continue
        missing = [c for c in CONTROL_PLANE if not (view.host(name).get("static_pods") or {}).get(c)]
        if missing:
            sentence = (
                f"there is no manifest of {' and '.join(missing)} in /etc/kubernetes/manifests: put it back first."
            )
            yield Finding(name, "control_plane", sentence)


def not_ready(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name in view.known:
        node = view.node(name)
        why = view.not_ready(node) if node else None
        if why:
            yield _unless_ours(view, needs, name, "not_ready", f"the node is not Ready: {why.rstrip('.')}.")


def control_plane_down(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    for name in view.masters:
        host = view.host(name)
        pods = host.get("static_pods") or {}
        dead = [component for component in sorted(pods) if (pods[component] or {}).get("running") is False]
        if dead:
            sentence = f"{' and '.join(dead)} should run there (the manifest is in place) but does not."
            yield _unless_ours(view, needs, name, "control_plane", sentence)
        silent = _silent(view, name)
        if silent and "kube-apiserver" not in dead:
            yield _unless_ours(view, needs, name, "control_plane", silent)


def _silent(view: View, name: str) -> Optional[str]:
    answer = view.host(name).get("api") or {}
    if answer.get("reachable") is not False:
        return None
    said = f": {str(answer['error']).rstrip('.')}" if answer.get("error") else ""
    return f"the API server there ({view.api_address(name)}) does not answer{said}."


def unreached(view: View) -> Iterator[Finding]:
    """The gate after each master asks its own API server, past any load balancer: it would wait in vain."""
    for name, why in view.cluster.unreached.items():
        sentence = (
            f"its API server answers on the host, but not when asked from where the API is spoken to "
            f"({view.api_address(name)}: {why.rstrip('.')}), and each upgraded master is proven so: open the way, or "
            "set kubeadm_api_host to a host that can reach every master."
        )
        yield Finding(name, "unreached", sentence)


def silent_masters(view: View) -> Iterator[Finding]:
    """Why there may be no API to ask; said when nothing else can be."""
    for name in view.masters:
        sentence = _silent(view, name)
        if sentence:
            yield Finding(name, "control_plane", sentence)


def sick_etcd(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    said: dict[str, str] = {}
    for name in view.masters:
        for problem in (view.request.etcd.get(name) or {}).get("problems") or []:
            said.setdefault(str(problem), name)  # every member tells of the same sick one
    for problem, name in said.items():
        yield _unless_ours(view, needs, name, "etcd", f"etcd is not well: {problem.rstrip('.')}.", anywhere=True)


def _unless_ours(
    view: View, needs: dict[str, Needs], name: str, rule: str, sentence: str, anywhere: bool = False
) -> Finding:
    """A refusal, but only a warning where our own unfinished run to this target left the host as it is."""
    suspects = view.masters if anywhere else [name]
    ours = [one for one in suspects if one in needs and needs[one].unfinished]
    if rule != "not_ready":
        # A control plane that kubeadm has finished must run; only the kubelet is still to come there.
        ours = [one for one in ours if not view.step_recorded(one, "kubeadm")]
    if not ours:
        return Finding(name, rule, sentence)
    return Finding(name, rule, f"{sentence} An unfinished run of ours left {ours[0]} so: it is worked on first.", False)


def disk(view: View, needs: dict[str, Needs]) -> Iterator[Finding]:
    """kubeadm copies etcd's data below /etc/kubernetes; images and packages need room too."""
    for name, need in needs.items():
        free = view.host(name).get("disk") or {}
        asked: dict[str, tuple[int, str]] = {}
        if need.kubeadm != "none" and view.host(name).get("etcd"):  # an external one is not copied
            database = int((view.host(name).get("etcd") or {}).get("db_size") or 0)
            asked["/etc/kubernetes"] = (database + 600 * _MIB, "kubeadm's copy of etcd's data")
        if need.images:
            asked["/var/lib/containerd"] = ((1024 if view.is_master(name) else 400) * _MIB, "the new images")
        for path, (wanted, purpose) in asked.items():
            room = free.get(path)
            if room is not None and int(room) < wanted:
                sentence = (
                    f"{path} has {int(room) // _MIB} MiB free, but {purpose} may take {wanted // _MIB} MiB: make room "
                    "there."
                )
                yield Finding(name, "disk", sentence)


# ------------------------------------------------------------------------------------- what else may hurt


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


def begun(view: View) -> Iterator[Finding]:
    """The cluster's configuration is ahead of every API server and of the target: a newer upgrade is half done."""
    ahead = [version for version in view.api_servers().values() if version > view.target]
    if view.configured and view.configured > view.target and not ahead:
        sentence = (
            f"the ConfigMap kubeadm-config says {view.configured}; {view.target} would be a downgrade. An upgrade to "
            f"{view.configured} was begun: finish it with that version."
        )
        yield Finding("", "downgrade", sentence)


def open_run(view: View) -> Iterator[Finding]:
    """One run at a time: half of the cluster on its way to one version, half to another, is nobody's wish."""
    for name, run in view.open_runs().items():
        if parse_or_none(run["target"]) != view.target:
            since = f", begun {run['begun']}" if run["begun"] else ""
            sentence = (
                f"an upgrade to {run['target']} is open there (run {run['run']}{since}, last at its step "
                f"{run['phase']}), so none to {view.target} is begun. Finish it with -e kubernetes_version="
                f"{run['target']}, or give it up with -e upgrade_abort=true."
            )
            yield Finding(name, "open_run", sentence)


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
