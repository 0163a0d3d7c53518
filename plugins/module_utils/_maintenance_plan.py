# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a maintenance will do to which node, in which order, and what stands in its way. No input or output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._conditions import is_ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import Cordon, read_cordon
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import host_port
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan import batch_size

PURPOSE = "maintenance"
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What the person asked for; ``wish`` is all that makes it the same command again."""

    run: str
    targets: list[str]
    masters: list[str]
    wish: Json
    max_unavailable: str = "1"
    min_healthy: str = "51%"
    allow_outage: bool = False
    fresh: bool = False

    @property
    def reboot(self) -> str:
        return str(self.wish.get("reboot"))


@dataclass(frozen=True)
class View:
    """What was found, by inventory host; ``nodes`` are the API's."""

    request: Request
    hosts: Mapping[str, Json]
    records: Mapping[str, Json]
    packages: Mapping[str, Json]
    etcd: Mapping[str, Json]
    nodes: list[Json]
    uid: str
    controller: Json = field(default_factory=dict)
    pods: list[Json] = field(default_factory=list)

    def node_name(self, host: str) -> Optional[str]:
        """The Node that a host is, by its kubelet's certificate."""
        return (self.hosts.get(host) or {}).get("node_name")

    def node(self, host: str) -> Json:
        """Its object; empty when there is none."""
        return next((node for node in self.nodes if node["metadata"]["name"] == self.node_name(host)), {})

    def cordon(self, host: str) -> Cordon:
        return read_cordon(self.node(host))

    @property
    def workers(self) -> list[Json]:
        """The cluster's, whether or not they are in the inventory."""
        return [node for node in self.nodes if _CONTROL_PLANE not in (node["metadata"].get("labels") or {})]

    @property
    def limit(self) -> int:
        """How many workers may be out of service at once."""
        return batch_size(self.request.max_unavailable, len(self.workers))


def decide(view: View) -> Json:
    """The plan. With refusals in it, nothing may be done."""
    request = view.request
    maintenance, resumed = _which(view)
    hosts = {host: _host(view, host, maintenance) for host in request.targets}
    # What is out of service already comes first: it is in the way of the others.
    todo = sorted(
        (h for h in request.targets if hosts[h]["todo"]),
        key=lambda h: (not hosts[h]["unfinished"], is_ready(view.node(h))),
    )
    workers = [host for host in todo if host not in request.masters]
    room = max(1, view.limit - len(_others_out(view, request.targets)))
    refusals = [*impossible(view), *(why for host in todo for why in outage(view, host)), *out_of_service(view)]
    refusals += no_room(view, workers[:room])
    plan: Json = {
        "maintenance": maintenance,
        "resumed": resumed,
        "order": {
            "masters": [host for host in todo if host in request.masters],
            "workers": workers,
            "max_unavailable": room,
        },
        "hosts": hosts,
        "nothing_to_do": not todo,
        "refusals": refusals,
        "api_servers": list(api_servers(view).values()),
    }
    plan["text"] = render(plan)
    return plan


def gate(view: View, batch: list[str]) -> list[str]:
    """What stands in the way of taking these hosts out of service now, in words."""
    lost = (why for host in batch for why in outage(view, host))
    return [*out_of_service(view), *no_room(view, [h for h in batch if h not in view.request.masters]), *lost]


def _which(view: View) -> tuple[str, bool]:
    """The maintenance that this is: one with the same wish that left something undone, else a new one."""
    for host in [] if view.request.fresh else view.request.targets:
        record = (view.records.get(host) or {}).get("record") or {}
        if record.get("wish") == view.request.wish and "finished" not in record["steps"]:
            maintenance = str(record["maintenance"])
            if _host(view, host, maintenance)["todo"]:
                return maintenance, True
    return view.request.run, False


