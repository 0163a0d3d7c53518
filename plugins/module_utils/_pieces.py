# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A big file carried over a connection that knows only commands and text: piece by piece, packed, as base64."""

from __future__ import annotations

import base64
import binascii
import shlex
import zlib

# A round trip costs 0.1 to 0.3 s. The connection holds a piece's text several times: 16 MiB keep it below 150 MB.
PIECE = 16 << 20


def command(path: str, offset: int, length: int) -> str:
    """The shell command that prints one piece of ``path``; coreutils and gzip start faster than Python does."""
    read = f"dd if={shlex.quote(path)} bs=1M iflag=skip_bytes,count_bytes skip={offset} count={length} status=none"
    return f"{read} | gzip -1 | base64 -w 0"


def unpack(text: str, length: int) -> bytes:
    """The bytes of a piece.

    :raises ValueError: when they are not exactly ``length`` undamaged bytes (gzip carries a checksum).
    """
    try:
        packed = base64.b64decode(text, validate=False)
        # No more than one byte above what is wanted is ever unpacked.
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        data = unpacker.decompress(packed, length + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof and len(data) == length:
        # The checksum is still to come when the output was limited exactly at its end.
        try:
            data += unpacker.decompress(unpacker.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error
    if len(data) != length or not unpacker.eof:
        raise ValueError(f"{len(data)} of {length} bytes")
    return data
