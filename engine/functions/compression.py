"""Compression methods of ``compress`` and ``decompress``, with a bound on what comes out."""

from __future__ import annotations

import sys
import zlib
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGEST_RESULT = 64 << 20
"""Bytes; a few bytes of compressed data can stand for any number of them."""

_WINDOW_BITS = {"zlib": 15, "gzip": 31, "flate": -15}
METHODS = (*_WINDOW_BITS, "zstd")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def compress(data: bytes, method: str) -> bytes:
    """Return compressed data; ``ValueError`` for an unknown method."""
    _check(method)
    if method == "zstd":
        return zstd.compress(data)
    compressor = zlib.compressobj(wbits=_WINDOW_BITS[method])
    return compressor.compress(data) + compressor.flush()


def decompress(data: bytes, method: str) -> bytes:
    """Return decompressed data; ``ValueError`` if that can't be done or is too large."""
    _check(method)
    result = b""
    while True:
        decompressor = _decompressor(method)
        try:
            result += decompressor.decompress(data, LARGEST_RESULT + 1 - len(result))
        except (zlib.error, zstd.ZstdError):
            raise ValueError(f"the data isn't compressed with {method}") from None
        if len(result) > LARGEST_RESULT:
            raise ValueError(f"the result has more than {LARGEST_RESULT} bytes")
        if not decompressor.eof:
            raise ValueError("the compressed data ends too early")
        data = decompressor.unused_data
        if not data or method not in ("gzip", "zstd"):  # these may consist of several parts
            return result


def _check(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; it can be {', '.join(METHODS)}")


def _decompressor(method: str) -> _Decompressor:
    if method == "zstd":
        return zstd.ZstdDecompressor()
    return zlib.decompressobj(wbits=_WINDOW_BITS[method])
