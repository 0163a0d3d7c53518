# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan of an upgrade: every refusal, every decision about what a host still needs, the order, the words."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Callable, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan import batch_size, make_plan
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Cluster, Identity, Request

OLD, NEW = "1.34.4", "1.35.4"
CA, UID = "a" * 64, "11111111-aaaa"
OTHER_CA, OTHER_UID = "b" * 64, "22222222-bbbb"
MIB = 1024 * 1024
PACKAGES = ("kubeadm", "kubelet", "kubectl")
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


class World:
    """A healthy cluster on which a test changes the one thing that it is about."""

    def __init__(self, masters: int = 1, workers: int = 2, version: str = OLD) -> None:
        self.masters = [f"cp{n}" for n in range(1, masters + 1)]
        self.workers = [f"w{n}" for n in range(1, workers + 1)]
        self.hosts = {name: self._host(name, version) for name in self.masters + self.workers}
        self.nodes = {name: self._node(name, version) for name in self.hosts}
        self.packages = {
            name: {
                "available": ["1.35.0-1.1", "1.35.4-1.1"],
                "error": None,
                "repository": {"uri": "packages.example.org"},
            }
            for name in self.hosts
        }
        self.pods: list[dict[str, Any]] = []
        self.proxy(version)
        self.budgets: list[dict[str, Any]] = []
        self.request: dict[str, Any] = {"version": NEW}
        self.cluster: dict[str, Any] = {
            "identity": Identity("The kubeconfig", "https://api.example.org:6443", (CA,)),
            "uid": UID,
            "version": f"v{version}",
            "kubeadm_config": {"clusterName": "kubernetes", "kubernetesVersion": f"v{version}"},
            "kubelet_config": {"failCgroupV1": True},
        }

    def _host(self, name: str, version: str) -> dict[str, Any]:
        master = name in self.masters
        return {
            "node_name": name,
            "role": "master" if master else "worker",
            "machine_id": f"id-of-{name}",
            "cgroup": 2,
            "runtime": {"name": "containerd", "version": "2.1.5"},
            "kubelet": {"installed": version, "running": version, "stale": False, "fail_cgroup_v1": None, "flags": []},
            "kubeadm": {"installed": version},
            "packages": {
                "manager": "apt",
                "installed": {"kubernetes-cni": "1.7.1-1.1", **dict.fromkeys(PACKAGES, f"{version}-1.1")},
                "interrupted": False,
            },
            "static_pods": {c: {"version": version, "running": True, "flags": []} for c in COMPONENTS if master},
            "ca_sha256": CA,
            "api": {"address": f"10.80.0.1{name[-1]}", "port": 6443, "reachable": True, "version": f"v{version}",
                    "kube_system_uid": UID, "error": None} if master else None,
            "etcd": {"version": "3.6.5", "db_size": 20 * MIB} if master else None,
            "disk": {"/etc/kubernetes": 9000 * MIB, "/var/lib/containerd": 9000 * MIB},
            "record": None,
            "busy": [],
            "kubeadm_patches_fail_cgroup_v1": False,
        }  # fmt: skip

    def _node(self, name: str, version: str) -> dict[str, Any]:
        master = name in self.masters
        taint = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
        return {
            "metadata": {
                "name": name,
                "labels": {"node-role.kubernetes.io/control-plane": ""} if master else {},
                "annotations": {},
            },
            "spec": {"taints": taint} if master else {},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"kubeletVersion": f"v{version}"},
            },
        }

    # ---- things that happen to it

    def at(self, name: str, control_plane: Optional[str] = None, kubelet: Optional[str] = None) -> World:
        host = self.hosts[name]
        if control_plane:
            for component in COMPONENTS:
                host["static_pods"][component]["version"] = control_plane
            host["api"]["version"] = f"v{control_plane}"
        if kubelet:
            host["kubelet"]["running"] = kubelet
            host["packages"]["installed"].update(dict.fromkeys(PACKAGES, f"{kubelet}-1.1"))
            self.nodes[name]["status"]["nodeInfo"]["kubeletVersion"] = f"v{kubelet}"
        return self

    def configured(self, version: str) -> World:
        self.cluster["kubeadm_config"]["kubernetesVersion"] = f"v{version}"
        return self

    def proxy(self, version: str) -> World:
        container = {"name": "kube-proxy", "image": f"registry.example.org/kube-proxy:v{version}"}
        meta = {"namespace": "kube-system", "name": "kube-proxy", "uid": "of-kube-proxy"}
        self.daemonsets = [{"metadata": meta, "spec": {"template": {"spec": {"containers": [container]}}}}]
        return self

    def recorded(self, name: str, *steps: str, target: str = NEW) -> World:
        done = {step: {"target": target, "finished": f"2026-01-01T00:0{n}:00Z"} for n, step in enumerate(steps)}
        self.hosts[name]["record"] = {"target": target, "run": "r1", "steps": done}
        return self

    def begun(self, name: str, target: str, phase: str = "images") -> World:
        begun = {"target": target, "run": "r1", "begun": "2026-01-01T00:00:00Z", "phase": phase, "steps": {}}
        self.hosts[name]["record"] = begun
        return self

    def cordoned(self, name: str, by: Optional[str]) -> World:
        self.nodes[name]["spec"]["unschedulable"] = True
        if by:
            self.nodes[name]["metadata"]["annotations"]["clustercare.io/cordon"] = f'{{"owner": "{by}"}}'
        return self

    def down(self, name: str) -> World:
        self.nodes[name]["status"]["conditions"] = [
            {"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}
        ]
        return self

    def pod(self, name: str, node: str, **more: Any) -> World:
        namespace, short = name.split("/")
        owner = {
            "apiVersion": "apps/v1",
            "kind": more.pop("owner", "ReplicaSet"),
            "name": "x",
            "uid": "x",
            "controller": True,
        }
        self.pods.append(
            {
                "metadata": {
                    "namespace": namespace,
                    "name": short,
                    "uid": name,
                    "labels": more.pop("labels", {}),
                    "ownerReferences": [owner] if owner["kind"] else [],
                },
                "spec": {"nodeName": node, **more},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            }
        )
        return self

    def budget(self, name: str, labels: dict[str, str], allowed: int) -> World:
        namespace, short = name.split("/")
        self.budgets.append(
            {
                "metadata": {"namespace": namespace, "name": short},
                "spec": {"selector": {"matchLabels": labels}},
                "status": {
                    "disruptionsAllowed": allowed,
                    "desiredHealthy": 2,
                    "currentHealthy": 2 + allowed,
                    "expectedPods": 2 + allowed,
                },
            }
        )
        return self

    def plan(self) -> dict[str, Any]:
        request = {
            "masters": self.masters,
            "workers": self.workers,
            "hosts": self.hosts,
            "packages": self.packages,
            **self.request,
        }
        cluster: dict[str, Any] = {
            "nodes": list(self.nodes.values()),
            "pods": self.pods,
            "budgets": self.budgets,
            "daemonsets": self.daemonsets,
        }
        cluster.update(self.cluster)
        return make_plan(Request(**request), Cluster(**cluster))


def change(path: str, value: Any) -> Callable[[World], None]:
    """Set one fact: 'hosts.w1.cgroup'. Versions have dots too, so the path is split from the left only."""

    def apply(world: World) -> None:
        first, *steps, last = path.split(".")
        here = getattr(world, first)
        for step in steps:
            here = here[step]
        here[last] = value

    return apply


def drop(path: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        first, *steps, last = path.split(".")
        here = getattr(world, first)
        for step in steps:
            here = here[step]
        del here[last]

    return apply


def call(method: str, *args: Any, **more: Any) -> Callable[[World], None]:
    def apply(world: World) -> None:
        getattr(world, method)(*args, **more)

    return apply


def identity(**changes: Any) -> Callable[[World], None]:
    def apply(world: World) -> None:
        world.cluster["identity"] = replace(world.cluster["identity"], **changes)

    return apply


def other_machine(name: str, old: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        world.hosts[name] = copy.deepcopy(world.hosts[old])

    return apply


def without_host(name: str) -> Callable[[World], None]:
    """The inventory does not know this node of the cluster."""

    def apply(world: World) -> None:
        del world.hosts[name]
        for group in (world.masters, world.workers):
            if name in group:
                group.remove(name)

    return apply


def both(*changes: Callable[[World], None]) -> Callable[[World], None]:
    def apply(world: World) -> None:
        for one in changes:
            one(world)

    return apply


def test_a_healthy_cluster_is_refused_nothing() -> None:
    plan = World().plan()

    assert plan["refusals"] == []
    assert plan["target"] == NEW
    assert plan["package_versions"] == {"cp1": "1.35.4-1.1", "w1": "1.35.4-1.1", "w2": "1.35.4-1.1"}
    assert plan["package_version"] == {"apt": "1.35.4-1.1"}
    assert not plan["nothing_to_do"]


# Each row: what is wrong, on which host it is said, which rule, and words that the sentence must have.
REFUSED: list[tuple[str, Callable[[World], Any], str, str, list[str]]] = [
    ("minor skipped", change("request.version", "1.36.0"), "cp1", "minor_skipped", [OLD, "1.36.0", "1.35 first"]),
    ("downgrade", change("request.version", "1.34.3"), "w1", "downgrade", [OLD, "1.34.3", "downgrade"]),
    ("downgrade by a minor", change("request.version", "1.33.9"), "cp1", "downgrade", [OLD, "1.33.9"]),
    ("an upgrade to more was begun", call("configured", "1.35.6"), "", "downgrade", ["1.35.6", NEW, "kubeadm-config"]),
    ("kubelet newer than the API", call("at", "w1", kubelet="1.35.1"), "w1", "kubelet_newer", ["1.35.1", OLD, "cp1"]),
    ("kubelet too old", call("at", "w2", kubelet="1.31.9"), "w2", "kubelet_too_old", ["1.31.9", NEW, "3 minors"]),
    ("unknown package", change("request.version", "1.35.9"), "w1", "package", ["1.35.9", "1.35.4-1.1"]),
    ("repository failed", change("packages.w1", {"error": "w1's repository cannot be reached."}), "w1", "package",
     ["repository cannot be reached"]),
    ("package never asked for", drop("packages.w2"), "w2", "package", ["was not asked"]),
    ("unreachable", both(change("request.unreachable", ["w1"]), drop("hosts.w1")), "w1", "unreachable", ["reached"]),
    ("run with --limit", drop("hosts.w1"), "", "limit", ["w1", "--limit"]),
    ("no kubelet certificate", change("hosts.w1.node_name", None), "w1", "not_a_node", ["no node"]),
    ("node unknown to the API", change("hosts.w1.node_name", "w9"), "w1", "not_a_node", ["w9"]),
    ("one machine, two names", other_machine("w2", "w1"), "w2", "not_a_node", ["w1", "two names"]),
    ("node in no group", without_host("w2"), "w2", "node_in_no_group", ["no group"]),
    ("worker among the masters", change("hosts.cp1.role", "worker"), "cp1", "wrong_group", ["masters"]),
    ("master among the workers", change("hosts.w1.role", "master"), "w1", "wrong_group", ["workers"]),
    ("NotReady", call("down", "w1"), "w1", "not_ready", ["Kubelet stopped posting"]),
    ("sick etcd", change("request.etcd", {"cp1": {"problems": ["member cp2 is not started"]}}), "cp1", "etcd",
     ["member cp2 is not started"]),
    ("little disk", change("hosts.cp1.disk", {"/etc/kubernetes": 90 * MIB}), "cp1", "disk", ["/etc/kubernetes", "90"]),
    ("no kubectl", change("hosts.w1.kubectl", {"installed": None}), "w1", "no_kubectl", ["install it"]),
    ("manifest gone", drop("hosts.cp1.static_pods.kube-scheduler"), "cp1", "control_plane", ["kube-scheduler"]),
    ("scheduler dead", change("hosts.cp1.static_pods.kube-scheduler.running", False), "cp1", "control_plane",
     ["kube-scheduler", "does not"]),
    ("API server out of our reach", change("cluster.unreached", {"cp1": "no route"}), "cp1", "unreached",
     ["10.80.0.11:6443", "no route", "kubeadm_api_host"]),
    ("not kubeadm", change("cluster.kubeadm_config", None), "", "not_kubeadm", ["kubeadm-config"]),
    ("external etcd", change("cluster.kubeadm_config.etcd", {"external": {"endpoints": ["https://10.80.0.9:2379"]}}),
     "", "external_etcd", ["https://10.80.0.9:2379", "static pod"]),
    ("all errors ignored", change("request.ignore_preflight_errors", ["all"]), "", "ignore_all", ["all"]),
    ("unverified TLS", identity(verified=False), "", "tls", ["TLS", "https://api.example.org:6443"]),
    ("kubeconfig with another CA", identity(ca_sha256=(OTHER_CA,)), "", "identity",
     [OTHER_CA[:12], CA[:12], "https://api.example.org:6443", "10.80.0.11:6443", "kubeadm_kubeconfig"]),
    ("kubeconfig without a CA", identity(ca_sha256=()), "", "identity", ["not given", CA[:12]]),
    ("another kube-system", change("cluster.uid", OTHER_UID), "", "identity", [UID, OTHER_UID]),
    ("nobody can say which cluster", change("hosts.cp1.api.kube_system_uid", None), "", "identity", ["not proven"]),
    ("worker of another cluster", change("hosts.w1.ca_sha256", OTHER_CA), "w1", "identity", [OTHER_CA[:12]]),
    ("API away", change("cluster.error", "no answer within 60 s"), "", "api", ["no answer within 60 s"]),
    ("controller would be evicted", both(
        change("request.controller", {"in_pod": True, "hostname": "ansible-0"}), call("pod", "ops/ansible-0", "w1")),
     "w1", "controller", ["ops/ansible-0", "evict"]),
    ("old kubeadm without package management", both(
        change("request.manage_packages", False), change("hosts.cp1.kubelet.installed", NEW)),
     "cp1", "binaries", ["kubeadm", OLD, "upgrade_manage_packages"]),
    ("an upgrade to another version is open", call("begun", "w1", "1.35.0"), "w1", "open_run",
     ["1.35.0", NEW, "run r1", "2026-01-01T00:00:00Z", "kubernetes_version=1.35.0", "upgrade_abort=true"]),
    ("a trap", change("hosts.w1.cgroup", 1), "w1", "trap_cgroup_config", ["cgroup v1", "failCgroupV1"]),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "host", "rule", "words"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED])
def test_refusals(wrong: Callable[[World], Any], host: str, rule: str, words: list[str]) -> None:
    world = World()
    wrong(world)
    plan = world.plan()

    found = [refusal for refusal in plan["refusals"] if (refusal["host"], refusal["rule"]) == (host, rule)]
    assert found, plan["refusals"]
    for word in words:
        assert word in found[0]["message"]
    assert not plan["nothing_to_do"]
    assert "REFUSED" in plan["text"].splitlines()[2]


@pytest.mark.parametrize(
    ("wrong", "host", "rule", "words"),
    [
        pytest.param(without_host("cp3"), "cp3", "fewer_masters", ["3 masters", "names 2"], id="a master is missing"),
        pytest.param(
            call("at", "cp3", control_plane="1.33.2"),
            "cp3",
            "api_servers_apart",
            ["1.33.2", "1.35.1", "cp1"],
            id="apart",
        ),
        pytest.param(
            change("hosts.cp2.ca_sha256", OTHER_CA), "", "identity", ["cp1", "cp2", OTHER_CA[:12]], id="two CAs"
        ),
        pytest.param(
            change("hosts.cp2.api.kube_system_uid", OTHER_UID),
            "",
            "identity",
            ["cp2", OTHER_UID],
            id="two kube-systems",
        ),
        pytest.param(
            change("hosts.cp2.api.reachable", False),
            "cp2",
            "control_plane",
            ["10.80.0.12:6443"],
            id="one API server away",
        ),
    ],
)
def test_refusals_with_several_masters(wrong: Callable[[World], Any], host: str, rule: str, words: list[str]) -> None:
    world = World(masters=3).at("cp1", control_plane="1.35.1")
    wrong(world)

    found = [refusal for refusal in world.plan()["refusals"] if (refusal["host"], refusal["rule"]) == (host, rule)]
    assert found
    for word in words:
        assert word in found[0]["message"]


def test_an_ipv6_api_server_can_be_asked_as_the_plan_names_it() -> None:
    world = World()
    world.hosts["cp1"]["api"]["address"] = "fd00::11"

    assert world.plan()["api_servers"] == ["[fd00::11]:6443"]


def test_a_foreign_cluster_is_not_judged() -> None:
    world = World()
    world.cluster["identity"] = replace(world.cluster["identity"], ca_sha256=(OTHER_CA,))
    world.nodes = {}

    assert [refusal["rule"] for refusal in world.plan()["refusals"]] == ["identity"]


def test_several_certificates_in_the_kubeconfig() -> None:
    world = World()
    identity(ca_sha256=(OTHER_CA, CA))(world)

    assert world.plan()["refusals"] == []


# ------------------------------------------------------------------------------------------------ what a host needs


def needs(plan: dict[str, Any], name: str) -> str:
    """The steps of a host in words, such as 'packages images apply drain kubelet uncordon'."""
    steps = plan["hosts"][name]["needs"]
    return " ".join(
        str(value) if step == "kubeadm" else step for step, value in steps.items() if value not in (False, "none")
    )


WHOLE_MASTER = "packages images apply drain kubelet uncordon"
WHOLE_NODE = "packages images node drain kubelet uncordon"


def fresh() -> World:
    return World()


def killed_in_apply() -> World:
    """The static pods are new, upload-config has not run."""
    return World().at("cp1", control_plane=NEW).recorded("cp1", "images")


def killed_after_upload_config() -> World:
    """The cluster's configuration says the target, but kubeadm never ended: addons and post-upgrade are missing."""
    return killed_in_apply().configured(NEW)


def control_plane_done() -> World:
    return killed_after_upload_config().proxy(NEW).recorded("cp1", "images", "kubeadm")


def done() -> World:
    world = World(version=NEW)
    for name in world.hosts:
        world.recorded(name, "images", "kubeadm", "kubelet")
    return world


def done_without_record() -> World:
    return World(version=NEW)


def ha_half_way() -> World:
    """Three masters: the first is done, the second's static pods are new."""
    world = World(masters=3).at("cp1", control_plane=NEW, kubelet=NEW).recorded("cp1", "images", "kubeadm", "kubelet")
    return world.configured(NEW).at("cp2", control_plane=NEW).recorded("cp2", "images")


def ha_addons_missing() -> World:
    """All masters ended, but kube-proxy is old: somebody put it back, or the last master's record lies."""
    world = World(masters=3, version=NEW)
    for name in world.hosts:
        world.recorded(name, "kubeadm", "kubelet")
    return world.proxy(OLD)


def removed_flag_left() -> World:
    world = done()
    world.hosts["w1"]["kubelet"]["flags"] = [
        {"flag": "--pod-infra-container-image", "value": "x", "source": "/var/lib/kubelet/kubeadm-flags.env",
         "cleaned_by_kubeadm": True}
    ]  # fmt: skip
    return world


def killed_before_restart() -> World:
    """kubeadm ran again and wrote the kubelet's configuration; the kubelet of the target is older than it."""
    world = done().recorded("w1", "kubelet", "kubeadm")
    world.hosts["w1"]["kubelet"]["stale"] = True
    return world


def left_cordoned() -> World:
    return done().cordoned("w1", by="upgrade")


def packages_behind() -> World:
    world = done()
    world.hosts["w1"]["packages"]["installed"]["kubectl"] = "1.34.4-1.1"
    return world


def record_of_another_target() -> World:
    return killed_after_upload_config().recorded("cp1", "kubeadm", "kubelet", target="1.34.4")


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        (fresh, {"cp1": WHOLE_MASTER, "w1": WHOLE_NODE, "w2": WHOLE_NODE}),
        (killed_in_apply, {"cp1": WHOLE_MASTER, "w1": WHOLE_NODE}),
        (killed_after_upload_config, {"cp1": WHOLE_MASTER}),
        (record_of_another_target, {"cp1": WHOLE_MASTER}),
        (control_plane_done, {"cp1": "packages drain kubelet uncordon", "w1": WHOLE_NODE}),
        (done, {"cp1": "", "w1": "", "w2": ""}),
        (done_without_record, {"cp1": "", "w1": "", "w2": ""}),
        (ha_half_way, {"cp1": "", "cp2": WHOLE_NODE, "cp3": WHOLE_NODE, "w1": WHOLE_NODE}),
        (ha_addons_missing, {"cp1": "", "cp2": "", "cp3": "images node kubelet", "w1": ""}),
        (removed_flag_left, {"cp1": "", "w1": "images node kubelet", "w2": ""}),
        (killed_before_restart, {"cp1": "", "w1": "kubelet", "w2": ""}),
        (left_cordoned, {"cp1": "", "w1": "uncordon", "w2": ""}),
        (packages_behind, {"cp1": "", "w1": "packages", "w2": ""}),
    ],
)
def test_needs(world: Callable[[], World], expected: dict[str, str]) -> None:
    plan = world().plan()

    assert {name: needs(plan, name) for name in expected} == expected
    assert {name: plan["hosts"][name]["done"] for name in expected} == {n: not s for n, s in expected.items()}
    assert plan["refusals"] == []


