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
# with subjectAltName=DNS:cp1,DNS:*.example.org,DNS:localhost,IP:10.0.0.11,IP:127.0.0.1,IP:fd00::11
SERVER = """-----BEGIN CERTIFICATE-----
MIIB3DCCAYKgAwIBAgIUWX5xKwn6YL9trTHkysolsM3CgewwCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDY3AxMCAXDTI2MTEyNDE0MjIzOFoYDzIxMjYxMDMxMTQyMjM4
WjAOMQwwCgYDVQQDDANjcDEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARCuuTa
WoCFQwAd947lrU11YL8UebNAM6IWwaYei1NRDVjvVw23MNgkqChicw835eZFycKk
CyBhn8mKPpvAD/flo4G7MIG4MB0GA1UdDgQWBBSIRn3eiymBcDtEHaSNa/Hc4TjR
yjAfBgNVHSMEGDAWgBSIRn3eiymBcDtEHaSNa/Hc4TjRyjAPBgNVHRMBAf8EBTAD
AQH/MEYGA1UdEQQ/MD2CA2NwMYINKi5leGFtcGxlLm9yZ4IJbG9jYWxob3N0hwQK
AAALhwR/AAABhxD9AAAAAAAAAAAAAAAAAAARMB0GA1UdJQQWMBQGCCsGAQUFBwMB
BggrBgEFBQcDAjAKBggqhkjOPQQDAgNIADBFAiBg77gBqpNDu8N4WB8w2LFAEncC
mr+AUpGscXIamhK6QgIhAKrL0Sg55sKh7McrChZOL1iTEGj3CGbn8w8TtoaVNxE0
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


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("cp1", True),
        ("CP1", True),
        ("10.0.0.11", True),
        ("fd00::11", True),
        ("fd00:0:0:0:0:0:0:11", True),
        ("etcd.example.org", True),
        ("cp2", False),
        ("10.0.0.12", False),
        ("fd00::12", False),
        ("example.org", False),
        ("a.b.example.org", False),
    ],
)
def test_whom_a_certificate_stands_for(host: str, good: bool) -> None:
    der = _certificate.der_of_pem(SERVER)
    assert der is not None
    assert _certificate.stands_for(der, host) is good


def test_the_subject_does_not_count() -> None:
    der = _certificate.der_of_pem(AUTHORITY)
    assert der is not None
    assert _certificate.alternative_names(der) == []
    assert not _certificate.stands_for(der, "kubernetes")


def test_a_certificate_that_is_cut_off_stands_for_nobody() -> None:
    der = _certificate.der_of_pem(SERVER) or b""
    assert all(not _certificate.stands_for(der[:size], "cp2") for size in range(len(der)))
