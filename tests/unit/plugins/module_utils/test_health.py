# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What counts as healthy, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _health
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._health import Lease, Seen, Server, Wanted
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse

NEW = parse("1.35.4")
AT = "2026-11-22T03:00:00Z"


def node(name: str = "w1", ready: str = "True", version: str = "v1.35.4", beat: str = AT) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "message": "no network", "lastHeartbeatTime": beat}
    return {"metadata": {"name": name}, "status": {"conditions": [condition], "nodeInfo": {"kubeletVersion": version}}}


def pressed(kind: str, status: str = "True") -> dict[str, Any]:
    found = node()
    found["status"]["conditions"].append({"type": kind, "status": status, "message": "too little of it"})
    return found


def static_pod(component: str, on: str = "cp1", tag: str = "v1.35.4", ready: str = "True") -> dict[str, Any]:
    address = {"cp1": "10.0.0.1:6443", "cp2": "10.0.0.2:6443"}[on]
    return {
        "metadata": {
            "name": f"{component}-{on}",
            "namespace": "kube-system",
            "labels": {"tier": "control-plane", "component": component},
            "annotations": {_health._ENDPOINT: address} if component == "kube-apiserver" else {},
        },
        "spec": {"nodeName": on, "containers": [{"image": f"registry.example.org:5000/{component}:{tag}"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


def control_plane(on: str = "cp1", tag: str = "v1.35.4") -> list[dict[str, Any]]:
    return [static_pod(component, on, tag) for component in (*_health.COMPONENTS, "etcd")]


def daemon_pod(ready: str = "True", **metadata: Any) -> dict[str, Any]:
    owner = {"kind": "DaemonSet", "controller": True}
    waiting = {"name": "cni", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    return {
        "metadata": {"name": "cni-1", "namespace": "kube-system", "ownerReferences": [owner], **metadata},
        "spec": {"nodeName": "w1"},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [waiting]},
    }


def kube_proxy(updated: int = 3, available: int = 3, tag: str = "v1.35.4", observed: int = 2) -> dict[str, Any]:
    containers = [{"image": f"registry.example.org/kube-proxy:{tag}"}]
    return {
        "metadata": {"name": "kube-proxy", "generation": 2},
        "spec": {"template": {"spec": {"containers": containers}}},
        "status": {
            "observedGeneration": observed,
            "desiredNumberScheduled": 3,
            "updatedNumberScheduled": updated,
            "numberAvailable": available,
        },
    }


def coredns(updated: int = 2, available: int = 2) -> dict[str, Any]:
    status = {"observedGeneration": 1, "updatedReplicas": updated, "availableReplicas": available}
    return {"metadata": {"name": "coredns", "generation": 1}, "spec": {"replicas": 2}, "status": status}


def with_sidecar(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a kubeadm patch makes it: kubectl's strategic merge puts the new container first."""
    for pod in pods:
        own = {"name": pod["metadata"]["labels"]["component"], **pod["spec"]["containers"][0]}
        pod["spec"]["containers"] = [{"name": "tail", "image": "registry.example.org/tail:v2.0.1"}, own]
    return pods


def cloud_controller(on: str = "w1") -> dict[str, Any]:
    pod = static_pod("cloud-controller-manager")
    return {**pod, "spec": {**pod["spec"], "nodeName": on}}


def lease(moved: float | None, renewed: str | None = AT) -> Lease:
    return Lease("cp1_x", epoch(renewed) if renewed else None, 0.0, moved)


@pytest.mark.parametrize(
    ("scope", "seen", "wanted", "said"),
    [
        ("cluster", Seen(nodes=[node()]), Wanted(version=NEW), []),
        ("cluster", Seen(nodes=[node(ready="Unknown")]), Wanted(), ["node w1 is not Ready: no network"]),
        ("cluster", Seen(), Wanted(), ["there are no nodes"]),
        ("cluster", Seen(nodes=[node(version="v1.34.4")]), Wanted(version=NEW), ["of w1 is v1.34.4, not yet v1.35.4"]),
        ("cluster", Seen(nodes=[node()], daemonsets=[kube_proxy()]), Wanted(version=NEW), []),
        ("cluster", Seen(nodes=[node()], daemonsets=[kube_proxy(2)]), Wanted(), ["2 of 3 pods are of the newest form"]),
        ("cluster", Seen(nodes=[node()], daemonsets=[kube_proxy(3, 1)]), Wanted(), ["1 of 3 pods are available"]),
        ("cluster", Seen(nodes=[node()], daemonsets=[kube_proxy(observed=1)]), Wanted(), ["has not seen the newest"]),
        ("cluster", Seen(nodes=[node()], daemonsets=[kube_proxy(tag="v1.34.4")]), Wanted(version=NEW), ["is v1.34.4"]),
        ("cluster", Seen(nodes=[node()], daemonsets=[kube_proxy(tag="latest")]), Wanted(version=NEW), []),
        ("cluster", Seen(nodes=[node()], deployments=[coredns()]), Wanted(), []),
        ("cluster", Seen(nodes=[node()], deployments=[coredns(1, 2)]), Wanted(), ["CoreDNS is not yet rolled out"]),
        ("node", Seen(nodes=[]), Wanted(node="w9"), ["there is no node w9"]),
        ("node", Seen(nodes=[node()], pods=[daemon_pod()]), Wanted(node="w1"), []),
        ("node", Seen(nodes=[pressed("DiskPressure")]), Wanted("w1"), ["w1 tells of DiskPressure: too little of it"]),
        ("node", Seen(nodes=[pressed("DiskPressure", "False")]), Wanted("w1"), []),
        ("node", Seen(nodes=[pressed("Comfortable")]), Wanted("w1"), []),
        (
            "node",
            Seen(nodes=[node()], pods=[daemon_pod("False")]),
            Wanted(node="w1"),
            ["pod kube-system/cni-1 is not Ready: cni CrashLoopBackOff"],
        ),
        (
            "node",
            Seen(nodes=[node()], pods=[daemon_pod(deletionTimestamp=AT)]),
            Wanted(node="w1"),
            ["pod kube-system/cni-1 is terminating"],
        ),
        (
            "node",
            Seen(nodes=[node()], heartbeat=lease(None)),
            Wanted(node="w1", since=epoch("2026-11-22T03:00:30Z")),
            ["no heartbeat of w1 after 2026-11-22T03:00:30Z; the last is of 2026-11-22T03:00:00Z"],
        ),
        (
            "node",
            Seen(nodes=[node()], heartbeat=lease(None, "2026-11-22T03:00:31.123456Z")),
            Wanted(node="w1", since=epoch("2026-11-22T03:00:30Z")),
            [],
        ),
        # Clocks that are hours apart: a heartbeat seen to change is proof all the same.
        ("node", Seen(nodes=[node()], heartbeat=lease(5.0)), Wanted(node="w1", since=9e9), []),
        ("control_plane", Seen(static_pods=control_plane()), Wanted("cp1", NEW), []),
        ("control_plane", Seen(static_pods=with_sidecar(control_plane())), Wanted("cp1", NEW), []),
        ("control_plane", Seen(static_pods=[*control_plane(), cloud_controller()]), Wanted(version=NEW), []),
        ("control_plane", Seen(static_pods=control_plane() + control_plane("cp2", "v1.34.4")), Wanted("cp1", NEW), []),
        (
            "control_plane",
            Seen(static_pods=control_plane() + control_plane("cp2", "v1.34.4")[:1]),
            Wanted(None, NEW),
            [
                "kube-apiserver on cp2 is v1.34.4, not yet v1.35.4",
                "kube-controller-manager has no pod on cp2",
                "kube-scheduler has no pod on cp2",
            ],
        ),
        ("control_plane", Seen(), Wanted(), ["no static pods of a control plane are there"]),
        (
            "control_plane",
            Seen(static_pods=[*control_plane()[:3], static_pod("etcd", ready="False")]),
            Wanted("cp1"),
            ["pod kube-system/etcd-cp1 is not Ready (Running)"],
        ),
        (
            "control_plane",
            Seen(static_pods=control_plane(), servers=[Server("10.0.0.1:6443", "[-]etcd failed: reason withheld")]),
            Wanted("cp1"),
            ["the API server at 10.0.0.1:6443 is not ready: [-]etcd failed: reason withheld"],
        ),
        # Only the named node's API server has to be new already.
        (
            "control_plane",
            Seen(
                static_pods=control_plane(),
                servers=[Server("https://10.0.0.1:6443", None, "v1.34.4"), Server("10.0.0.2:6443", None, "v1.34.4")],
            ),
            Wanted("cp1", NEW),
            ["the API server at https://10.0.0.1:6443 is v1.34.4, not yet v1.35.4"],
        ),
        (
            "control_plane",
            Seen(now=100.0, static_pods=control_plane(), leaders={"kube-scheduler": lease(99.0)}),
            Wanted("cp1"),
            [],
        ),
        (
            "control_plane",
            Seen(now=100.0, static_pods=control_plane(), leaders={"kube-scheduler": lease(80.0)}),
            Wanted("cp1"),
            ["the leader of kube-scheduler (cp1_x) does not renew its lease"],
        ),
        (
            "control_plane",
            Seen(now=100.0, static_pods=control_plane(), leaders={"kube-scheduler": lease(None, None)}),
            Wanted("cp1"),
            ["kube-scheduler has no leader"],
        ),
    ],
)
def test_what_is_missing(scope: str, seen: Seen, wanted: Wanted, said: list[str]) -> None:
    found = _health.missing([scope], seen, wanted)
    assert len(found) == len(said), found
    for whole, part in zip(found, said):
        assert part in whole


def renewed(at: str) -> dict[str, Any]:
    return {"spec": {"renewTime": at, "holderIdentity": "cp1_x"}}


def test_a_lease_is_believed_by_the_clock_only_for_a_moment() -> None:
    watched = Lease()
    clock = epoch(AT)
    watched.look(renewed(AT), 10.0, clock + 2)
    assert watched.alive(10.0)
    watched.look(renewed(AT), 14.0, clock + 6)
    assert not watched.alive(14.0), "it did not move for longer than a living leader needs"
    watched.look(renewed("2026-11-22T03:00:05Z"), 16.0, clock + 8)
    assert watched.alive(16.0)
    assert not watched.alive(40.0)


def test_a_lease_of_a_machine_with_a_wrong_clock_is_alive_once_it_moves() -> None:
    watched = Lease()
    watched.look(renewed("2031-01-01T00:00:00Z"), 10.0, epoch(AT))
    assert not watched.alive(10.0)
    watched.look(renewed("2031-01-01T00:00:02Z"), 12.0, epoch(AT))
    assert watched.alive(12.0)


@pytest.mark.parametrize("written", ["1795316400", "1795316400.0", "2026-11-22T03:00:00Z", "2026-11-22T04:00:00+01:00"])
def test_since_as_people_write_it(written: str) -> None:
    assert _health.read_since(written) == 1795316400.0


@pytest.mark.parametrize("written", ["yesterday", "2026-11-22T03:00:00"])
def test_since_without_a_meaning_is_refused(written: str) -> None:
    with pytest.raises(CareError, match="option since"):
        _health.read_since(written)


def test_after_a_reboot_only_what_the_new_boot_says_counts() -> None:
    wanted = Wanted("w1", since=1763780400.5, boot_id="new")  # 2025-11-22T03:00:00.5Z
    found, pod = node(), daemon_pod()
    found["status"]["nodeInfo"]["bootID"] = "old"
    pod["status"]["containerStatuses"] = [
        {"name": "cni", "state": {"running": {"startedAt": "2025-11-22T02:59:00Z"}}},
    ]
    heartbeat = Lease(renewed=1763780500.0, moved=1.0)
    said = _health.missing(["node"], Seen(nodes=[found], pods=[pod], heartbeat=heartbeat), wanted)
    assert len(said) == 2 and "boot old" in said[0] and "has not started since the boot" in said[1]
    found["status"]["nodeInfo"]["bootID"] = "new"
    # The API writes whole seconds.
    pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = "2025-11-22T03:00:00Z"
    assert _health.missing(["node"], Seen(nodes=[found], pods=[pod], heartbeat=heartbeat), wanted) == []