@pytest.mark.parametrize("world", [done, done_without_record, lambda: done().cordoned("w1", by=None)])
def test_nothing_to_do_is_one_line(world: Callable[[], World]) -> None:
    plan = world().plan()

    assert plan["nothing_to_do"]
    assert plan["order"]["masters"] == [] and plan["order"]["workers"] == []
    assert (
        plan["text"] == f"Nothing to do: all 3 nodes of cluster kubernetes (kube-system {UID}) run Kubernetes {NEW}.\n"
    )


def test_a_patch_upgrade_needs_the_same_steps() -> None:
    assert needs(World(version="1.35.0").plan(), "cp1") == WHOLE_MASTER


def test_without_package_management_binaries_are_enough() -> None:
    world = World()
    world.request["manage_packages"] = False
    world.packages = {}
    for host in world.hosts.values():
        host["kubeadm"]["installed"] = host["kubelet"]["installed"] = NEW
    plan = world.plan()

    assert plan["refusals"] == []
    assert needs(plan, "w1") == "images node drain kubelet uncordon"


# ------------------------------------------------------------------------------------------------ which version


@pytest.mark.parametrize(
    ("asked", "offers", "target", "package"),
    [
        ("1.35", ["1.35.0-1.1", "1.35.10-1.1", "1.35.9-1.1", "1.36.0-1.1"], "1.35.10", "1.35.10-1.1"),
        ("1.35.4", ["1.35.4-1.1", "1.35.4-2.1"], "1.35.4", "1.35.4-2.1"),
        ("1.35.4-1.1", ["1.35.4-1.1", "1.35.4-2.1"], "1.35.4", "1.35.4-1.1"),
        ("v1.35.4", ["1.35.4-150500.1.1"], "1.35.4", "1.35.4-150500.1.1"),
    ],
)
def test_target(asked: str, offers: list[str], target: str, package: str) -> None:
    world = World()
    world.request["version"] = asked
    for answer in world.packages.values():
        answer["available"] = offers
    plan = world.plan()

    assert (plan["target"], plan["package_versions"]["w1"], plan["refusals"]) == (target, package, [])


