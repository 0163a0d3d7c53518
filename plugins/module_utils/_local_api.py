# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""One API server asked directly over HTTPS with a kubeconfig of this host; the CA is always verified."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._trust import trusting

WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_TIMEOUT = 3.0


def host_port(address: str, port: int) -> str:
    """Both as a URL has them."""
    return f"[{address}]:{port}" if address.count(":") > 1 else f"{address}:{port}"


class Unreachable(CareError):
    """Nothing listens where an API server should: it serves nobody."""


class Access(NamedTuple):
    """Who we are to the API server, and whom we trust. Holds secrets."""

    server: str
    ca: str
    certificate: str
    key: str
    token: str


def _text(section: dict[str, Any], name: str) -> str:
    """A kubeconfig's inline data, else the content of the file that it names."""
    inline = section.get(f"{name}-data")
    if inline:
        return base64.b64decode(inline).decode()
    path = section.get(name)
    if not path:
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def access_of(kubeconfig: dict[str, Any], path: str) -> Access:
    """The current context's server and credentials.

    :raises CareError: it is incomplete, or skips TLS verification.
    """

    def pick(kind: str, name: Optional[str]) -> dict[str, Any]:
        for entry in kubeconfig.get(kind + "s") or []:
            if entry.get("name") == name:
                return dict(entry.get(kind) or {})
        raise CareError(f"The kubeconfig {path} has no {kind} named '{name}'.")

    context = pick("context", kubeconfig.get("current-context"))
    cluster, user = pick("cluster", context.get("cluster")), pick("user", context.get("user"))
    if cluster.get("insecure-skip-tls-verify"):
        raise CareError(f"The kubeconfig {path} skips TLS verification; it is not used.")
    try:
        ca = _text(cluster, "certificate-authority")
        certificate, key = _text(user, "client-certificate"), _text(user, "client-key")
    except OSError as error:
        why = f"{error.filename}, which cannot be read: {error.strerror}"
        raise CareError(f"The kubeconfig {path} names {why}.") from error
    if not ca:
        raise CareError(f"The kubeconfig {path} names no certificate authority.")
    return Access(str(cluster.get("server", "")), ca, certificate, key, str(user.get("token") or ""))


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path to ``text`` that never touches a disk: load_cert_chain takes files only."""
    descriptor = os.memfd_create("clustercare")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class ApiServer:
    """GET requests to one API server over one connection."""

    def __init__(self, access: Access, address: str = "", port: int = 0, timeout: float = 5.0) -> None:
        """Speak to ``address``:``port`` when given, else to the kubeconfig's server."""
        url = urlsplit(access.server)
        self.address, self.port = address or url.hostname or "", port or url.port or 443
        context = trusting(cadata=access.ca)
        if access.certificate:
            with _in_memory(access.certificate + "\n" + access.key) as path:
                context.load_cert_chain(path)
        self._headers = {"Accept": "application/json"}
        if access.token:
            self._headers["Authorization"] = f"Bearer {access.token}"
        self._connection = http.client.HTTPSConnection(self.address, self.port, timeout=timeout, context=context)

    def get(self, path: str) -> dict[str, Any]:
        """The object at ``path``.

        :raises CareError: not reachable, not trusted, or not a 200.
        """
        loaded: dict[str, Any] = json.loads(self.text(path))
        return loaded

    def text(self, path: str) -> str:
        """What stands at ``path``; errors as those of ``get``. ``Unreachable`` when nothing listens there."""
        where = f"The API server {self.address}:{self.port}"
        try:
            self._connection.request("GET", path, headers=self._headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except ssl.SSLCertVerificationError as error:
            why = f"shows a certificate that the cluster's CA does not vouch for: {error.verify_message}"
            raise CareError(f"{where} {why}.") from error
        except ConnectionRefusedError as error:
            raise Unreachable(f"{where} does not answer: {error}.") from error
        except (OSError, http.client.HTTPException) as error:
            raise CareError(f"{where} does not answer: {error}.") from error
        if answer.status != 200:
            raise CareError(f"{where} answers {answer.status} to {path}: {body[:200].decode(errors='replace')}")
        return body.decode(errors="replace")

    def close(self) -> None:
        self._connection.close()


def ready(server: ApiServer) -> Optional[str]:
    """None when an API server takes requests, else what is wrong."""
    try:
        server.text("/readyz")
        return None
    except CareError as error:
        return error.message.rstrip(".")
    finally:
        server.close()


def ask(address: str, port: int, path: str, tls: Optional[ssl.SSLContext] = None) -> Optional[str]:
    """GET ``path`` of any server; None when it answers 200, else what is wrong."""
    where = host_port(address, port)
    if tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            address, port, timeout=_TIMEOUT, context=tls
        )
    else:
        connection = http.client.HTTPConnection(address, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = " ".join(answer.read(4096).decode(errors="replace").split())
    except ssl.SSLCertVerificationError as error:
        return f"its certificate on {where} is not trusted ({error.verify_message})"
    except (OSError, http.client.HTTPException) as error:
        return f"{path} on {where} does not answer ({error})"
    finally:
        connection.close()
    return None if answer.status == 200 else f"{path} on {where} answers {answer.status}: {body[:300] or 'nothing'}"
