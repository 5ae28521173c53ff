"""Compressed files: a piece for each write, each of which can be read without the others."""

from __future__ import annotations

import os
import sys
import zlib
from dataclasses import dataclass
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP = 31  # the window size that stands for a gzip header and trailer
_MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_CHUNK = 1 << 20
_STEP = 4096
"""Bytes given to the decompressor at once; what is behind the end of a piece is copied."""
_HEAD = 1 << 16
"""Bytes at the beginning of the text that are remembered, for its header."""


class Damaged(Exception):
    """A file isn't compressed so, or not from some byte on."""


@dataclass(slots=True)
class Contents:
    """What is in a compressed file, as far as its pieces are whole."""

    head: bytes = b""
    """The beginning of its text."""
    last: bytes = b""
    """The text of the last piece, or the end of it."""
    last_start: int = 0
    """Where in the file the last piece begins, and where it ends."""
    end: int = 0
    breaks: int = 0
    """Line breaks in the text."""


class Packing:
    """Compresses pieces, and finds the whole ones in a file."""

    def __init__(self, method: str, level: int | None) -> None:
        """``method`` is ``gzip`` or ``zstd``."""
        self.method = method
        self._level = level

    def pack(self, data: bytes) -> bytes:
        """Return a piece."""
        if self.method == "zstd":
            return zstd.compress(data, self._level)
        stream = zlib.compressobj(-1 if self._level is None else self._level, wbits=_GZIP)
        return stream.compress(data) + stream.flush()

    def contents(self, file: int) -> Contents:
        """Read a whole file; what follows the last whole piece is a write that was interrupted.

        Raises:
            Damaged: it is something else.
        """
        found = Contents()
        machine, text, offset = self._machine(), _Tally(), 0
        while chunk := os.pread(file, _CHUNK, offset):
            view, at = memoryview(chunk), 0
            while at < len(view):
                part = view[at : at + _STEP]
                try:
                    text.add(machine.decompress(part))
                except (zlib.error, zstd.ZstdError) as error:
                    raise self._damaged(found) from error
                at += len(part)
                if machine.eof:
                    at -= len(machine.unused_data)
                    _note(found, text, offset + at)
                    machine, text = self._machine(), _Tally()
            offset += len(chunk)
        rest = os.pread(file, len(_MAGIC[self.method]), found.end)
        if not _MAGIC[self.method].startswith(rest):
            raise self._damaged(found)
        return found

    def _damaged(self, found: Contents) -> Damaged:
        return Damaged(f"it is not {self.method} from byte {found.end} on")

    def _machine(self) -> Any:
        return zstd.ZstdDecompressor() if self.method == "zstd" else zlib.decompressobj(_GZIP)


class _Tally:
    """What is remembered of the text of one piece."""

    def __init__(self) -> None:
        self.head = b""
        self.last = b""
        self.breaks = 0

    def add(self, text: bytes) -> None:
        self.breaks += text.count(b"\n")
        if len(self.head) < _HEAD:
            self.head += text[:_HEAD]
        self.last = (self.last + text)[-16:]


def _note(found: Contents, text: _Tally, end: int) -> None:
    if len(found.head) < _HEAD:
        found.head += text.head
    found.last, found.last_start, found.end = text.last, found.end, end
    found.breaks += text.breaks
