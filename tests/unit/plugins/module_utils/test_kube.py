# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Connecting, outliving a restarting API server, and keeping secrets."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kube
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import FakeApi, node, status

NODE = "/api/v1/nodes/w1"


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    server = FakeApi(node("w1"))
    yield server
    server.close()


def connected(tmp_path: Any, **params: Any) -> _kube.Api:
    module: Any = SimpleNamespace(params=params, tmpdir=str(tmp_path), no_log_values=set())
    return _kube.connect(module)


@pytest.fixture
def api(fake: FakeApi, tmp_path: Any) -> _kube.Api:
    return connected(tmp_path, host=fake.url, api_key="the-token")


@pytest.mark.parametrize(
    "trouble",
    [
        lambda: status(500, "etcdserver: leader changed"),
        lambda: status(503, "shutting down"),
        lambda: status(504, "timeout"),
        lambda: (*status(429, "too many requests"), {"Retry-After": "0"}),
        lambda: "drop",
        lambda: (200, "not an object"),
    ],
)
def test_trouble_passes(fake: FakeApi, api: _kube.Api, trouble: Any) -> None:
    fake.inject("GET", NODE, trouble, times=2)
    found = api.get(NODE, Deadline(20, "timeout"))
    if trouble() != (200, "not an object"):
        assert found["metadata"]["name"] == "w1" and api.calls == {"get": 3}


def test_a_server_that_stays_away_is_named_with_the_option(api: _kube.Api, fake: FakeApi) -> None:
    fake.close()
    with pytest.raises(TimedOut, match=r"option upgrade_api_timeout.*Connection refused") as caught:
        api.get(NODE, Deadline(0.5, "upgrade_api_timeout"))
    assert fake.url in caught.value.message


def test_a_name_that_nobody_knows_is_not_waited_for(tmp_path: Any) -> None:
    api = connected(tmp_path, host="https://nowhere.invalid:6443", api_key="the-token")
    with pytest.raises(CareError, match="cannot be resolved") as caught:
        api.get(NODE, Deadline(20, "timeout"))
    assert not isinstance(caught.value, TimedOut)


def test_a_final_no_is_not_repeated(api: _kube.Api, fake: FakeApi) -> None:
    fake.inject("GET", NODE, lambda: status(403, "nodes is forbidden"), times=9)
    with pytest.raises(_kube.Refused, match="nodes is forbidden"):
        api.get(NODE, Deadline(20, "timeout"))
    assert fake.counted["GET"] == 1


def test_a_no_of_a_server_that_just_began_is_repeated(api: _kube.Api, fake: FakeApi) -> None:
    fake.inject("GET", NODE, lambda: "drop")
    fake.inject("GET", NODE, lambda: status(403, "roles are not known yet"), times=2)
    assert api.get(NODE, Deadline(20, "timeout"))["metadata"]["name"] == "w1"


def test_lists_are_read_to_their_end(api: _kube.Api, fake: FakeApi) -> None:
    page = {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "first"}}]}
    fake.inject("GET", "/nodes", lambda: (200, page))
    found = api.list("/api/v1/nodes", Deadline(5, "timeout"))
    assert [item["metadata"]["name"] for item in found] == ["first", "w1"]


def test_a_list_whose_pages_expired_begins_again(api: _kube.Api, fake: FakeApi) -> None:
    page = {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "w1"}}]}
    fake.inject("GET", "/nodes", lambda: (200, page))
    fake.inject("GET", "/nodes", lambda: status(410, "The provided continue parameter is too old"))
    found = api.list("/api/v1/nodes", Deadline(5, "timeout"))
    assert [item["metadata"]["name"] for item in found] == ["w1"]


@pytest.mark.parametrize(
    ("host", "verified", "refused"),
    [
        ("https://10.0.0.1:6443", True, None),
        ("https://10.0.0.1:6443", False, "insecure-skip-tls-verify"),
        ("http://10.0.0.1:8080", True, "has no TLS"),
        ("http://127.0.0.1:8001", True, None),
    ],
)
def test_connections_without_proof_are_refused(host: str, verified: bool, refused: str | None) -> None:
    if refused is None:
        _kube.refuse_unverified(host, verified)
        return
    with pytest.raises(CareError, match=refused):
        _kube.refuse_unverified(host, verified)


