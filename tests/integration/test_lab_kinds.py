# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab's other kinds of control plane serve, are run by systemd, and survive a restart and a save."""

from __future__ import annotations

import json

import pytest
from harness import ETCDCTL, Lab, wait_for

pytestmark = pytest.mark.long

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def served(lab: Lab) -> None:
    """The sample workload answers every request, and so does the cluster's DNS."""
    lab.run("workload", "start")
    probe = json.loads(lab.run("workload", "stop", check=False).stdout)
    assert probe["problems"] == []
    assert probe["requests"]["ok"] > 0 and probe["names"]["ok"] > 0


def active(lab: Lab, *units: str) -> list[str]:
    return lab.ssh("cp1", f"systemctl is-active {' '.join(units)}", check=False).split()


def etcd_members(lab: Lab) -> list[str]:
    """The members that etcd's own client on the host sees, which must answer, too."""
    assert "is healthy" in lab.ssh("cp1", f"{ETCDCTL} endpoint health --cluster 2>&1")
    return [member["name"] for member in json.loads(lab.ssh("cp1", f"{ETCDCTL} member list -w json"))["members"]]


def answers(lab: Lab) -> bool:
    return lab.run("kubectl", "get", "--raw", "/readyz", "--request-timeout=5s", check=False).returncode == 0


def restarted(lab: Lab) -> None:
    """The first master restarts itself; the API is back without help."""
    lab.run("reboot", "cp1")
    wait_for("the API answers after the restart of cp1", lambda: answers(lab), 180)


def test_systemd_control_plane(lab: Lab) -> None:
    lab.run("down")
    lab.run("up", "--control-plane", "systemd", "--masters", "1", "--workers", "1")
    try:
        status = lab.status()
        assert (status["control_plane"], status["etcd"]) == ("systemd", "systemd")
        assert list(lab.nodes()) == ["w1"] and lab.not_ready() == []
        assert active(lab, "etcd", *CONTROL_PLANE) == ["active"] * 4
        # What kubeadm leaves behind, and the older tutorials do not.
        assert lab.ssh("cp1", "ls -A /etc/kubernetes/manifests | grep -v keep", check=False) == ""
        assert lab.run("kubectl", "-n", "kube-system", "get", "configmap", "kubeadm-config", check=False).returncode
        assert etcd_members(lab) == ["cp1"]
        served(lab)

        restarted(lab)
        # Those that gave up before the API answered are started again a moment later.
        wait_for("all units are active", lambda: active(lab, "etcd", *CONTROL_PLANE) == ["active"] * 4)
        served(lab)

        lab.forget("kinds")
        lab.save("kinds")
        lab.kubectl("create", "namespace", "after-the-save")
        lab.load("kinds")
        assert "after-the-save" not in lab.kubectl("get", "namespaces", "-o", "name")
        assert lab.status()["control_plane"] == "systemd"
        served(lab)
    finally:
        lab.forget("kinds")


def test_external_etcd(lab: Lab) -> None:
    lab.run("down")
    lab.run("up", "--etcd", "external", "--masters", "1", "--workers", "1")
    status = lab.status()
    assert (status["control_plane"], status["etcd"]) == ("static-pods", "systemd")
    assert sorted(lab.nodes()) == ["cp1", "w1"] and lab.not_ready() == []
    assert active(lab, "etcd") == ["active"]
    manifests = lab.ssh("cp1", "ls /etc/kubernetes/manifests").split()
    assert manifests == [f"{name}.yaml" for name in CONTROL_PLANE]
    config = lab.get("-n", "kube-system", "configmap", "kubeadm-config")["data"]["ClusterConfiguration"]
    assert "external:" in config and f"https://{status['machines']['cp1']['address']}:2379" in config
    assert etcd_members(lab) == ["cp1"]
    served(lab)

    restarted(lab)
    assert active(lab, "etcd") == ["active"]
    served(lab)


def test_kinds_that_do_not_go_together_are_refused_before_anything_is_made(lab: Lab) -> None:
    lab.run("down")
    refused = lab.run("up", "--control-plane", "systemd", "--workers", "0", check=False)
    assert refused.returncode == 1 and "one worker at least" in refused.stderr
    assert "There is no lab" in lab.run("status", check=False).stderr
