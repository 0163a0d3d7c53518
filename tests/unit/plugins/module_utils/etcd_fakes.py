# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A small etcd snapshot made by hand, and a server that speaks as etcd's gateway does."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Callable, Optional, Union

from ansible_collections.clustercare.kubeadm.plugins.module_utils._bolt import MAGIC, fnv1a

PAGE_SIZE = 4096
BRANCH, LEAF, META = 0x01, 0x02, 0x04
MEMBER = {"id": 10276657743932975437, "name": "cp1", "peerURLs": ["https://10.80.0.11:2380"]}


def header(number: int, flags: int, count: int) -> bytes:
    return struct.pack("<QHHI", number, flags, count, 0)


def leaf(number: int, elements: list[tuple[bytes, bytes, bool]], pad: bool = True) -> bytes:
    """A leaf page of (key, value, is a bucket)."""
    table, body = b"", b""
    for index, (key, value, is_bucket) in enumerate(elements):
        position = (len(elements) - index) * 16 + len(body)
        table += struct.pack("<IIII", int(is_bucket), position, len(key), len(value))
        body += key + value
    page = header(number, LEAF, len(elements)) + table + body
    assert len(page) <= PAGE_SIZE
    return page.ljust(PAGE_SIZE, b"\0") if pad else page


def branch(number: int, children: list[tuple[bytes, int]]) -> bytes:
    table, body = b"", b""
    for index, (key, child) in enumerate(children):
        table += struct.pack("<IIQ", (len(children) - index) * 16 + len(body), len(key), child)
        body += key
    return (header(number, BRANCH, len(children)) + table + body).ljust(PAGE_SIZE, b"\0")


def meta(number: int, root: int, pages: int, txid: int) -> bytes:
    fields = struct.pack("<IIIIQQQQQ", MAGIC, 2, PAGE_SIZE, 0, root, 0, 0xFFFFFFFFFFFFFFFF, pages, txid)
    return (header(number, META, 0) + fields + struct.pack("<Q", fnv1a(fields))).ljust(PAGE_SIZE, b"\0")


def small_bucket(elements: list[tuple[bytes, bytes]]) -> bytes:
    """A bucket that lives inside its parent's value."""
    return struct.pack("<QQ", 0, 0) + leaf(0, [(key, value, False) for key, value in elements], pad=False)


def revision(main: int, deleted: bool = False) -> bytes:
    return struct.pack(">Q", main) + b"_" + struct.pack(">Q", 0) + (b"t" if deleted else b"")


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds bytes."""
    size, length = b"", len(content)
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def record(key: bytes, value: bytes = b"") -> bytes:
    # As etcd writes it: key, create revision, mod revision, version, value.
    return field(1, key) + b"\x10\x02\x18\x96\x01\x20\x01" + field(5, value)


def config_map(**data: str) -> bytes:
    """A ConfigMap as the API server stores it."""
    pairs = b"".join(field(2, field(1, name.encode()) + field(2, text.encode())) for name, text in data.items())
    return b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"ConfigMap")) + field(2, field(1, b"meta") + pairs)


def database(
    members: Optional[list[dict[str, Any]]] = None,
    more: Optional[list[tuple[bytes, bytes]]] = None,
    alarms: Optional[list[bytes]] = None,
) -> bytes:
    """Seven pages: a put, b put, c put, b deleted, a put again: revision 6, two keys left, five records.

    :param more: keys and values that follow, each a revision further.
    """
    first = [(revision(2), record(b"a", b"1")), (revision(3), record(b"b")), (revision(4), record(b"c"))]
    second = [(revision(5, deleted=True), record(b"b")), (revision(6), record(b"a", b"2"))]
    second += [(revision(7 + index), record(key, value)) for index, (key, value) in enumerate(more or [])]
    stored = [MEMBER] if members is None else members
    named = [(f"{one['id']:x}".encode(), json.dumps(one).encode()) for one in stored]
    root = [
        *[(b"alarm", small_bucket([(key, b"") for key in alarms]), True) for alarms in [alarms] if alarms],
        (b"cluster", small_bucket([(b"clusterVersion", b"3.6.0")]), True),
        (b"key", struct.pack("<QQ", 4, 0), True),
        (b"members", small_bucket(sorted(named)), True),
        (
            b"meta",
            small_bucket([(b"consistent_index", struct.pack(">Q", 42)), (b"storageVersion", b"3.6.0")]),
            True,
        ),
    ]
    return b"".join(
        [
            meta(0, 99, 7, 1),  # an older transaction, with a root that is long gone
            meta(1, 3, 7, 2),
            b"\0" * PAGE_SIZE,  # a free page
            leaf(3, root),
            branch(4, [(revision(2), 5), (revision(5, deleted=True), 6)]),
            leaf(5, [(key, value, False) for key, value in first]),
            leaf(6, [(key, value, False) for key, value in second]),
        ]
    )


def snapshot(data: Optional[bytes] = None) -> bytes:
    """A database with its digest, as etcd sends it."""
    data = database() if data is None else data
    return data + hashlib.sha256(data).digest()


Reply = Union[tuple[int, bytes], Callable[[dict[str, Any]], tuple[int, bytes]]]


def flipped(offset: int, bit: int = 0) -> bytes:
    """The small snapshot with one bit the wrong way."""
    data = bytearray(snapshot())
    data[offset] ^= 1 << bit
    return bytes(data)


def lines(*blobs: bytes) -> bytes:
    """The gateway's stream of these blobs."""
    left = sum(len(blob) for blob in blobs[:-1])
    text = []
    for blob in blobs:
        left -= len(blob)
        result = {"blob": base64.b64encode(blob).decode(), **({"remaining_bytes": str(left)} if left > 0 else {})}
        text.append(json.dumps({"result": result}))
    return ("\n".join(text) + "\n").encode()


