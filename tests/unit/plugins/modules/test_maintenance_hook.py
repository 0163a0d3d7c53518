# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import http.server
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Shop:
    """A server that answers as told, one answer after the other, the last one for ever."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.answers = [200]
        self.asked = 0
        shop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.asked += 1
                self.send_response(shop.answers.pop(0) if len(shop.answers) > 1 else shop.answers[0])
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}/healthz"


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of a server that is its own authority, in one file."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    asked = ["-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=shop", "-addext"]
    asked += ["subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".crt"]
    subprocess.run(["openssl", "req", *asked], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def safe_shop(certificate: Path) -> Iterator[Shop]:
    shop = Shop(certificate)
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


@pytest.fixture
def hook(run_module: Any) -> Any:
    def run(check: bool = False, **options: Any) -> dict[str, Any]:
        given = {"name": "all is well", "timeout": 5, "interval": 0.02, **options}
        result: dict[str, Any] = run_module("maintenance_hook", given, check=check)
        return result

    return run


def test_a_command_that_says_yes_later(hook: Any, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f'echo x >> {count}; echo not yet; test "$(wc -l < {count})" -ge 3'
    result = hook(command=["sh", "-c", script])
    assert not result.get("failed") and not result["changed"] and result["asked"] == 3 and result["said"] is None


def test_a_command_that_never_says_yes_fails_with_its_last_words(hook: Any) -> None:
    result = hook(command=["sh", "-c", "echo HEALTH_WARN >&2; exit 2"], timeout=0.2)
    assert result["failed"] and result["timed_out"] and result["asked"] >= 2
    assert "all is well" in result["msg"] and "ended with 2: HEALTH_WARN" in result["msg"]
    assert "option timeout" in result["msg"]


def test_a_command_is_no_shell(hook: Any, tmp_path: Path) -> None:
    result = hook(command=["true", ";", "touch", str(tmp_path / "made")])
    assert not result.get("failed") and not (tmp_path / "made").exists()


def test_a_command_that_hangs_is_ended(hook: Any) -> None:
    result = hook(command=["sleep", "60"], timeout=0.2)
    assert result["failed"] and "did not end" in result["msg"] and result["elapsed"] < 10


def test_a_program_that_is_not_there_fails_at_once(hook: Any) -> None:
    result = hook(command=["no-such-program"], timeout=60)
    assert result["failed"] and "no-such-program" in result["msg"] and result["elapsed"] < 5
    assert hook(command=[])["failed"]


def test_an_address_that_answers_later(hook: Any, shop: Shop) -> None:
    shop.answers = [503, 404, 204]
    result = hook(url=shop.url)
    assert not result.get("failed") and result["asked"] == 3


def test_a_redirection_is_no_yes(hook: Any, shop: Shop) -> None:
    shop.answers = [302]
    result = hook(url=shop.url, timeout=0.1)
    assert result["failed"] and "302" in result["msg"]


def test_without_tls_only_this_machine_is_believed(hook: Any) -> None:
    result = hook(url="http://shop.example.org/healthz")
    assert result["failed"] and "no TLS" in result["msg"] and result["elapsed"] < 2


def test_over_tls_a_server_that_nobody_vouches_for_is_not_believed(hook: Any, safe_shop: Shop) -> None:
    result = hook(url=safe_shop.url, timeout=60)
    assert result["failed"] and "cannot be trusted" in result["msg"] and "option ca_path" in result["msg"]
    assert safe_shop.asked == 0 and result["elapsed"] < 20, "no waiting would make it trusted"


def test_over_tls_a_server_of_the_named_authority_is_believed(hook: Any, safe_shop: Shop, certificate: Path) -> None:
    safe_shop.answers = [503, 200]
    result = hook(url=safe_shop.url, ca_path=str(certificate))
    assert not result.get("failed") and result["asked"] == 2, result


@pytest.mark.parametrize("content", [pytest.param(None, id="missing"), pytest.param("no certificate", id="no PEM")])
def test_an_authority_that_cannot_be_read_is_told_at_once(hook: Any, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    result = hook(url="https://127.0.0.1:1/", ca_path=str(path), timeout=60)
    assert result["failed"] and str(path) in result["msg"] and "option ca_path" in result["msg"]
    assert result["elapsed"] < 20


@pytest.mark.parametrize(
    "url",
    ["https://h:abc/", "https://", "https:///healthz", "https://h/a b", "https://[::1/", "file://localhost/etc/passwd"],
)
def test_what_is_no_address_is_refused_in_a_sentence(hook: Any, url: str) -> None:
    result = hook(url=url, timeout=60)
    assert result["failed"] and "option url" in result["msg"] and result["elapsed"] < 5, result


def test_an_answer_that_is_no_http_is_asked_again(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [b"220 mail.example.org ESMTP\r\n"] * 2 + [b"HTTP/1.1 204 No Content\r\n\r\n"]

    class Garbled(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(answers.pop(0))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Garbled) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        told = hook(url=url, timeout=0)
        # A proxy would answer for this machine, and nothing proves its word.
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        result = hook(url=url, timeout=3, interval=0.1)
        server.shutdown()
    assert told["failed"] and "is no HTTP" in told["msg"], told
    assert not result.get("failed") and result["asked"] == 2, result


def test_check_mode_asks_nothing(hook: Any, shop: Shop, tmp_path: Path) -> None:
    assert hook(check=True, url=shop.url)["asked"] == 0 and shop.asked == 0
