# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Of which cluster a kubeconfig speaks: every way in which one can be given."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _plan_identity
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_identity import certificate_digests, identify

SERVER = "https://api.example.org:6443"


def pem(content: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(content).decode()}\n-----END CERTIFICATE-----\n"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kubeconfig(**cluster: Any) -> dict[str, Any]:
    return {
        "current-context": "admin@one",
        "contexts": [
            {"name": "admin@one", "context": {"cluster": "one", "user": "admin"}},
            {"name": "admin@two", "context": {"cluster": "two", "user": "admin"}},
        ],
        "clusters": [
            {"name": "one", "cluster": {"server": SERVER, **cluster}},
            {"name": "two", "cluster": {"server": "https://two.example.org"}},
        ],
    }


def embedded(content: bytes) -> str:
    return base64.b64encode(pem(content).encode()).decode()


def test_digests_are_of_each_certificate_of_a_bundle() -> None:
    assert certificate_digests("# comment\n" + pem(b"first") + pem(b"second")) == (digest(b"first"), digest(b"second"))
    assert certificate_digests("no certificate") == ()


def test_a_dictionary_with_the_ca_inside() -> None:
    found = identify({"kubeconfig": kubeconfig(**{"certificate-authority-data": embedded(b"ca")})}, {})

    assert (found.server, found.ca_sha256, found.verified) == (SERVER, (digest(b"ca"),), True)


def test_a_file_with_the_ca_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(pem(b"ca"))
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(kubeconfig(**{"certificate-authority": "ca.crt"})))
    found = identify({"kubeconfig": str(path)}, {})

    assert found.ca_sha256 == (digest(b"ca"),)
    assert str(path) in found.origin


def test_several_files_the_first_that_names_a_thing_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(yaml.safe_dump({"clusters": [{"name": "one", "cluster": {"server": "https://first"}}]}))
    second.write_text(yaml.safe_dump(kubeconfig()))

    assert identify({}, {"KUBECONFIG": f"{first}:{second}"}).server == "https://first"


@pytest.mark.parametrize(
    ("auth", "server"),
    [
        ({"context": "admin@two"}, "https://two.example.org"),
        ({"host": "https://elsewhere.example.org"}, "https://elsewhere.example.org"),
    ],
)
def test_options_win_over_the_kubeconfig(auth: dict[str, Any], server: str) -> None:
    assert identify({"kubeconfig": kubeconfig(), **auth}, {}).server == server


@pytest.mark.parametrize(
    ("cluster", "auth", "verified"),
    [
        ({}, {}, True),
        ({"insecure-skip-tls-verify": True}, {}, False),
        ({}, {"validate_certs": False}, False),
        ({"insecure-skip-tls-verify": True}, {"validate_certs": True}, True),
    ],
)
def test_whether_tls_is_verified(cluster: dict[str, Any], auth: dict[str, Any], verified: bool) -> None:
    assert identify({"kubeconfig": kubeconfig(**cluster), **auth}, {}).verified is verified


def test_a_pod_uses_its_service_account_if_it_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBECONFIG": "/nowhere"}
    monkeypatch.setattr(_plan_identity, "_SERVICE_ACCOUNT_CA", str(tmp_path / "ca.crt"))
    with pytest.raises(CareError, match="/nowhere"):
        identify({}, environ)
    (tmp_path / "ca.crt").write_text(pem(b"ca"))
    found = identify({}, environ)

    assert (found.server, found.ca_sha256) == ("https://10.96.0.1:443", (digest(b"ca"),))


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ({"kubeconfig": "/nowhere/config"}, "/nowhere/config does not exist"),
        ({"kubeconfig": kubeconfig(), "context": "gone"}, "no cluster for its context 'gone'"),
        ({"kubeconfig": kubeconfig(**{"certificate-authority": "/nowhere/ca.crt"})}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(auth: dict[str, Any], words: str) -> None:
    with pytest.raises(CareError, match=words):
        identify(auth, {})