def test_a_minor_is_the_newest_patch_that_all_hosts_offer() -> None:
    world = World()
    world.request["version"] = "1.35"
    world.packages["w2"]["available"] = ["1.35.0-1.1", "1.35.3-1.1"]

    assert world.plan()["target"] == "1.35.0"


def test_a_minor_means_the_patch_whose_upgrade_is_open() -> None:
    world = World().begun("w1", "1.35.0")
    world.request["version"] = "1.35"
    plan = world.plan()

    assert plan["target"] == "1.35.0" and plan["refusals"] == []


def test_a_host_that_was_only_prepared_is_not_excused() -> None:
    assert [r["rule"] for r in World().begun("w1", NEW).down("w1").plan()["refusals"]] == ["not_ready"]
    assert World().begun("w1", NEW, phase="kubelet").down("w1").plan()["refusals"] == []


def test_a_run_that_died_after_the_last_step_holds_nothing_back() -> None:
    world = World().begun("w1", "1.34.4", phase="kubelet")

    assert world.plan()["refusals"] == []


def test_no_common_patch_names_what_each_host_offers() -> None:
    world = World()
    world.request["version"] = "1.35"
    world.packages["w2"]["available"] = ["1.35.3-1.1"]
    plan = world.plan()

    assert plan["target"] is None and plan["hosts"] == {}
    assert "w1 1.35.4" in plan["refusals"][0]["message"] and "w2 1.35.3" in plan["refusals"][0]["message"]