def _host(view: View, host: str, maintenance: str) -> Json:
    looked = view.records.get(host) or {}
    record = looked.get("record") or {}
    ours = record.get("maintenance") == maintenance
    steps = record.get("steps", {}) if ours else {}
    cordon, wish = view.cordon(host), view.request.wish
    reboot = looked.get("reboot") or {}
    rebooted = ours and bool(reboot.get("done"))
    finished = "finished" in steps
    # Given back already: only what has to become true afterwards is left.
    returned = "returned" in steps and not cordon.is_ours(PURPOSE)
    why = []
    if not finished and not returned:
        upgradable = (view.packages.get(host) or {}).get("packages") or []
        if wish.get("tasks") and "worked" not in steps:
            why.append(f"tasks: {', '.join(str(name).rsplit('/', 1)[-1] for name in wish['tasks'])}")
        if upgradable and "worked" not in steps:
            why.append(f"{len(upgradable)} package{'s' if len(upgradable) > 1 else ''} to upgrade")
        if wish.get("reboot") == "always" and not rebooted:
            why.append("reboot")
        elif wish.get("reboot") == "if_needed" and reboot.get("needed") and not rebooted:
            why.append(f"reboot ({'; '.join(reboot['reasons'])})")
    # What a run left in the middle is finished, even if nothing but giving it back is left to do.
    unfinished = cordon.is_ours(PURPOSE) or (not finished and bool(set(steps) - {"begun"}))
    if unfinished and not why:
        why.append("wait for its hooks" if returned else "give it back")
    return {
        "node": view.node_name(host),
        "role": "master" if host in view.request.masters else "worker",
        "todo": bool(why),
        "why": why,
        "unfinished": unfinished,
        "finished": finished,
        "worked": "worked" in steps,
        "returned": returned,
        "rebooted": rebooted,
        "cordon": cordon.data(),
        "kept_cordon": str(cordon) if cordon.cordoned and not cordon.is_ours(PURPOSE) else None,
    }


# --- what stands in the way -------------------------------------------------------------------------------------


def impossible(view: View) -> Iterator[str]:
    """What no waiting would change."""
    for host, found in view.hosts.items():
        uid = (found.get("api") or {}).get("kube_system_uid")
        if uid and view.uid and uid != view.uid:
            yield f"{host} belongs to another cluster than the one that the kubeconfig speaks to."
    for host in view.request.targets:
        if host not in view.hosts:
            yield f"{host} could not be looked at."
        elif not view.node_name(host):
            yield f"{host} is no node of a cluster: its kubelet has no client certificate."
        elif not view.node(host):
            yield f"There is no node {view.node_name(host)} in the cluster, which {host} should be."
        else:
            yield from _another_node(view, host)
            yield from _own_seat(view, host)


def _another_node(view: View, host: str) -> Iterator[str]:
    """Which Node it is, a host says itself, and one that lies would have another one drained."""
    name = view.node_name(host)
    for other in view.hosts:
        if other != host and view.node_name(other) == name:
            yield (
                f"{host} and {other} both say that they are the node {name}: it is one machine with two names, "
                "or one of them cannot be trusted."
            )
    if host not in view.request.masters and view.node(host) not in view.workers:
        yield f"{host} says that it is the node {name}, which is a master, but it is not in the group of masters."


def _own_seat(view: View, host: str) -> Iterator[str]:
    """Ansible itself may run on the node."""
    me = view.controller
    same = bool(me.get("machine_id")) and view.hosts[host].get("machine_id") == me["machine_id"]
    if same and not me.get("in_pod") and view.request.reboot != "never":
        yield f"Ansible runs on {host} itself, and a reboot would end the run: start it from another machine."
    for pod in view.pods if me.get("in_pod") else []:
        spec = pod.get("spec") or {}
        here = spec.get("nodeName") == view.node_name(host)
        if here and me.get("hostname") in (pod["metadata"]["name"], spec.get("hostname")):
            yield f"Ansible runs in a pod on {host}, which the drain would evict: start it from outside of this node."


def out_of_service(view: View) -> Iterator[str]:
    """How much of the cluster is missing already."""
    names = [str(node["metadata"]["name"]) for node in view.nodes]
    down = sorted(str(node["metadata"]["name"]) for node in view.nodes if not is_ready(node))
    share = share_of(view.request.min_healthy)
    if names and (len(names) - len(down)) * 100 < share * len(names):
        yield (
            f"Only {len(names) - len(down)} of {len(names)} nodes are Ready, and {share} % have to be (variable "
            f"maintenance_min_healthy); not Ready: {', '.join(down)}."
        )
    targets = {view.node_name(host) for host in view.request.targets}
    for node in view.nodes:
        cordon = read_cordon(node)
        if cordon.is_ours(PURPOSE) and node["metadata"]["name"] not in targets:
            yield (
                f"Node {node['metadata']['name']} is out of service {cordon}, and not among maintenance_nodes. "
                "Finish it first by the command with which it was begun."
            )