def kubeconfig(**cluster: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "kubernetes-admin@kubernetes",
        "clusters": [{"name": "kubernetes", "cluster": {"server": "https://10.0.0.1:6443", **cluster}}],
        "contexts": [
            {"name": "kubernetes-admin@kubernetes", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}
        ],
        "users": [{"name": "kubernetes-admin", "user": {"token": "very-secret", "username": "kubernetes-admin"}}],
    }


def test_a_kubeconfig_that_skips_verification_is_refused(tmp_path: Any) -> None:
    with pytest.raises(CareError, match="insecure-skip-tls-verify"):
        connected(tmp_path, kubeconfig=kubeconfig(**{"insecure-skip-tls-verify": True}))


@pytest.mark.parametrize("params", [{"validate_certs": False}, {"host": "http://10.0.0.1:8080"}])
def test_options_that_would_skip_verification_are_refused(tmp_path: Any, params: dict[str, Any]) -> None:
    with pytest.raises(CareError):
        connected(tmp_path, kubeconfig=kubeconfig(), **params)


def test_a_missing_kubeconfig_is_named(tmp_path: Any) -> None:
    with pytest.raises(CareError, match=r"/nowhere/admin\.conf does not exist \(option kubeconfig\)"):
        connected(tmp_path, kubeconfig="/nowhere/admin.conf")


def test_certificates_are_written_to_the_modules_own_directory_only(tmp_path: Any) -> None:
    given = kubeconfig(**{"certificate-authority-data": "LS0tLS0K"})
    given["users"][0]["user"] = {"client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"}
    connected(tmp_path, kubeconfig=given)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"-----\n", "cert", "key"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_exactly_the_secrets_of_a_kubeconfig_are_hidden() -> None:
    given = kubeconfig()
    given["users"].append(
        {
            "name": "x",
            "user": {
                "client-key-data": "S0VZ0001",
                "client-certificate-data": "Q0VSVA==",
                "exec": {"command": "login", "env": [{"name": "PW", "value": "exec-secret"}]},
                "auth-provider": {"name": "oidc", "config": {"refresh-token": "refresh-me", "idp-issuer-url": "u"}},
            },
        }
    )
    # AnsibleModule hides every leaf of the option; harmless ones would blot out versions and names in results.
    every_leaf = set(_kube._leaves(given)) | {"other-options-secret"}
    module: Any = SimpleNamespace(params={"kubeconfig": given}, no_log_values=every_leaf)
    _kube.keep_secrets(module)
    assert module.no_log_values == {"very-secret", "S0VZ0001", "exec-secret", "refresh-me", "other-options-secret"}


@pytest.mark.parametrize(
    ("params", "environ", "expected"),
    [
        ({"host": "a"}, {"K8S_AUTH_HOST": "b"}, {"host": "a"}),
        ({}, {"K8S_AUTH_KUBECONFIG": "/k"}, {"kubeconfig": "/k"}),
        ({}, {"K8S_AUTH_SSL_CA_CERT": "/ca"}, {"ca_cert": "/ca"}),
        ({}, {"K8S_AUTH_VERIFY_SSL": "no"}, {"validate_certs": False}),
        ({}, {"K8S_AUTH_IMPERSONATE_GROUPS": "a,b"}, {"impersonate_groups": ["a", "b"]}),
        (
            {},
            {"K8S_AUTH_PROXY_HEADERS_USER_AGENT": "me"},
            {"proxy_headers": {"user_agent": "me"}},
        ),
        ({"validate_certs": False}, {}, {"validate_certs": False}),
    ],
)
def test_options_and_their_environment(params: Any, environ: Any, expected: Any) -> None:
    assert _kube.auth_parameters(params, environ) == expected


def test_the_token_and_the_impersonation_are_sent(fake: FakeApi, tmp_path: Any) -> None:
    made = connected(
        tmp_path, host=fake.url, api_key="the-token", impersonate_user="jane", impersonate_groups=["a", "b"]
    )._headers()
    assert made["authorization"] == "Bearer the-token" and made["Impersonate-User"] == "jane"
    assert made.getlist("Impersonate-Group") == ["a", "b"]
