"""Where to go on in a file that is there already, whoever has written it and however it ended."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .packing import Damaged, Packing
from .shapes import Items, Shape, Table, is_json

_HEAD = 1 << 16
"""Bytes within which the header of a table is looked for."""
_CHUNK = 1 << 20
_SPACE = b" \t\r\n"


@dataclass(slots=True)
class Survey:
    """What is known of a file before something is appended to it."""

    end: int = 0
    """Where the next text goes. What is behind it is a tail, or has been torn by a crash."""
    joint: bytes = b""
    """What comes before the next text, if there are any already."""
    header: bytes = b""
    messages: int = 0
    """Lines that are there, which may be counted as messages."""


def survey(file: int, shape: Shape, packing: Packing | None, *, counts: bool) -> Survey:
    """Look at an open file; its lines are counted if ``counts``.

    Raises:
        Damaged: nothing can be appended to it.
        OSError: it can't be read.
    """
    size = os.fstat(file).st_size
    if not size:
        return Survey()
    if packing is not None:
        return _packed(file, shape, packing)
    if isinstance(shape, Items):
        return _array(file, size, shape, counts=counts)
    found = Survey(end=size)
    if os.pread(file, 1, size - 1) != b"\n":
        found.joint = b"\n"  # or a torn line would spoil the next one
    if isinstance(shape, Table):
        found.header = shape.header_of(os.pread(file, _HEAD, 0))
    if counts:
        found.messages = _breaks(file) - bool(found.header)
    return found


def _packed(file: int, shape: Shape, packing: Packing) -> Survey:
    contents = packing.contents(file)
    found = Survey(end=contents.end, messages=contents.breaks)
    if not found.end:
        return Survey()
    if isinstance(shape, Table):
        found.header = shape.header_of(contents.head)
        found.messages -= 1
    if isinstance(shape, Items):
        if not contents.head.lstrip(_SPACE).startswith(b"["):
            raise Damaged("it holds no JSON array")
        if contents.last == shape.tail:
            found.end = contents.last_start
            found.messages -= shape.tail.count(b"\n")
        elif contents.last.rstrip(_SPACE).endswith(b"]"):
            raise Damaged("its JSON array has been written by something else")
        found.joint = shape.separator
    elif not contents.last.endswith(b"\n"):
        found.joint = b"\n"
    return found


def _array(file: int, size: int, shape: Items, *, counts: bool) -> Survey:
    """Find the end of the last item of an array."""
    end = size - len(shape.tail)
    if os.pread(file, 1, 0) == b"[" and end > 0 and os.pread(file, size, end) == shape.tail:
        messages = _breaks(file) - 2 if counts else 0
        return Survey(end=end, joint=shape.separator, messages=messages)
    text = os.pread(file, size, 0)
    stripped = text.rstrip(_SPACE)
    if stripped.endswith(b"]") and text.lstrip(_SPACE).startswith(b"[") and is_json(text):
        items = stripped[:-1].rstrip(_SPACE)
        is_empty = items.lstrip(_SPACE) == b"["
        joint = b"\n" if is_empty else shape.separator
        return Survey(end=len(items), joint=joint, messages=items.count(b"\n"))
    opening = shape.opening(b"")
    if not text.startswith(opening[: len(text)]):
        raise Damaged("it is no JSON array")
    return _torn_array(text, shape)


def _torn_array(text: bytes, shape: Items) -> Survey:
    """Find the last item that is whole in an array of ours that was being written."""
    start = len(shape.opening(b""))
    separator = text.rfind(shape.separator)
    line = separator + len(shape.separator) if separator >= start else start
    item = text[line:].rstrip(_SPACE)
    is_whole = item.endswith(b"}") and is_json(b"[" + item + b"]")  # a number might be cut short
    end = line + len(item) if is_whole else separator
    if end <= start:
        return Survey()
    return Survey(end=end, joint=shape.separator, messages=text[:end].count(b"\n"))


def _breaks(file: int) -> int:
    """Return how many lines a file has."""
    found = offset = 0
    while chunk := os.pread(file, _CHUNK, offset):
        found += chunk.count(b"\n")
        offset += len(chunk)
    return found
