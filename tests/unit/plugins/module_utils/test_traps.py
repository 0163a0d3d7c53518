# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Version traps: each place that is looked at, just before and at the minor where it begins to bite."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._traps import (
    REFUSE,
    TRAPS,
    WARN,
    Surroundings,
    find_traps,
    removed_flags_left,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse

DEFAULTS = "/etc/default/kubelet"
KUBEADMS_OWN = "/var/lib/kubelet/kubeadm-flags.env"


def around(
    target: str,
    kubelet_config: Optional[dict[str, Any]] = None,
    kubeadm_config: Optional[dict[str, Any]] = None,
    ignored: tuple[str, ...] = (),
) -> Surroundings:
    return Surroundings(parse(target), kubelet_config or {}, kubeadm_config or {}, frozenset(ignored))


def hits(host: dict[str, Any], surroundings: Surroundings) -> list[tuple[str, str]]:
    return [(hit.trap.rule, hit.trap.severity) for hit in find_traps(host, surroundings)]


def kubelet_flag(name: str, source: str = DEFAULTS, value: str = "x") -> dict[str, Any]:
    row = {"flag": f"--{name}", "value": value, "source": source, "cleaned_by_kubeadm": source == KUBEADMS_OWN}
    return {"role": "worker", "cgroup": 2, "kubelet": {"flags": [row]}}


def static_pod(component: str, *flags: str) -> dict[str, Any]:
    return {"role": "master", "cgroup": 2, "static_pods": {component: {"flags": [component, *flags]}}}


@pytest.mark.parametrize(
    ("host", "before", "since", "rule", "severity"),
    [
        (kubelet_flag("pod-infra-container-image"), "1.34.9", "1.35.0", "trap_kubelet_flag", REFUSE),
        (kubelet_flag("keep-terminated-pod-volumes"), "1.30.0", "1.31.0", "trap_kubelet_flag", REFUSE),
        (kubelet_flag("feature-gates", value="A=true,KMSv2=true"), "1.31.9", "1.32.0", "trap_feature_gate", REFUSE),
        (static_pod("kube-apiserver", "--cloud-config=/x"), "1.32.0", "1.33.0", "trap_flag", REFUSE),
        (static_pod("kube-controller-manager", "--volume-host-cidr-denylist=x"), "1.30.0", "1.31.0", "trap_flag",
         REFUSE),
        (static_pod("kube-scheduler", "--feature-gates=KMSv2=true"), "1.31.0", "1.32.0", "trap_feature_gate", REFUSE),
        ({"etcd": {"version": "3.5.15"}}, "1.33.5", "1.34.0", "trap_etcd_below", REFUSE),
        ({"etcd": {"version": "3.5.24"}}, "1.33.5", "1.34.0", "trap_etcd_below", WARN),
        ({"runtime": {"name": "containerd", "version": "1.7.27"}}, "1.35.4", "1.36.0", "trap_containerd_below", WARN),
    ],
)  # fmt: skip
def test_a_trap_bites_from_its_minor_on(
    host: dict[str, Any], before: str, since: str, rule: str, severity: str
) -> None:
    assert hits(host, around(before)) == []
    assert hits(host, around(since)) == [(rule, severity)]


@pytest.mark.parametrize(
    "host",
    [
        kubelet_flag("node-ip"),
        static_pod("kube-apiserver", "--cloud-provider=external", "--feature-gates=KMSv2Other=true"),
        static_pod("kube-scheduler", "--cloud-config=/x"),
        {"etcd": {"version": "3.6.6"}},
        {"etcd": {"version": "3.5.26"}},
        {"runtime": {"name": "containerd", "version": "2.1.5"}},
        {"runtime": {"name": "cri-o", "version": "1.35.0"}},
        {"cgroup": 2, "kubelet": {"fail_cgroup_v1": True}},
        {},
    ],
)
def test_what_is_no_trap(host: dict[str, Any]) -> None:
    assert hits(host, around("1.37.0")) == []


CONFIGURED = {"failCgroupV1": False}
IGNORED = ("systemverification",)
CONFIG, PREFLIGHT = ("trap_cgroup_config", REFUSE), ("trap_cgroup_preflight", REFUSE)


