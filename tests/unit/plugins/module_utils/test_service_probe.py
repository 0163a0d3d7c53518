# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Probes against servers that really listen."""

from __future__ import annotations

import http.server
import os
import pathlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _local_api, _service_probe
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2813 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0000 100 0 0 10 0
   1: 0100007F:2813 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 2222 1 0000 100 0 0 10 0
   2: 00000000:2814 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3333 1 0000 100 0 0 10 0
"""


@contextmanager
def serving(status: int, body: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_only_a_200_is_well_and_the_reason_is_told() -> None:
    with serving(200, b"ok") as port:
        assert _local_api.ask("127.0.0.1", port, "/healthz") is None
    with serving(500, b"[-]etcd failed: reason withheld\n") as port:
        said = _local_api.ask("127.0.0.1", port, "/readyz")
    assert said is not None and "answers 500" in said and "[-]etcd failed" in said
    said = _local_api.ask("127.0.0.1", port, "/readyz")
    assert said is not None and "does not answer" in said


def test_listeners_are_told_from_connections() -> None:
    assert _service_probe.listening(TABLE, 10259) == {"1111"}
    assert _service_probe.listening(TABLE, 10260) == {"3333"}
    assert _service_probe.listening(TABLE, 1) == set()


def test_the_process_itself_has_to_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert _service_probe.listens_itself(os.getpid(), port) is None
        said = _service_probe.listens_itself(1, port)
    assert said is not None and "another process than 1" in said
    said = _service_probe.listens_itself(os.getpid(), port)
    assert said is not None and "nothing listens" in said


@contextmanager
def on_socket(path: pathlib.Path, answer: bytes) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _address = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0", None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not answer as gRPC"),
        (b"", "not answer as gRPC"),
    ],
)
def test_a_runtime_has_to_speak(tmp_path: pathlib.Path, answer: bytes, words: Optional[str]) -> None:
    path = tmp_path / "runtime.sock"
    with on_socket(path, answer):
        said = _service_probe.speaks_grpc(f"unix://{path}")
    assert (said is None) if words is None else (said is not None and words in said)


def test_a_dead_socket_is_told(tmp_path: pathlib.Path) -> None:
    assert "does not answer" in str(_service_probe.speaks_grpc(str(tmp_path / "none.sock")))
    assert "no socket of this host" in str(_service_probe.speaks_grpc("tcp://10.0.0.1:1"))


def test_etcd_is_asked_where_it_listens_and_its_reason_is_told() -> None:
    with serving(503, b'{"health":"false","reason":"RAFT NO LEADER"}') as port:
        said = _service_probe.etcd_works(Access(f"http://127.0.0.1:{port}", None, None, None))
    assert said is not None and "RAFT NO LEADER" in said
    said = _service_probe.etcd_works(Access("https://127.0.0.1:1", "/nowhere/ca.crt", None, None))
    assert said is not None and "/nowhere/ca.crt" in said
