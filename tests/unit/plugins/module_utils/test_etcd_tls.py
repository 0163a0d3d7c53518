# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Certificates that do not fit, shown to a server that checks them, and what is said about it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _etcd_tls
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access, Gateway

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="makes certificates with openssl")

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def authority(directory: Path, name: str) -> None:
    files = ("-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt")
    openssl("req", "-x509", *KEY, "-days", "9", "-subj", "/CN=etcd-ca", *files)


def issue(directory: Path, name: str, ca: str, usage: str, address: str = "IP:127.0.0.1") -> None:
    path = directory / name
    path.with_suffix(".ext").write_text(f"extendedKeyUsage={usage}\nsubjectAltName={address}\n")
    openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{path}.key", "-out", f"{path}.csr")
    signer = ("-CA", f"{directory}/{ca}.crt", "-CAkey", f"{directory}/{ca}.key", "-CAcreateserial")
    openssl("x509", "-req", "-in", f"{path}.csr", *signer, "-extfile", f"{path}.ext", "-out", f"{path}.crt")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    authority(directory, "ca")
    authority(directory, "other")
    issue(directory, "server", "ca", "serverAuth,clientAuth")
    issue(directory, "elsewhere", "ca", "serverAuth", "IP:10.80.0.11")
    issue(directory, "client", "ca", "clientAuth")
    issue(directory, "for-servers", "ca", "serverAuth")
    issue(directory, "foreign", "other", "clientAuth")
    return directory


@contextmanager
def server(pki: Path, certificate: str) -> Iterator[str]:
    """Wants a client certificate of its CA; to those that have one it says nothing, and hangs up."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=f"{pki}/ca.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(f"{pki}/{certificate}.crt", f"{pki}/{certificate}.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = False

        def serve() -> None:
            while True:
                plain, _address = listener.accept()
                if done:
                    return
                with plain, suppress(OSError), tls.wrap_socket(plain, server_side=True):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done = True
            socket.create_connection(listener.getsockname()).close()
            thread.join()


@pytest.mark.parametrize(
    ("serves", "ca", "client", "words"),
    [
        pytest.param("server", "ca", "for-servers", r"for-servers.crt: .*without the usage clientAuth", id="use"),
        pytest.param("server", "ca", "foreign", r"foreign.crt: no CA that etcd trusts has issued it", id="foreign"),
        pytest.param("server", "ca", None, r"none was found: name one \(options client_cert", id="none"),
        pytest.param("server", "other", "client", r"was not asked: .*other.crt .*option ca_cert", id="other CA"),
        pytest.param("elsewhere", "ca", "client", r"was not asked: .*option endpoint", id="other address"),
        pytest.param("server", "ca", "client", r"does not answer: ", id="all is well but the server"),
    ],
)
def test_what_does_not_fit_is_named(pki: Path, serves: str, ca: str, client: str | None, words: str) -> None:
    pair = (f"{pki}/{client}.crt", f"{pki}/{client}.key") if client else (None, None)
    with server(pki, serves) as url, pytest.raises(CareError, match=words):
        Gateway(Access(url, f"{pki}/{ca}.crt", *pair)).status()


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "has expired, or is not valid yet"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "does not say why (bad certificate)"),
        ("TLSV1_ALERT_INTERNAL_ERROR", None),
        ("UNEXPECTED_EOF_WHILE_READING", None),
        ("", None),
    ],
)
def test_alerts(pki: Path, alert: str, words: str | None) -> None:
    said = _etcd_tls.our_certificate("https://127.0.0.1:2379", f"{pki}/client.crt", alert)
    assert words in said if words and said else said is None
