# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Whether this host's etcd, once stopped, could listen again and would be trusted by the others and by us."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Optional
from urllib.parse import urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils._certificate import der_of_pem, not_after, stands_for
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import read_text
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import iso

_OUTAGE = 3600.0  # seconds in which a certificate must not end


def hosts_of(urls: str, scheme: str = "") -> list[str]:
    """The hosts in a list of URLs, of those with this scheme."""
    parts = [urlsplit(url.strip()) for url in urls.split(",") if url.strip()]
    return [part.hostname for part in parts if part.hostname and part.scheme.startswith(scheme)]


def absent_address(host: str) -> bool:
    """Whether it is an address that this host does not have, so that nothing can listen on it."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host.partition("%")[0]).version == 6 else socket.AF_INET
    except ValueError:
        return False
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL
    return False


def listen_obstacles(flags: dict[str, str]) -> list[str]:
    """Addresses on which etcd should listen, and which this host does not have."""
    return [
        f"etcd listens on {host} (--{flag}), which is no address of this host: give the host its address back, or "
        "etcd, its certificates and its manifest or unit the new one."
        for flag in ("listen-peer-urls", "listen-client-urls")
        for host in hosts_of(flags.get(flag, ""))
        if absent_address(host)
    ]


def certificate_obstacle(what: str, path: str, hosts: list[str], now: float) -> Optional[str]:
    """Why nobody would trust etcd with this certificate when it is asked under one of these names; None for a good one.

    One that cannot be read is not judged: etcd itself might read it elsewhere.
    """
    der = der_of_pem(read_text(path) or "") if path else None
    if der is None:
        return None
    cure = f"issue it again (kubeadm certs renew etcd-{what}, or as it was made) and restart etcd"
    end = not_after(der)
    if end is not None and end < now + _OUTAGE:
        return f"etcd's {what} certificate {path} is good until {iso(end)} only, so etcd would not come back: {cure}."
    foreign = [host for host in hosts if not stands_for(der, host)]
    if foreign:
        return f"etcd's {what} certificate {path} is not for {', '.join(foreign)}, where it is asked: {cure}."
    return None


def own_obstacles(flags: dict[str, str], endpoint: str, now: float) -> list[str]:
    """What this host's member would fail by, be it alone or not."""
    server = certificate_obstacle("server", flags.get("cert-file", ""), hosts_of(endpoint, "https"), now)
    return listen_obstacles(flags) + ([server] if server else [])


def peer_obstacles(flags: dict[str, str], now: float) -> list[str]:
    """What other members would fail by that speak to this one."""
    peers = hosts_of(flags.get("initial-advertise-peer-urls", ""), "https")
    clients = hosts_of(flags.get("advertise-client-urls", ""), "https")
    found = [
        certificate_obstacle("peer", flags.get("peer-cert-file", ""), peers, now),
        certificate_obstacle("server", flags.get("cert-file", ""), clients, now),
    ]
    return [obstacle for obstacle in found if obstacle]
