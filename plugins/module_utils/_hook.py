# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Something outside of Kubernetes that has to become true: a command that ends with 0, or a URL that answers 2xx."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Optional
from urllib.parse import urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut

_LONGEST_ANSWER = 30.0


def ask_command(argv: Sequence[str], timeout: float) -> Optional[str]:
    """None when it ends with 0, else how it ended.

    :raises CareError: the program is not there.
    """
    try:
        done = run(list(argv), timeout=timeout)
    except TimedOut:
        return f"{argv[0]} did not end within {timeout:g} s"
    return None if done.rc == 0 else f"{argv[0]} ended with {done.rc}: {done.last_words}"


def ask_url(url: str, ca_path: Optional[str], timeout: float) -> Optional[str]:
    """None when it answers 2xx, else what it answers.

    :raises CareError: the server cannot be trusted, and no waiting would change that.
    """
    context = _context(ca_path)
    request = urllib.request.Request(url, headers={"User-Agent": "clustercare.kubeadm"})
    # No redirect from what is verified to what is not, and nobody in between where nothing is.
    proxies = [urllib.request.ProxyHandler({})] if urlsplit(url).scheme == "http" else []
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect(), *proxies)
    try:
        with opener.open(request, timeout=min(timeout, _LONGEST_ANSWER)) as answer:
            return None if 200 <= answer.status < 300 else f"it answers {answer.status}"
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise CareError(
                f"The server of {url} cannot be trusted: {error.reason.verify_message}. "
                "Name the file of its certificate authority (option ca_path)."
            ) from error
        return f"it does not answer: {error.reason}"
    except OSError as error:
        return f"it does not answer: {error}"
    except http.client.HTTPException as error:
        return f"what it answers is no HTTP ({type(error).__name__}: {str(error)[:200]})"


def refuse_unverified(url: str) -> None:
    """Only what is verified may say that all is well; this very machine may do without.

    :raises CareError: it is not verified, or is no address at all.
    """
    try:
        address = urlsplit(url)
        good = bool(address.hostname) and address.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise CareError(f"'{url}' is no address (option url); write it like https://shop.example.org/healthz.")
    here = address.scheme == "http" and address.hostname in ("127.0.0.1", "::1", "localhost")
    if address.scheme != "https" and not here:
        raise CareError(f"The hook's address {url} has no TLS; use an https:// address (option url).")


def _context(ca_path: Optional[str]) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_path or None)
    except OSError as error:  # an SSLError is one, too
        raise CareError(
            f"The certificate authority of the hook cannot be read from {ca_path}: {error.strerror or error} "
            "(option ca_path). It must be a file of PEM certificates."
        ) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None
