# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""etcd's JSON gateway (3.4 and newer), spoken with the standard library alone.

64-bit numbers travel as strings there, and fields that are zero, false or empty are left out.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_tls
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._trust import trusting

SNAPSHOT_PATH = "/v3/maintenance/snapshot"
_READ = 1 << 20
# Seconds within which a refused certificate is answered with an alert.
_ALERT = 2.0


class EtcdError(CareError):
    """etcd could not be asked, or answered with an error. ``status`` is the HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0, **results: Any) -> None:
        super().__init__(message, **results)
        self.status = status


class Access(NamedTuple):
    """How to reach one member: its URL and the files to prove who is who."""

    endpoint: str
    ca: Optional[str]
    cert: Optional[str]
    key: Optional[str]


def number(answer: dict[str, Any], name: str) -> int:
    """A 64-bit field of an answer; left out means zero."""
    return int(answer.get(name) or 0)


def explain(endpoint: str, status: int, body: bytes) -> str:
    """Why etcd refused, as a sentence."""
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    inner = said.get("error")
    words = said.get("message") or (inner.get("message") if isinstance(inner, dict) else inner)
    words = str(words or body[:200].decode("utf-8", "replace").strip() or "no reason given")
    # The connection to itself is cut off before etcd hears why in about every second call.
    cut_off = status == 503 and "write: broken pipe" in words
    if cut_off or "bad certificate" in words or "certificate specifies an incompatible key usage" in words:
        return (
            f"etcd at {endpoint} cannot speak to itself (HTTP {status}: {words}). Its server certificate may not "
            "serve as a client certificate, as etcd's JSON gateway needs it to: issue it again with the usages "
            "serverAuth and clientAuth, as kubeadm does."
        )
    if status == 404 and not said:
        return (
            f"etcd at {endpoint} does not know this call (HTTP 404): its JSON gateway is switched off "
            "(--enable-grpc-gateway=false, or a configuration file of etcd 3.4) or listens elsewhere "
            "(--listen-client-http-urls; option endpoint)."
        )
    return f"etcd at {endpoint} answered HTTP {status}: {words}."


def parts_of(endpoint: str) -> tuple[str, str, int]:
    """Scheme, host (of IPv6 without brackets) and port of an endpoint.

    :raises CareError: when it is not one.
    """
    try:
        parts = urlsplit(endpoint)
        scheme, host, port = parts.scheme, parts.hostname, parts.port or 2379
    except ValueError:
        scheme, host, port = "", None, 0
    if scheme not in ("https", "http") or not host:
        raise CareError(
            f"'{endpoint}' is not an etcd endpoint; write it like https://127.0.0.1:2379 or https://[fd00::11]:2379 "
            "(option endpoint)."
        )
    return scheme, host, port


class Gateway:
    """One member, asked over one connection at a time.

    :param timeout: seconds of silence after which a call is given up.
    """

    def __init__(self, access: Access, timeout: float = 10.0) -> None:
        scheme, self._host, self._port = parts_of(access.endpoint)
        self.access = access
        self.endpoint = access.endpoint
        self.timeout = timeout
        self._tls = self._trust(access) if scheme == "https" else None

    @staticmethod
    def _trust(access: Access) -> ssl.SSLContext:
        try:
            return trusting(access.ca, cert=access.cert, key=access.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(name) for name in (access.ca, access.cert, access.key) if name)
            raise CareError(
                f"etcd's certificates cannot be read ({files}): {error}. This needs root (become: true), "
                "or other files (options ca_cert, client_cert, client_key)."
            ) from error

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _failed(self, error: Exception, timeout: float) -> EtcdError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return EtcdError(_etcd_tls.their_certificate(self.endpoint, self.access.ca, error))
        if isinstance(error, (socket.timeout, TimeoutError)):
            why = f"no answer within {timeout:g} s"
        elif isinstance(error, ConnectionRefusedError):
            why = "connection refused"
        elif self._tls and isinstance(error, (ssl.SSLError, ConnectionError)):
            alert = getattr(error, "reason", None) or ""
            if "_ALERT_" not in alert:
                alert = _etcd_tls.alert_of(self._host, self._port, self._tls, min(timeout, _ALERT)) or alert
            refused = _etcd_tls.our_certificate(self.endpoint, self.access.cert, alert)
            if refused:
                return EtcdError(refused)
            why = str(error) or type(error).__name__
        elif isinstance(error, http.client.RemoteDisconnected):
            why = "it ends the connection without a word, as it does where it speaks TLS only (https, option endpoint)"
        else:
            why = str(error) or type(error).__name__
        return EtcdError(f"etcd at {self.endpoint} does not answer: {why}.")

    def call(self, path: str, body: Optional[dict[str, Any]] = None, timeout: Optional[float] = None) -> dict[str, Any]:
        """POST one request and return its answer.

        :raises EtcdError: when there is no answer, or an error as the answer.
        """
        timeout = self.timeout if timeout is None else timeout
        connection = self._connect(timeout)
        try:
            connection.request("POST", path, json.dumps(body or {}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error, timeout) from error
        finally:
            connection.close()
        if response.status != 200:
            raise EtcdError(explain(self.endpoint, response.status, data), status=response.status)
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise EtcdError(f"{self.endpoint} answers, but not as etcd does (no JSON).", status=200) from error
        if not isinstance(answer, dict):
            raise EtcdError(f"{self.endpoint} answers, but not as etcd does.", status=200)
        return answer

    def status(self) -> dict[str, Any]:
        return self.call("/v3/maintenance/status")

    def members(self) -> list[dict[str, Any]]:
        """The member list as this member knows it; works without quorum."""
        return list(self.call("/v3/cluster/member/list").get("members") or [])

    def prove_quorum(self) -> None:
        """A linearizable read, as ``etcdctl endpoint health`` does: answered only with a majority."""
        key = base64.b64encode(b"health").decode()
        self.call("/v3/kv/range", {"key": key, "keys_only": True, "limit": "1"})

    def hash_at(self, revision: int) -> dict[str, Any]:
        """This member's hash of all data up to ``revision``; it reads its whole database for it (etcd 3.5.10)."""
        return self.call("/v3/maintenance/hashkv", {"revision": str(revision)})

    def move_leader(self, target_id: str, timeout: Optional[float] = None) -> None:
        """Make member ``target_id`` (decimal) the leader; only the leader itself does this.

        etcd answers when the leadership has moved, or gives up after about ten seconds.
        """
        self.call("/v3/maintenance/transfer-leadership", {"targetID": str(target_id)}, timeout)

    def add_learner(self, peer_url: str) -> None:
        self.call("/v3/cluster/member/add", {"peerURLs": [peer_url], "isLearner": True})

    def promote(self, member_id: str) -> None:
        """Give a learner (decimal id) its vote; etcd refuses while it is not in sync."""
        self.call("/v3/cluster/member/promote", {"ID": member_id})

    def remove_member(self, member_id: str) -> None:
        self.call("/v3/cluster/member/remove", {"ID": member_id})

    def defragment(self, timeout: float) -> None:
        """Write this member's database anew without its holes; the member answers nothing meanwhile."""
        self.call("/v3/maintenance/defragment", timeout=timeout)

    def disarm(self, member_id: str, alarm: str) -> None:
        """Take back one alarm of one member (decimal id), for the whole cluster."""
        self.call("/v3/maintenance/alarm", {"action": "DEACTIVATE", "memberID": member_id, "alarm": alarm})

    def snapshot(self) -> Iterator[bytes]:
        """The blobs of a snapshot: the database, then its SHA-256 as the last 32 bytes.

        Ends at the end of the stream and never earlier: ``remaining_bytes`` is zero before the digest has come, and a
        dying etcd may look like a clean end. Only the digest proves that all has come.
        """
        connection = self._connect(self.timeout)
        response = None
        try:
            connection.request("POST", SNAPSHOT_PATH, "{}", {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise EtcdError(explain(self.endpoint, response.status, response.read(4096)), status=response.status)
            rest = b""
            while True:
                data = response.read1(_READ)
                if not data:
                    break
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    yield self._blob(line)
            if rest.strip():
                yield self._blob(rest)
        except (OSError, http.client.HTTPException) as error:
            if response is None:
                raise self._failed(error, self.timeout) from error
            cut = isinstance(error, http.client.IncompleteRead)
            raise self._broke_off("the connection ended" if cut else str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def _blob(self, line: bytes) -> bytes:
        if not line.strip():
            return b""
        try:
            message = json.loads(line)
            error = message.get("error")
            if error:
                words = error.get("message", error) if isinstance(error, dict) else error
                raise self._broke_off(str(words))
            return binascii.a2b_base64(message["result"].get("blob", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._broke_off(f"a message of {len(line)} bytes is cut off") from error

    def _broke_off(self, why: str) -> EtcdError:
        return EtcdError(f"etcd at {self.endpoint} broke off in the middle of the snapshot: {why.rstrip('.')}.")