def test_a_done_host_needs_no_repository() -> None:
    world = done()
    for answer in world.packages.values():
        answer["available"] = []

    assert world.plan()["nothing_to_do"]


# ------------------------------------------------------------------------------------------------ order


@pytest.mark.parametrize(
    ("written", "workers", "size"),
    [("1", 5, 1), ("3", 5, 3), ("20%", 5, 1), ("50%", 5, 2), ("10%", 3, 1), ("100%", 4, 4)],
)
def test_batch_size(written: str, workers: int, size: int) -> None:
    assert batch_size(written, workers) == size


@pytest.mark.parametrize("written", ["0", "0%", "-1", "half", "", "1.5"])
def test_batch_size_refuses_nonsense(written: str) -> None:
    with pytest.raises(CareError, match="max_unavailable"):
        batch_size(written, 5)


def test_order_masters_then_batches() -> None:
    world = World(masters=3, workers=5)
    world.request["max_unavailable"] = "2"
    order = world.plan()["order"]

    assert order["first_master"] == "cp1"
    assert order["masters"] == ["cp1", "cp2", "cp3"]
    assert order["workers"] == [["w1", "w2"], ["w3", "w4"], ["w5"]]


def test_what_an_unfinished_run_left_comes_first() -> None:
    world = ha_half_way().at("cp2", control_plane=OLD)
    world.hosts["cp2"]["record"] = None
    world.recorded("cp3", "images").recorded("w2", "images", "kubeadm")
    order = world.plan()["order"]

    assert order["masters"] == ["cp3", "cp2"]
    assert order["workers"] == [["w2"], ["w1"]]


