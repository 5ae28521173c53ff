"""Files that may be compressed, and those of them that are damaged."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import TypeVar

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

T = TypeVar("T")

DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError)
"""What reading raises where the compressed data is cut off or not what it should be."""


def opened(path: Path, decompression: str) -> BufferedIOBase:
    """Open a file for reading what it holds.

    Raises:
        OSError: the disk fails, or there is no such file.
    """
    match decompression:
        case "gzip":
            return gzip.open(path, "rb")
        case "zstd":
            return zstd.open(path, "rb")
    return path.open("rb")


def read_some(file: BufferedIOBase, size: int) -> bytes:
    """Read so many bytes, or fewer if the end or damage comes before.

    Damage is raised only where nothing comes before it: ``file.read`` would lose what does.
    """
    data = b""
    while len(data) < size:
        try:
            more = file.read1(size - len(data))
        except DAMAGED:
            if not data:
                raise
            break
        if not more:
            break
        data += more
    return data


def grouped(items: Iterator[T], most: int) -> Iterator[list[T]]:
    """Yield items in groups of up to ``most``; those before damage come before it is raised."""
    group: list[T] = []
    try:
        for item in items:
            group.append(item)
            if len(group) == most:
                yield group
                group = []
    except DAMAGED:
        if group:
            yield group
        raise
    if group:
        yield group
