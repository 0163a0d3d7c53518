# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_about as about
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost, manifest

NOTHING = {"kubernetes_version": None, "etcd_image": None, "encryption_config_sha256": None}
CONFIG = b"kind: EncryptionConfiguration\n"


@pytest.fixture
def host(tmp_path: pathlib.Path) -> FakeHost:
    return FakeHost(tmp_path)


class Programs:
    """kubectl, which reads these manifests, and an API server that can be asked for its version."""

    def __init__(self, pods: list[dict[str, Any]], version: str = "Kubernetes v1.33.13\n", rc: int = 0) -> None:
        self.pods, self.version, self.rc = pods, version, rc

    def __call__(self, argv: list[str], **_more: Any) -> Done:
        if argv[0] == "kubectl":
            return Done(argv, self.rc, "".join(map(json.dumps, self.pods)), "cannot")
        return Done(argv, self.rc, self.version, "")


def look(host: FakeHost, programs: Programs) -> dict[str, Any]:
    for pod in programs.pods:
        (host.manifests / f"{pod['metadata']['name']}.yaml").write_text("kind: Pod")
    return about.about_cluster(str(host.proc), str(host.manifests), programs)


def encrypting(host: FakeHost, config: str = "/enc.yaml") -> None:
    pid = host.start_pod("kube-apiserver", f"--encryption-provider-config={config}")
    root = host.proc / str(pid) / "root"
    root.mkdir()
    (root / "enc.yaml").write_bytes(CONFIG)


def test_static_pods_tell_by_their_manifests(host: FakeHost) -> None:
    encrypting(host)
    assert look(host, Programs([manifest("etcd"), manifest("kube-apiserver")])) == {
        "kubernetes_version": "1.34.4",
        "etcd_image": "registry.example.org/etcd:v1.34.4",
        "encryption_config_sha256": hashlib.sha256(CONFIG).hexdigest(),
    }


def test_units_tell_by_their_own_word(host: FakeHost) -> None:
    host.start_unit("kube-apiserver.service", "/usr/local/bin/kube-apiserver")
    assert look(host, Programs([])) == {**NOTHING, "kubernetes_version": "1.33.13"}


@pytest.mark.parametrize("rc", [0, 1])
def test_what_cannot_be_told_is_unknown_and_no_failure(host: FakeHost, rc: int) -> None:
    assert look(host, Programs([], rc=rc)) == NOTHING
    encrypting(host, "/gone.yaml")
    broken = Programs([manifest("etcd")], version="", rc=1)
    assert look(host, broken) == NOTHING


@pytest.mark.parametrize(
    ("path", "on_host"),
    [
        ("/etc/kubernetes/enc/enc.yaml", "/srv/secrets/enc.yaml"),
        ("/etc/kubernetes/enc", "/srv/secrets"),
        ("/etc/kubernetes/encrypted.yaml", "/etc/kubernetes/encrypted.yaml"),
        ("/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.crt"),
        ("/data/x", "/data/x"),
    ],
)
def test_paths_in_a_pod_are_found_on_the_host(path: str, on_host: str) -> None:
    container = {
        "volumeMounts": [
            {"name": "pki", "mountPath": "/etc/kubernetes/pki"},
            {"name": "enc", "mountPath": "/etc/kubernetes/enc/"},
            {"name": "data", "mountPath": "/data"},
        ]
    }
    volumes = [
        {"name": "pki", "hostPath": {"path": "/etc/kubernetes/pki"}},
        {"name": "enc", "hostPath": {"path": "/srv/secrets"}},
        {"name": "data", "emptyDir": {}},
    ]
    assert about.host_path({"spec": {"volumes": volumes}}, container, path) == on_host