# ------------------------------------------------------------------------------------------------ warned, not refused


def single() -> World:
    return World(workers=1).pod("shop/web-1", "w1")


def half_read() -> World:
    world = World()
    world.hosts["w1"]["problems"] = ["kubectl is missing."]
    return world


@pytest.mark.parametrize(
    ("world", "words"),
    [
        pytest.param(
            lambda: killed_in_apply().down("cp1"), ["cp1", "not Ready", "unfinished run"], id="our NotReady node"
        ),
        pytest.param(lambda: World().cordoned("w1", by="maintenance"), ["w1", "stays cordoned"], id="foreign cordon"),
        pytest.param(single, ["w1", "no other node takes pods"], id="single node"),
        pytest.param(half_read, ["w1", "kubectl is missing"], id="a part could not be read"),
        pytest.param(fresh, ["one master", "API is away"], id="one master"),
    ],
)
def test_warnings(world: Callable[[], World], words: list[str]) -> None:
    plan = world().plan()

    assert plan["refusals"] == []
    assert any(all(word in warning for word in words) for warning in plan["warnings"]), plan["warnings"]


def test_a_daemonset_that_the_run_would_wait_for_in_vain_is_told_before_it_begins() -> None:
    world = World().pod("kube-system/log-1", "w1", owner="DaemonSet").pod("kube-system/log-2", "w2", owner="DaemonSet")
    world.pods[0]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    plan = world.plan()

    assert plan["refusals"] == []
    (said,) = [warning for warning in plan["warnings"] if "kube-system/log" in warning]
    assert said.startswith("w1: not Ready there now: kube-system/log-1.")


