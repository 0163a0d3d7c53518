# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host tells: the pure pieces."""

from __future__ import annotations

import json
import ssl
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _host_facts, _local_api, _offline
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import Process

POD = {
    "spec": {
        "containers": [
            {"name": "proxy", "image": "x", "command": ["other"]},
            {
                "name": "kube-apiserver",
                "image": "registry.example.org:5000/kube-apiserver:v1.34.4",
                "command": ["kube-apiserver", "--advertise-address=10.0.0.1"],
                "args": ["--secure-port", "7443"],
            },
        ]
    }
}
ARGV = ["kube-apiserver", "--advertise-address=10.0.0.1", "--secure-port", "7443"]


@pytest.mark.parametrize(
    ("table", "running", "current"),
    [
        ([], False, False),
        ([Process(7, "", ARGV, 5.0)], True, True),
        ([Process(7, "", [*ARGV, "--old"], 5.0)], True, False),
        ([Process(7, "", [*ARGV, "--old"], 5.0), Process(8, "", ARGV, 6.0)], True, True),
    ],
    ids=["stopped", "runs from the manifest", "runs with other flags", "old one is ending"],
)
def test_a_static_pod_is_compared_with_the_process(table: list[Process], running: bool, current: bool) -> None:
    found = _host_facts.static_pod(POD, "kube-apiserver", table)
    assert (found["running"], found["current"], found["version"]) == (running, current, "1.34.4")
    assert _host_facts.option_of(found["flags"], "--secure-port") == "7443"
    assert _host_facts.option_of(found["flags"], "--advertise-address") == "10.0.0.1"


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ([], ("127.0.0.1", 6443)),
        (["--advertise-address=10.0.0.1", "--bind-address=10.0.0.2"], ("10.0.0.1", 6443)),
        (["--bind-address=10.0.0.2", "--secure-port=7443"], ("10.0.0.2", 7443)),
        (["--bind-address=0.0.0.0"], ("127.0.0.1", 6443)),
        (["--bind-address=::"], ("::1", 6443)),
        (["--advertise-address=0.0.0.0"], ("127.0.0.1", 6443)),
    ],
)
def test_the_api_server_is_asked_where_it_listens(
    flags: list[str], where: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    access = Access("https://load-balancer.example.org", "", "", "", "")
    asked: list[tuple[str, int]] = []

    def text(server: _local_api.ApiServer, _path: str) -> str:
        asked.append((server.address, server.port))
        return "{}"

    monkeypatch.setattr(_offline, "read_kubeconfig", lambda _path, *_runner: {})
    monkeypatch.setattr(_host_facts, "access_of", lambda _found, _path: access)
    monkeypatch.setattr(_local_api, "trusting", lambda **_ca: ssl.create_default_context())
    monkeypatch.setattr(_local_api.ApiServer, "text", text)
    found = _host_facts.Gatherer("/nowhere").api(["kube-apiserver", *flags])
    assert found["reachable"] and (found["address"], found["port"]) == where
    assert set(asked) == {where}


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry.example.org/kube-apiserver:v1.34.4", "1.34.4"),
        ("registry.example.org:5000/etcd:3.6.5-0", "3.6.5-0"),
        ("registry.example.org/x:v1.34.4@sha256:00", "1.34.4"),
        ("registry.example.org:5000/kube-apiserver", None),
        ("registry.example.org/x:latest", None),
        ("", None),
    ],
)
def test_the_version_of_an_image(image: str, version: Optional[str]) -> None:
    assert _host_facts.image_version(image) == version


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "debian"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "redhat"),
        ("ID=flatcar\n", "other"),
        ("", "other"),
    ],
)
def test_the_family_decides_on_packages(text: str, family: str) -> None:
    assert _host_facts.os_release(text)["family"] == family


def test_kubelet_patches_are_taken_in_kubeadms_order() -> None:
    names = [
        "kubeletconfiguration1+merge.yaml",
        "etcd.yaml",
        "kubeletconfiguration0.yaml",
        "kubeletconfiguration2+json.json",
        "notes.txt",
        "kubeletconfiguration.md",
    ]
    assert _host_facts.kubelet_patches(names) == [
        ("kubeletconfiguration0.yaml", "merge"),
        ("kubeletconfiguration1+merge.yaml", "merge"),
        ("kubeletconfiguration2+json.json", "json"),
    ]


def test_addresses_of_pods_and_of_the_host_itself_are_left_out() -> None:
    def link(name: str, local: str, scope: str = "global") -> dict[str, Any]:
        return {"ifname": name, "addr_info": [{"local": local, "scope": scope}]}

    shown = [link("lo", "127.0.0.1", "host"), link("eth0", "10.0.0.1"), link("cni0", "10.244.1.1"), {"ifname": "eth1"}]
    assert _host_facts.addresses_in(json.dumps(shown)) == ["10.0.0.1"]
    assert _host_facts.addresses_in("") == []


@pytest.mark.parametrize(
    ("endpoint", "table", "name"),
    [
        ("unix:///run/containerd/containerd.sock", [], "containerd"),
        ("unix:///var/run/crio/crio.sock", [], "cri-o"),
        (None, [Process(1, "", ["/usr/bin/crio"], 0.0)], "cri-o"),
        ("unix:///run/cri.sock", [], "unknown"),
    ],
)
def test_the_runtime_is_told_by_its_socket(endpoint: Optional[str], table: list[Process], name: str) -> None:
    assert _host_facts.runtime_name(endpoint, table) == name


def test_etcd_is_looked_for_where_its_manifest_says() -> None:
    pods = {"etcd": {"version": "3.6.5-0", "flags": ["etcd", "--data-dir=/nowhere/etcd"]}}
    assert _host_facts.etcd_of(pods) == {"version": "3.6.5", "data_dir": "/nowhere/etcd", "db_size": None}
    assert _host_facts.etcd_of({}) is None
