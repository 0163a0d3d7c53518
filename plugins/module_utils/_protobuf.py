# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Reading protobuf messages whose fields are known by number, without a library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and the place behind it.

    :raises ValueError: when there is none.
    """
    value = shift = 0
    for place in range(at, min(len(data), at + 10)):
        value |= (data[place] & 0x7F) << shift
        shift += 7
        if not data[place] & 0x80:
            return value, place + 1
    raise ValueError("a number in a protobuf message is cut off")


def fields(data: bytes) -> Iterator[tuple[int, Union[int, bytes]]]:
    """Number and content of each field that is a number or bytes. Those of a fixed size are stepped over.

    :raises ValueError: when it is no whole message.
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = varint(data, at)
            yield tag >> 3, value
        elif kind == _BYTES:
            size, at = varint(data, at)
            if at + size > len(data):
                raise ValueError("a field of a protobuf message is cut off")
            yield tag >> 3, data[at : at + size]
            at += size
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("a field of a protobuf message has no known type")


def byte_fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Those that hold bytes: texts, maps, messages."""
    return ((number, content) for number, content in fields(data) if isinstance(content, bytes))


def numbers(data: bytes) -> dict[int, int]:
    """Those that are numbers, by their own number."""
    return {number: content for number, content in fields(data) if isinstance(content, int)}


def first(data: bytes, number: int) -> bytes:
    """The content of the first field with this number; empty when there is none."""
    return next((content for found, content in byte_fields(data) if found == number), b"")
