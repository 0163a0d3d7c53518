# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The few fields of an X.509 certificate that we need, read without a library: a DER walk of thirty lines."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import re
from collections.abc import Iterator
from typing import Optional

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_COMMON_NAME = bytes.fromhex("550403")
# What a certificate may be used for, as DER has it.
SERVER_AUTH = bytes.fromhex("06082b06010505070301")
CLIENT_AUTH = bytes.fromhex("06082b06010505070302")
_ALT_NAMES = bytes.fromhex("0603551d11")
_VERSION_TAG = 0xA0
_EXTENSIONS_TAG = 0xA3
_DNS_NAME, _ADDRESS = 0x82, 0x87
_UTC_TIME = 0x17  # with two digits of the year; from 2050 on certificates use the other kind


def der_of_pem(pem: str) -> Optional[bytes]:
    """The first certificate of a PEM text (keys and further certificates may stand around it)."""
    found = _PEM.search(pem)
    return base64.b64decode(found.group(1)) if found else None


def sha256(der: bytes) -> str:
    """The fingerprint that openssl prints, in lower case without colons."""
    return hashlib.sha256(der).hexdigest()


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element in ``data``."""
    at = 0
    while at + 2 <= len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        yield tag, data[at : at + length]
        at += length


def _fields(der: bytes) -> list[tuple[int, bytes]]:
    """Serial number, algorithm, issuer, validity, subject, ... of a certificate."""
    certificate = next(_elements(der))[1]
    to_be_signed = list(_elements(next(_elements(certificate))[1]))
    if to_be_signed and to_be_signed[0][0] == _VERSION_TAG:
        del to_be_signed[0]
    return to_be_signed


def not_after(der: bytes) -> Optional[float]:
    """When a certificate ends, as seconds since the epoch."""
    try:
        _begin, (tag, text) = list(_elements(_fields(der)[3][1]))[:2]
        end = datetime.datetime.strptime(text.decode(), "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ")
    except (IndexError, ValueError, StopIteration):
        return None
    return end.replace(tzinfo=datetime.timezone.utc).timestamp()


def subject_common_name(der: bytes) -> Optional[str]:
    """The subject's CN: of a kubelet's client certificate ``system:node:NAME``."""
    try:
        subject = _fields(der)[4][1]
        for _set_tag, names in _elements(subject):
            for _sequence_tag, pair in _elements(names):
                (_oid_tag, oid), (_text_tag, text) = list(_elements(pair))[:2]
                if oid == _COMMON_NAME:
                    return text.decode()
    except (IndexError, ValueError, StopIteration):
        return None
    return None


def alternative_names(der: bytes) -> list[str]:
    """The names and addresses for which a server's certificate stands; addresses as Python writes them."""
    found = []
    try:
        extensions = next(content for tag, content in _fields(der) if tag == _EXTENSIONS_TAG)
        for _sequence_tag, extension in _elements(next(_elements(extensions))[1]):
            if not extension.startswith(_ALT_NAMES):
                continue
            _octets_tag, octets = list(_elements(extension))[-1]
            for tag, name in _elements(next(_elements(octets))[1]):
                if tag == _DNS_NAME:
                    found.append(name.decode().lower())
                elif tag == _ADDRESS:
                    found.append(str(ipaddress.ip_address(name)))
    except (IndexError, ValueError, StopIteration):
        return found
    return found


def stands_for(der: bytes, host: str) -> bool:
    """Whether a client that connects to this name or address trusts it; the subject does not count."""
    names = alternative_names(der)
    try:
        return str(ipaddress.ip_address(host)) in names
    except ValueError:
        host = host.lower().rstrip(".")
        return host in names or ("." in host and "*." + host.partition(".")[2] in names)
