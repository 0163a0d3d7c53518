# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import base64
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, EtcdError, Gateway
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

SNAPSHOT = "/v3/maintenance/snapshot"
STATUS = "/v3/maintenance/status"


def client(url: str) -> Gateway:
    return Gateway(Access(url, None, None, None), timeout=5)


def test_snapshot_is_all_blobs_with_the_digest_that_follows_the_end() -> None:
    whole = fakes.snapshot()
    # As etcd does: nothing remains before the digest has come.
    stream = fakes.lines(whole[:9000], whole[9000:-32], whole[-32:])
    assert b"remaining_bytes" not in stream.splitlines()[-1]
    with fakes.gateway({SNAPSHOT: (200, stream)}) as url:
        assert b"".join(client(url).snapshot()) == whole


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(
            (503, b'{"error":"connection error: desc = \\"remote error: tls: bad certificate\\"","code":14}'),
            "serverAuth and clientAuth",
            id="certificate without clientAuth",
        ),
        pytest.param(
            (503, b'{"code":14, "message":"write tcp [::1]:53386->[::1]:2379: write: broken pipe"}'),
            "serverAuth and clientAuth",
            id="certificate without clientAuth, heard otherwise",
        ),
        pytest.param((404, b"404 page not found\n"), "switched off", id="no gateway"),
        pytest.param((404, b'{"code":5,"message":"etcdserver: member not found"}'), "member not found", id="not found"),
        pytest.param(
            (503, b'{"code":14,"message":"etcdserver: no leader"}'), "HTTP 503: etcdserver: no leader", id="v2"
        ),
        pytest.param((500, b""), "no reason given", id="nothing said"),
        pytest.param(
            (200, b'{"error":{"grpc_code":14,"http_code":503,"message":"server stopped"}}\n'),
            "in the middle of the snapshot: server stopped",
            id="error in the stream",
        ),
        pytest.param((200, b'{"result":{"blob":"AAAA'), "is cut off", id="cut line"),
        pytest.param((200, b"<html>\n"), "is cut off", id="not etcd"),
    ],
)
def test_refused_snapshot_says_why(reply: tuple[int, bytes], words: str) -> None:
    with fakes.gateway({SNAPSHOT: reply}) as url, pytest.raises(EtcdError, match=words):
        list(client(url).snapshot())


def test_nobody_there_is_a_sentence() -> None:
    with fakes.gateway({}) as url:
        pass
    with pytest.raises(EtcdError, match="does not answer: connection refused"):
        client(url).status()


def test_a_snapshot_that_never_began_did_not_break_off() -> None:
    with fakes.gateway({}) as url:
        pass
    with pytest.raises(EtcdError, match="does not answer: connection refused"):
        list(client(url).snapshot())


def test_silence_is_a_sentence() -> None:
    def silent(_asked: dict[str, Any]) -> tuple[int, bytes]:
        waiting.wait(10)
        return 200, b"{}"

    waiting = threading.Event()
    with fakes.gateway({STATUS: silent}) as url:
        gateway = Gateway(Access(url, None, None, None), timeout=0.2)
        with pytest.raises(EtcdError, match=r"no answer within 0.2 s"):
            gateway.status()
        waiting.set()


def test_quorum_is_proven_by_a_linearizable_read() -> None:
    asked: list[dict[str, Any]] = []

    def read(body: dict[str, Any]) -> tuple[int, bytes]:
        asked.append(body)
        return 200, b"{}"

    with fakes.gateway({"/v3/kv/range": read}) as url:
        client(url).prove_quorum()
    assert base64.b64decode(asked[0]["key"]) == b"health"
    assert not asked[0].get("serializable")


def test_missing_member_list_is_empty() -> None:
    with fakes.gateway({"/v3/cluster/member/list": (200, json.dumps({"header": {}}).encode())}) as url:
        assert client(url).members() == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:2379",
        "unix:///run/etcd.sock",
        "https://",
        "https://fd00::11:2379",
        "https://[fd00::11:2379",
        "https://127.0.0.1:client",
    ],
)
def test_endpoint_must_be_a_url(endpoint: str) -> None:
    with pytest.raises(CareError, match="option endpoint"):
        client(endpoint)


def test_unreadable_certificates_are_named(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    with pytest.raises(CareError, match=r"ca.crt.*become: true"):
        Gateway(Access("https://127.0.0.1:2379", str(ca), None, None))


def test_tls_is_verified() -> None:
    gateway = Gateway(Access("https://[::1]:2379", None, None, None))
    assert gateway._tls is not None
    assert gateway._tls.verify_mode is ssl.CERT_REQUIRED and gateway._tls.check_hostname