def no_room(view: View, batch: list[str]) -> Iterator[str]:
    """Other workers that are out of service count, too."""
    others = _others_out(view, batch)
    if batch and others and len(others) + len(batch) > view.limit:
        yield (
            f"Out of service already: {', '.join(others)}. With {', '.join(batch)} that would be "
            f"{len(others) + len(batch)} workers, and {view.limit} may be (variable maintenance_max_unavailable)."
        )


def _others_out(view: View, batch: list[str]) -> list[str]:
    """Workers that nobody can count on, in words. One that we have out comes back; a cordoned target was meant."""
    ours = {view.node_name(host) for host in batch}
    targets = {view.node_name(host) for host in view.request.targets}
    found = []
    for node in view.workers:
        name, cordon = str(node["metadata"]["name"]), read_cordon(node)
        if name in ours or cordon.is_ours(PURPOSE):
            continue
        if not is_ready(node):
            found.append(f"{name} (not Ready)")
        elif cordon.cordoned and name not in targets:
            found.append(f"{name} (cordoned {cordon})")
    return found


def outage(view: View, host: str) -> Iterator[str]:
    """What the cluster loses with a master."""
    if host not in view.request.masters or view.request.allow_outage:
        return
    word = "Set maintenance_allow_outage=true to do it all the same"
    answering = [name for name in view.request.masters if (view.hosts.get(name, {}).get("api") or {}).get("reachable")]
    others = [name for name in answering if name != host]
    if not others:
        yield f"No API server but that of {host} answers: the API would be away meanwhile. {word}."
        return
    if "etcd" not in (view.hosts.get(host, {}).get("static_pods") or {}):
        return
    told = view.etcd.get(host) or next((view.etcd[name] for name in others if name in view.etcd), {})
    members = [member for member in told.get("members") or [] if not member.get("learner")]
    own = {view.node_name(host), view.hosts[host].get("hostname")}
    left = sum(bool(m["healthy"]) for m in members if not (m.get("local") if host in view.etcd else m["name"] in own))
    if not members:
        yield f"etcd could not be asked how it is, so {host} stays in service."
    elif left < len(members) // 2 + 1:
        yield (
            f"Without {host}, etcd would have {left} healthy of {len(members)} members and lose its quorum, "
            f"which needs {len(members) // 2 + 1}. {word}."
        )


def share_of(written: str) -> int:
    """``51%`` or ``51`` -> 51."""
    number = str(written).strip().rstrip("%").strip()
    if not number.isdigit() or int(number) > 100:
        raise CareError(f"min_healthy is '{written}'; it must be a share of all nodes, from 0% to 100%.")
    return int(number)


def api_servers(view: View) -> dict[str, str]:
    """By master, its own API server, as the gates ask it past any load balancer."""
    found = {name: (view.hosts.get(name) or {}).get("api") for name in view.request.masters}
    return {name: host_port(api["address"], api["port"]) for name, api in found.items() if api}


def with_answers(view: View, answers: Mapping[str, bool]) -> View:
    """The view with what the masters' API servers answer now: their hosts were looked at when the run began."""
    hosts = dict(view.hosts)
    for name, answered in answers.items():
        hosts[name] = {**hosts[name], "api": {**hosts[name]["api"], "reachable": answered}}
    return replace(view, hosts=hosts)


# --- in words ---------------------------------------------------------------------------------------------------


def render(plan: Json) -> str:
    """The plan for people."""
    order, hosts = plan["order"], plan["hosts"]
    lines = [f"Maintenance {plan['maintenance']}" + (", which an earlier run began" if plan["resumed"] else "")]
    for kind, how in (("masters", "one by one"), ("workers", f"{order['max_unavailable']} at a time")):
        if order[kind]:
            lines.append(f"  {kind}, {how}:")
        for host in order[kind]:
            lines.append(f"    {host}: {', '.join(hosts[host]['why'])}")
            if hosts[host]["kept_cordon"]:
                lines.append(f"      is cordoned {hosts[host]['kept_cordon']}, and stays so afterwards")
    rest = {name: hosts[name]["finished"] for name in hosts if not hosts[name]["todo"]}
    done, idle = [n for n in rest if rest[n]], [n for n in rest if not rest[n]]
    again = "maintenance_fresh=true does them again"
    lines += [f"  done already ({again}): {', '.join(done)}"] if done else []
    lines += [f"  nothing to do: {', '.join(idle)}"] if idle else []
    lines += [f"  REFUSED: {why}" for why in plan["refusals"]]
    return "\n".join(lines)
