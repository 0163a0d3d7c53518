# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Why etcd and we do not trust each other, as a sentence. TLS itself names no file and no option."""

from __future__ import annotations

import socket
import ssl
from typing import Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._certificate import (
    CLIENT_AUTH,
    SERVER_AUTH,
    der_of_pem,
)

# OpenSSL's numbers for what is wrong with a server's certificate.
_EXPIRED = 10
_OTHER_ADDRESS = (62, 64)


def their_certificate(endpoint: str, ca: Optional[str], error: ssl.SSLCertVerificationError) -> str:
    """We do not accept etcd's certificate."""
    if error.verify_code == _EXPIRED:
        cure = "Renew it, as kubeadm certs renew does"
    elif error.verify_code in _OTHER_ADDRESS:
        cure = "Name an address that is in it (option endpoint), or issue it again"
    else:
        cure = "Name the CA that issued it (option ca_cert)"
    return (
        f"etcd at {endpoint} was not asked: its certificate does not stand the check against "
        f"{ca or 'the CAs of this host'} ({error.verify_message}). {cure}."
    )


def our_certificate(endpoint: str, cert: Optional[str], alert: str) -> Optional[str]:
    """etcd does not accept ours; None when the alert is about something else.

    :param alert: as OpenSSL names it, such as TLSV1_ALERT_UNKNOWN_CA.
    """
    name = alert.partition("_ALERT_")[2]
    if name == "CERTIFICATE_REQUIRED" or (name and not cert):
        return (
            f"etcd at {endpoint} answers nobody without a certificate, and none was found: name one (options "
            "client_cert and client_key)."
        )
    if name == "UNKNOWN_CA":
        why = "no CA that etcd trusts has issued it (--trusted-ca-file)"
    elif name == "CERTIFICATE_EXPIRED":
        why = "it has expired, or is not valid yet by etcd's clock"
    elif name in ("BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_UNKNOWN", "HANDSHAKE_FAILURE"):
        why = f"it does not say why ({name.lower().replace('_', ' ')})"
        if cert and for_servers_only(cert):
            why = "it is for servers only, without the usage clientAuth"
    else:
        return None
    return (
        f"etcd at {endpoint} does not accept the certificate {cert}: {why}. Name another one (options "
        "client_cert and client_key), or issue it again."
    )


def for_servers_only(path: str) -> bool:
    """Whether a certificate names its usages, and to be a client is not among them."""
    try:
        with open(path, encoding="ascii") as file:
            der = der_of_pem(file.read()) or b""
    except (OSError, ValueError):
        return False
    return SERVER_AUTH in der and CLIENT_AUTH not in der


def alert_of(host: str, port: int, tls: ssl.SSLContext, timeout: float) -> str:
    """The alert with which etcd answers our certificate; empty when there is none.

    A server of TLS 1.3 refuses a certificate when its client already writes, and a write that fails hides the alert.
    So this connection does not write.
    """
    try:
        plain = socket.create_connection((host, port), timeout)
        with plain, tls.wrap_socket(plain, server_hostname=host) as secured:
            secured.recv(1)
    except ssl.SSLError as error:
        return error.reason or ""
    except OSError:
        pass
    return ""