def test_an_external_etcd_needs_no_room_for_its_copy() -> None:
    world = World()
    world.hosts["cp1"].update(etcd=None, disk={"/etc/kubernetes": 90 * MIB})

    assert world.plan()["refusals"] == []


def test_sick_etcd_of_an_unfinished_run_is_worked_on() -> None:
    world = ha_half_way()
    world.request["etcd"] = {name: {"problems": ["member cp2 does not answer"]} for name in world.masters}
    plan = world.plan()

    assert plan["refusals"] == []
    assert len([warning for warning in plan["warnings"] if "member cp2 does not answer" in warning]) == 1


def test_kubeadm_that_a_dead_run_left_running_explains_what_is_sick() -> None:
    world = killed_in_apply().down("cp1")
    world.hosts["cp1"].update(
        record=None,
        job={"target": NEW, "run": "r1", "running": True},
        busy=[{"pid": 9, "what": "kubeadm upgrade apply"}],
    )
    world.hosts["cp1"]["static_pods"]["kube-scheduler"]["running"] = False
    world.request["etcd"] = {"cp1": {"problems": ["cp1 does not answer"]}}
    plan = world.plan()

    assert plan["refusals"] == []
    assert any("of the run r1 still runs there" in warning for warning in plan["warnings"])


def test_controller_on_a_node_is_said() -> None:
    world = World()
    world.request["controller"] = {"machine_id": "id-of-cp1"}
    world.hosts["w1"]["busy"] = [{"pid": 77, "what": "apt-get upgrade"}]
    plan = world.plan()

    assert plan["refusals"] == []
    assert any(warning.startswith("cp1: Ansible runs on this very node") for warning in plan["warnings"])
    assert any("apt-get upgrade" in warning and "77" in warning for warning in plan["warnings"])