@pytest.mark.parametrize(
    ("kubelet_config", "ignored", "host", "expected"),
    [
        ({}, (), {}, [CONFIG, PREFLIGHT]),
        (CONFIGURED, (), {}, [PREFLIGHT]),
        ({}, IGNORED, {}, [CONFIG]),
        (CONFIGURED, IGNORED, {}, []),
        ({"failCgroupV1": True}, IGNORED, {}, [CONFIG]),
        ({}, IGNORED, {"kubeadm_patches_fail_cgroup_v1": True}, []),
        ({}, IGNORED, {"kubelet": {"fail_cgroup_v1": False}}, [CONFIG]),
    ],
)
def test_cgroup_v1_each_half(
    kubelet_config: dict[str, Any], ignored: tuple[str, ...], host: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    where = around("1.35.0", kubelet_config=kubelet_config, ignored=ignored)

    assert hits({"cgroup": 1, **host}, where) == expected
    assert hits({"cgroup": 2, **host}, where) == []
    assert hits({"cgroup": 1, **host}, where._replace(target=parse("1.34.9"))) == []


def test_the_nodes_own_file_is_said_not_to_count() -> None:
    (hit,) = find_traps({"cgroup": 1, "kubelet": {"fail_cgroup_v1": False}}, around("1.35.4", ignored=IGNORED))

    assert "/var/lib/kubelet/config.yaml does, but kubeadm rewrites that file" in hit.sentence
    assert "ConfigMap kubelet-config" in hit.sentence and "kubelet 1.35.4" in hit.sentence


@pytest.mark.parametrize(("target", "bites"), [("1.35.4", False), ("1.36.0", True)])
def test_only_the_kubeadm_of_1_35_cleans_its_own_flags_file(target: str, bites: bool) -> None:
    assert bool(hits(kubelet_flag("pod-infra-container-image", KUBEADMS_OWN), around(target))) is bites


def test_a_flag_is_named_with_its_file() -> None:
    (hit,) = find_traps(kubelet_flag("pod-infra-container-image"), around("1.35.4"))

    assert "--pod-infra-container-image (in /etc/default/kubelet)" in hit.sentence


@pytest.mark.parametrize(
    ("host", "target", "left"),
    [
        (kubelet_flag("pod-infra-container-image", KUBEADMS_OWN), "1.35.4", ["pod-infra-container-image"]),
        (kubelet_flag("pod-infra-container-image", KUBEADMS_OWN), "1.34.4", []),
        (kubelet_flag("pod-infra-container-image", DEFAULTS), "1.35.4", []),
        (kubelet_flag("node-ip", KUBEADMS_OWN), "1.35.4", []),
    ],
)
def test_flags_that_kubeadm_still_has_to_clean(host: dict[str, Any], target: str, left: list[str]) -> None:
    assert [row["flag"].lstrip("-") for row in removed_flags_left(host, parse(target))] == left


def test_kubeadms_own_configuration() -> None:
    old = {"apiVersion": "kubeadm.k8s.io/v1beta3", "featureGates": {"PublicKeysECDSA": True}}

    assert hits({"role": "master"}, around("1.36.9", kubeadm_config=old)) == []
    assert hits({"role": "worker"}, around("1.37.0", kubeadm_config=old)) == []
    assert hits({"role": "master"}, around("1.37.0", kubeadm_config=old)) == [
        ("trap_kubeadm_api", REFUSE),
        ("trap_kubeadm_gate", REFUSE),
    ]


def test_the_kubelets_configuration_for_all() -> None:
    config = {"featureGates": {"SidecarContainers": True}}

    assert hits({}, around("1.37.0", kubelet_config=config)) == [("trap_feature_gate", REFUSE)]


def test_every_row_has_a_source_and_a_sentence_that_can_be_filled_in() -> None:
    for trap in TRAPS:
        said = trap.sentence.format(what=trap.what, seen="SEEN", target="1.99.0", since="1.98")
        assert trap.source and said.endswith(".") and "{" not in said


def test_a_flag_that_only_the_running_kubelet_has_goes_with_its_restart() -> None:
    """kubeadm has cleaned its file; the kubelet, started before that, is restarted by the rest of the upgrade."""
    assert not hits(kubelet_flag("pod-infra-container-image", "process"), around("1.35.4"))