@contextmanager
def gateway(replies: dict[str, Reply]) -> Iterator[str]:
    """Serve these answers (path -> status and body) on loopback; yields the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            reply = replies.get(self.path, (404, b"404 page not found"))
            status, body = reply(asked) if callable(reply) else reply
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PATHS = [
    "/v3/cluster/member/add",
    "/v3/cluster/member/list",
    "/v3/cluster/member/promote",
    "/v3/cluster/member/remove",
    "/v3/kv/range",
    "/v3/maintenance/alarm",
    "/v3/maintenance/defragment",
    "/v3/maintenance/hashkv",
    "/v3/maintenance/status",
    "/v3/maintenance/transfer-leadership",
]


class Cluster:
    """Members that share one state, each behind a gateway of its own.

    ``writes`` has every call that would change etcd, as (member's name, last part of the path, body).
    """

    def __init__(self, names: list[str]) -> None:
        self.members: list[dict[str, Any]] = [
            {"ID": str(number), "name": name, "peerURLs": [f"https://10.80.0.1{number}:2380"], "clientURLs": []}
            for number, name in enumerate(names, 1)
        ]
        self.leader = "1"
        self.said: dict[str, dict[str, Any]] = {member["ID"]: {} for member in self.members}
        self.hashes: dict[str, dict[str, Any]] = {member["ID"]: {} for member in self.members}
        self.writes: list[tuple[str, str, dict[str, Any]]] = []
        # Replies that a test puts in front of the ordinary ones, by (member's id, last part of the path).
        self.instead: dict[tuple[str, str], Reply] = {}

    def url(self, number: int) -> str:
        return str(self.members[number - 1]["clientURLs"][0])

    def status(self, own: str) -> dict[str, Any]:
        return {
            "header": {"cluster_id": "7", "member_id": own, "revision": "900"},
            "version": "3.6.5",
            "dbSize": "1000",
            "dbSizeInUse": "900",
            "leader": self.leader,
            "raftIndex": "5000",
            "raftTerm": "2",
            "raftAppliedIndex": "5000",
            **self.said[own],
        }

    def answer(self, own: str, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        name = path.rsplit("/", 1)[1]
        special = self.instead.get((own, name))
        if special is not None:
            return special(body) if callable(special) else special
        if path == "/v3/maintenance/status":
            return 200, json.dumps(self.status(own)).encode()
        if path == "/v3/cluster/member/list":
            return 200, json.dumps({"members": self.members}).encode()
        if path == "/v3/kv/range":
            return 200, b"{}"
        if path == "/v3/maintenance/hashkv":
            said = {"hash": 4711, "compact_revision": "100", "hash_revision": body["revision"], **self.hashes[own]}
            return 200, json.dumps(said).encode()
        return self.write(own, name, body)

    def write(self, own: str, name: str, body: dict[str, Any]) -> tuple[int, bytes]:
        self.writes.append((next(one["name"] for one in self.members if one["ID"] == own), name, body))
        if name == "transfer-leadership":
            if self.leader != own:
                return 400, b'{"error":"etcdserver: not leader","code":9,"message":"etcdserver: not leader"}'
            self.leader = body["targetID"]
        if name == "add":
            if any(body["peerURLs"] == one["peerURLs"] for one in self.members):
                return 400, b'{"code":9,"message":"etcdserver: Peer URLs already exists"}'
            self.members.append({"ID": "99", "peerURLs": body["peerURLs"], "isLearner": body["isLearner"]})
        if name == "promote":
            del next(one for one in self.members if one["ID"] == body["ID"])["isLearner"]
        if name == "remove":
            if all(one["ID"] != body["ID"] for one in self.members):
                return 404, b'{"code":5,"message":"etcdserver: member not found"}'
            self.members = [one for one in self.members if one["ID"] != body["ID"]]
        if name == "defragment":
            self.said[own]["dbSize"] = self.status(own)["dbSizeInUse"]
        if name == "alarm":
            for said in self.said.values():
                said["errors"] = [one for one in said.get("errors", []) if body["memberID"] not in one]
        return 200, b"{}"


@contextmanager
def cluster(*names: str) -> Iterator[Cluster]:
    """A whole cluster on loopback; its first member leads."""
    one = Cluster(list(names))
    with ExitStack() as stack:
        for member in one.members:
            own = member["ID"]
            replies: dict[str, Reply] = {path: partial(one.answer, own, path) for path in PATHS}
            member["clientURLs"] = [stack.enter_context(gateway(replies))]
        yield one
