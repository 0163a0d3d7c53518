# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What would cost an outage and a roll-back is seen before."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._certificate import der_of_pem, not_after
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_tls import (
    listen_obstacles,
    own_obstacles,
    peer_obstacles,
)
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.test_certificate import SERVER

END = not_after(der_of_pem(SERVER) or b"") or 0.0


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    path = tmp_path / "server.crt"
    path.write_text(SERVER)
    return str(path)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"listen-peer-urls": "https://127.0.0.1:2380", "listen-client-urls": "https://127.0.0.1:2379"}, None),
        ({"listen-peer-urls": "https://0.0.0.0:2380", "listen-client-urls": "https://localhost:2379"}, None),
        # Addresses for documentation: nobody has them.
        ({"listen-peer-urls": "https://192.0.2.1:2380"}, "192.0.2.1 (--listen-peer-urls)"),
        (
            {"listen-client-urls": "https://127.0.0.1:2379,https://192.0.2.1:2379"},
            "192.0.2.1 (--listen-client-urls), which is no address of this host",
        ),
        ({}, None),
    ],
)
def test_an_address_that_the_host_has_lost(flags: dict[str, str], said: Optional[str]) -> None:
    found = " ".join(listen_obstacles(flags))
    assert (said in found) if said else found == ""


@pytest.mark.parametrize(
    ("endpoint", "now", "said"),
    [
        ("https://127.0.0.1:2379", END - 7200, None),
        ("https://[fd00::11]:2379", END - 7200, None),
        ("https://127.0.0.1:2379", END - 60, "is good until 2126-10-31T14:22:38Z only"),
        ("https://127.0.0.1:2379", END + 60, "kubeadm certs renew etcd-server"),
        ("https://10.0.0.99:2379", END - 7200, "is not for 10.0.0.99"),
        ("http://10.0.0.99:2379", END - 7200, None),
    ],
)
def test_a_servers_certificate(certificate: str, endpoint: str, now: float, said: Optional[str]) -> None:
    found = " ".join(own_obstacles({"cert-file": certificate}, endpoint, now))
    assert (said in found) if said else found == ""


@pytest.mark.parametrize(
    ("url", "now", "said"),
    [
        ("https://10.0.0.11:2380", END - 7200, None),
        ("https://10.0.0.99:2380", END - 7200, "etcd's peer certificate"),
        ("https://10.0.0.11:2380", END, "kubeadm certs renew etcd-peer"),
    ],
)
def test_a_peers_certificate(certificate: str, url: str, now: float, said: Optional[str]) -> None:
    found = " ".join(peer_obstacles({"peer-cert-file": certificate, "initial-advertise-peer-urls": url}, now))
    assert (said in found) if said else found == ""


def test_the_others_ask_it_where_clients_do(certificate: str) -> None:
    flags = {"cert-file": certificate, "advertise-client-urls": "https://10.0.0.99:2379"}
    assert "server certificate" in " ".join(peer_obstacles(flags, END - 7200))


@pytest.mark.parametrize("flags", [{}, {"peer-cert-file": "/nowhere", "cert-file": "/nowhere"}])
def test_what_cannot_be_read_is_not_judged(flags: dict[str, str]) -> None:
    flags = {**flags, "initial-advertise-peer-urls": "https://10.0.0.99:2380"}
    assert peer_obstacles(flags, END) == []
    assert own_obstacles(flags, "https://10.0.0.99:2379", END) == []