def test_a_single_node_is_not_drained() -> None:
    plan = single().plan()

    assert needs(plan, "w1") == "packages images node kubelet"
    assert needs(plan, "cp1") == WHOLE_MASTER


def test_masters_alone_can_take_each_others_pods() -> None:
    plan = World(masters=3, workers=0).pod("kube-system/coredns-1", "cp1").plan()

    assert needs(plan, "cp1") == WHOLE_MASTER


def test_no_drain_into_nodes_that_others_have_cordoned() -> None:
    world = World().pod("shop/web-1", "w1").pod("shop/web-2", "w2").cordoned("w2", by=None)
    refusals = world.plan()["refusals"]

    assert [(refusal["host"], refusal["rule"]) for refusal in refusals] == [("w1", "no_room")]
    assert "w2" in refusals[0]["message"] and world.cordoned("w2", by="upgrade").plan()["refusals"] == []


def test_a_finished_control_plane_that_died_is_not_our_unfinished_work() -> None:
    world = control_plane_done()
    world.hosts["cp1"]["static_pods"]["kube-scheduler"]["running"] = False

    assert [refusal["rule"] for refusal in world.plan()["refusals"]] == ["control_plane"]


def test_a_foreign_cordon_stays() -> None:
    assert needs(World().cordoned("w1", by="maintenance").plan(), "w1") == "packages images node drain kubelet"


