# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""A big file carried over a connection that knows only commands and text: piece by piece, packed, as base64."""

from __future__ import annotations

import base64
import shlex
import zlib

# A round trip costs 0.1 s, far more on a busy host, so pieces should be big; but the connection holds a piece's text
# several times. With 8 MiB the controller stays near 100 MB.
PIECE = 8 << 20


def command(path: str, offset: int, length: int, packed: bool) -> str:
    """The shell command that prints one piece of ``path``; coreutils and gzip start faster than Python does.

    :param packed: with gzip in between, which pays on a slow line and costs on a fast one.
    """
    read = f"dd if={shlex.quote(path)} bs=1M iflag=skip_bytes,count_bytes skip={offset} count={length} status=none"
    return f"{read} | gzip -1 | base64 -w 0" if packed else f"{read} | base64 -w 0"


def unpack(text: str, length: int, packed: bool) -> bytes:
    """The bytes of a piece.

    :raises ValueError: when they are not exactly ``length`` bytes. That they are the right ones, the digest of the
        whole file proves.
    """
    data = base64.b64decode(text.strip(), validate=True)
    if packed:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            # Never more than one byte above what is wanted.
            data = unpacker.decompress(data, length + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("its packed form is not whole")
    if len(data) != length:
        raise ValueError(f"{len(data)} of {length} bytes")
    return data


class Line:
    """Whether packing pays on this line: two pieces are sent each way, then the faster way is kept."""

    _SAMPLES = 4

    def __init__(self) -> None:
        self.packed = False
        self._seconds: list[float] = []

    def took(self, seconds: float) -> None:
        """The last piece took so long."""
        self._seconds.append(seconds)
        if len(self._seconds) < self._SAMPLES:
            self.packed = not self.packed
        elif len(self._seconds) == self._SAMPLES:
            # The best of two: a hiccup must not decide.
            self.packed = min(self._seconds[1::2]) < min(self._seconds[0::2])
