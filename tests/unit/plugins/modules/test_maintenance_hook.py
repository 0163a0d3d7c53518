# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Shop:
    """A server that answers as told, one answer after the other, the last one for ever."""

    def __init__(self) -> None:
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
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/healthz"


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
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


def test_check_mode_asks_nothing(hook: Any, shop: Shop, tmp_path: Path) -> None:
    assert hook(check=True, url=shop.url)["asked"] == 0 and shop.asked == 0
