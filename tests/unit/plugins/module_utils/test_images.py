# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which images a host needs, and by whom they are pulled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _images
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse

R = "registry.example.org"
ALL = [
    f"{R}/kube-apiserver:v1.35.4",
    f"{R}/kube-proxy:v1.35.4",
    f"{R}/coredns/coredns:v1.13.1",
    f"{R}/pause:3.10.1",
    f"{R}/etcd:3.6.6-0",
]


def test_a_worker_needs_no_static_pods() -> None:
    assert _images.needed(ALL, "master") == ALL
    assert _images.needed(ALL, "worker") == ALL[1:4]


def test_the_clusters_own_registry_is_kept_and_only_the_version_changes() -> None:
    cluster = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "imageRepository": f"{R}:5000/k8s",
        "kubernetesVersion": "v1.34.4",
    }
    first, second = (
        json.loads(part) for part in _images.config_text(cluster, parse("1.35.4"), "unix:///c.sock").split("---")
    )
    assert first == {**cluster, "kubernetesVersion": "v1.35.4"}
    assert second["kind"] == "InitConfiguration" and second["nodeRegistration"] == {"criSocket": "unix:///c.sock"}


def runtime(tools: dict[str, Done]) -> Any:
    def run(argv: list[str], **_rest: Any) -> Done:
        if argv[0] not in tools:
            raise CareError(f"{argv[0]} cannot be run")
        return tools[argv[0]]

    return run


CRICTL = Done([], 0, json.dumps({"images": [{"repoTags": [ALL[1]]}, {"repoTags": None}]}), "")


@pytest.mark.parametrize(
    ("tools", "found"),
    [
        ({"crictl": CRICTL}, [ALL[1]]),
        ({"ctr": Done([], 0, f"{ALL[0]}\n{ALL[1]}\n", "")}, ALL[:2]),
        ({"crictl": Done([], 1, "", "no"), "ctr": Done([], 0, ALL[0], "")}, ALL[:1]),
        ({}, None),
    ],
    ids=["crictl", "ctr", "crictl fails", "nothing can tell"],
)
def test_what_the_runtime_has(tools: dict[str, Done], found: Any) -> None:
    assert _images.present("unix:///c.sock", runtime(tools)) == found


def test_single_images_are_pulled_by_crictl_else_all_by_kubeadm() -> None:
    assert _images.pull_argv(["a", "b"], "/f", "unix:///c.sock", by_crictl=True) == [
        ["crictl", "--runtime-endpoint", "unix:///c.sock", "pull", "a"],
        ["crictl", "--runtime-endpoint", "unix:///c.sock", "pull", "b"],
    ]
    assert _images.pull_argv(["a"], "/f", None, by_crictl=False) == [
        ["kubeadm", "config", "images", "pull", "--config", "/f"]
    ]
