# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names and fingerprints of certificates, against what openssl says of the same ones."""

from __future__ import annotations

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _certificate

# made with openssl; the kubelet's is a version 1 certificate, the CA's version 3
KUBELET = """-----BEGIN CERTIFICATE-----
MIIBQjCB6QIUG5zRzUxzDOLY/SSOgdZlPQ1ofggwCgYIKoZIzj0EAwIwFTETMBEG
A1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMjIwMzIzNDlaGA8yMTI2MTAyOTAzMjM0
OVowMTEVMBMGA1UECgwMc3lzdGVtOm5vZGVzMRgwFgYDVQQDDA9zeXN0ZW06bm9k
ZTpjcDEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASHUyOHrPFNnEFFZMv1hsPo
zdqzxziOVRmmdm3Fh7XB+aX34X6EgKzhJr7p6aK8U6MEQuErqb2nrqWqy8si6hPq
MAoGCCqGSM49BAMCA0gAMEUCIQDdRNrWSmNrEto+zdipTJrhVGes6kwrfKr8isjF
F6C4WwIgffkI8UqeZzo5ZJGkx7O5sEMgP5JyBokPWIHIa3o9c9k=
-----END CERTIFICATE-----
"""
AUTHORITY = """-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUSSJYBmtYR1qX1AfrAp6J4xKM864wCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMjIwMzIzNDhaGA8yMTI2MTAy
OTAzMjM0OFowFTETMBEGA1UEAwwKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABIpaoAI9bfFuMvdZP6Eqo/wgylXpxrwn6K3ZS93cpz03j7t+7EJL
mCy1aWeS2fHnnuMRKOv/H1wkupQtZx0RbiajUzBRMB0GA1UdDgQWBBRLOYzA1785
a8otpbKo8eITyx8/ijAfBgNVHSMEGDAWgBRLOYzA1785a8otpbKo8eITyx8/ijAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCHFaFcCIis3IGdToHV
sYkPhF0B9mHiLyW1Ar6krhCXZgIgAKdedoL3IGZKZcWH/fe+0dULYfuAFKXa02DV
PaQDjWo=
-----END CERTIFICATE-----
"""


@pytest.mark.parametrize(
    ("pem", "name", "fingerprint"),
    [
        (KUBELET, "system:node:cp1", "b197ee9c74cca6a31a911ecd0904686087b4eb12d218dc12701541b4cf3aa95f"),
        (AUTHORITY, "kubernetes", "26740b1f5e784dcd0654df3d4103c1f9d0cadcbc672190c538f6b825b692babd"),
    ],
)
def test_name_and_fingerprint_are_those_that_openssl_prints(pem: str, name: str, fingerprint: str) -> None:
    der = _certificate.der_of_pem("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n" + pem)
    assert der is not None
    assert _certificate.subject_common_name(der) == name
    assert _certificate.sha256(der) == fingerprint


def test_of_two_certificates_the_first_one_counts() -> None:
    assert _certificate.der_of_pem(KUBELET + AUTHORITY) == _certificate.der_of_pem(KUBELET)


def test_what_is_no_certificate_has_no_name() -> None:
    assert _certificate.der_of_pem("nothing") is None
    for cut in (b"", b"\x30", b"\x30\x82\x01", (_certificate.der_of_pem(KUBELET) or b"")[:40]):
        assert _certificate.subject_common_name(cut) is None
