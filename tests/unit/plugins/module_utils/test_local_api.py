# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Credentials out of a kubeconfig, and what is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _local_api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError


def kubeconfig(cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    return {
        "current-context": "b",
        "contexts": [{"name": "a", "context": {}}, {"name": "b", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://k8s.example.org:6443", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


def data(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_the_current_contexts_inline_credentials_are_used() -> None:
    user = {"client-certificate-data": data("CERT"), "client-key-data": data("KEY")}
    access = _local_api.access_of(kubeconfig({"certificate-authority-data": data("CA")}, user), "/x")
    assert access == _local_api.Access("https://k8s.example.org:6443", "CA", "CERT", "KEY", "")


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({"insecure-skip-tls-verify": True}, {}, "skips TLS verification"),
        ({}, {}, "names no certificate authority"),
        ({"certificate-authority": "/nowhere/ca.crt"}, {}, "/nowhere/ca.crt"),
    ],
)
def test_what_cannot_be_trusted_is_refused(cluster: dict[str, Any], user: dict[str, Any], words: str) -> None:
    with pytest.raises(CareError, match=words):
        _local_api.access_of(kubeconfig(cluster, user), "/x")


def test_a_context_without_its_cluster_is_named() -> None:
    broken = {**kubeconfig({}, {}), "clusters": []}
    with pytest.raises(CareError, match="no cluster named 'c'"):
        _local_api.access_of(broken, "/etc/kubernetes/admin.conf")