def test_the_kubelet_of_an_upgraded_master_may_be_newer_than_the_other_masters() -> None:
    assert ha_half_way().plan()["refusals"] == []


# ------------------------------------------------------------------------------------------------ drains


def test_who_would_hold_up_a_drain() -> None:
    web = {"app": "web"}
    world = (
        World().pod("shop/web-1", "w1", labels=web).pod("shop/web-2", "w2", labels=web).pod("ops/debug", "w1", owner="")
    )
    world.budget("shop/web", web, allowed=0)
    plan = world.plan()

    assert plan["refusals"] == []
    assert [(b["node"], b["kind"], b["budget"], b["pods"]) for b in plan["blockers"]] == [
        ("w1", "budget", "shop/web", ["shop/web-1"]),
        ("w1", "unmanaged", None, ["ops/debug"]),
        ("w2", "budget", "shop/web", ["shop/web-2"]),
    ]
    assert "needs 2 healthy, has 2" in plan["blockers"][0]["message"]


def test_a_budget_with_room_holds_nothing_up() -> None:
    world = World().pod("shop/web-1", "w1", labels={"app": "web"}).budget("shop/web", {"app": "web"}, allowed=1)

    assert world.plan()["blockers"] == []


def test_a_pod_under_two_budgets_can_never_be_evicted() -> None:
    world = World().pod("shop/web-1", "w1", labels={"app": "web"})
    world.budget("shop/one", {"app": "web"}, allowed=1).budget("shop/two", {"app": "web"}, allowed=1)
    blockers = world.plan()["blockers"]

    assert [blocker["kind"] for blocker in blockers] == ["budgets"]
    assert "shop/one" in blockers[0]["message"] and "shop/two" in blockers[0]["message"]


def test_a_pod_that_fits_nowhere_else_is_said() -> None:
    world = World(masters=3).pod("kube-system/coredns-1", "cp1", nodeSelector={"disk": "fast"})

    assert [(b["kind"], b["pods"]) for b in world.plan()["blockers"]] == [("no_place", ["kube-system/coredns-1"])]


# ------------------------------------------------------------------------------------------------ words


def test_text_of_a_whole_upgrade() -> None:
    lines = World().plan()["text"].splitlines()
    rows = [line.split() for line in lines if line.strip().startswith(("1 ", "2 ", "3 "))]

    assert lines[0] == f"Upgrade of cluster kubernetes (kube-system {UID}) to Kubernetes {NEW}."
    assert [" ".join(row) for row in rows] == [
        f"1 cp1 {OLD} -> {NEW} {OLD} -> {NEW} packages, images, kubeadm apply, drain, kubelet, uncordon",
        f"2 w1 {OLD} -> {NEW} - packages, images, kubeadm node, drain, kubelet, uncordon",
        f"3 w2 {OLD} -> {NEW} - packages, images, kubeadm node, drain, kubelet, uncordon",
    ]
    assert all(len(line) <= 110 for line in lines)


def test_text_says_once_what_is_true_of_many() -> None:
    world = World()
    for host in world.hosts.values():
        host["cgroup"] = 1
    text = " ".join(world.plan()["text"].split())

    assert text.count("failCgroupV1: false") == 1
    assert "cp1, w1, w2: the node runs on cgroup v1" in text
    assert text.index("REFUSED") < text.index("Warnings") < text.index("Order, once that is mended")


def test_names_that_differ_from_the_nodes() -> None:
    world = World()
    world.hosts["frontend"] = world.hosts.pop("w1")
    world.packages["frontend"] = world.packages.pop("w1")
    world.workers[0] = "frontend"
    plan = world.plan()

    assert plan["refusals"] == []
    assert plan["hosts"]["frontend"]["node"] == "w1"
    assert "frontend (w1)" in plan["text"]
