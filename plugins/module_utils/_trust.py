# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""How servers of a cluster are verified."""

from __future__ import annotations

import ssl
from typing import Optional


def trusting(
    cafile: Optional[str] = None,
    cadata: Optional[str] = None,
    cert: Optional[str] = None,
    key: Optional[str] = None,
) -> ssl.SSLContext:
    """A client's TLS settings that trust this authority only: chain, dates, purpose and name are verified.

    ``cert`` and ``key`` are files with what the client shows of itself, if it does.

    Python 3.13 also wants certificates to be written as RFC 5280 says, which Kubernetes and etcd do not ask for: those
    that people made by hand often lack the identifier of their authority.

    :raises OSError: a file cannot be read. :raises ssl.SSLError: it is no certificate, or the key of another one.
    """
    context = ssl.create_default_context(cafile=cafile, cadata=cadata)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cert:
        context.load_cert_chain(cert, key)
    return context
