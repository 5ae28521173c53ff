"""The JSON objects of a file, found one by one: alone, in an array, or one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

from .packed import read_some

_STRING = rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'
_OUTSIDE = re.compile(
    rb"(?P<fine>(?:[\s,\[\]]|\xef\xbb\xbf)+)|(?P<begin>\{)|"
    + _STRING
    + rb'|[^\s,\[\]{}"\xef]+|[}\xef]',
    re.DOTALL,
)
"""What may stand outside objects, and should: white space, commas, brackets, a byte order mark."""
_FLAT = re.compile(
    rb"[\s,\[\]]*+(?P<object>\{[^{}\"]*+(?:" + _STRING + rb"[^{}\"]*+)*+\})", re.DOTALL
)
"""An object that holds no other, which most are, and what may stand before it."""
_INSIDE = re.compile(_STRING + rb"|[{}]", re.DOTALL)
_CHUNK = 256 * 1024


class Found(NamedTuple):
    """Bytes of a file that should be an object; ``end`` is the offset behind them."""

    data: bytes
    end: int
    flaw: str = ""
    """Why it can't be one."""


def objects(file: BufferedIOBase, start: int, *, longest: int, is_final: bool) -> Iterator[Found]:
    """Yield the objects from ``start`` on, where the file stands.

    An object whose end isn't there is a flaw if ``is_final``, else left for later.
    """
    data, at, base, is_end = b"", 0, start, False
    while True:
        found, at = _next(data, at, is_end=is_end)
        if found is not None:
            yield found._replace(end=base + found.end)
        elif not is_end:
            data, base = data[at:], base + at
            if len(data) > longest:
                rest = sum(map(len, iter(lambda: file.read(_CHUNK), b"")))
                what = f"an object longer than {longest} bytes, and all after it,"
                yield Found(data[:100], base + len(data) + rest, what)
                return
            # more each time, as all is looked at again
            more = read_some(file, max(_CHUNK, len(data)))
            data, at, is_end = data + more, 0, not more
        else:
            if at < len(data) and is_final:
                yield Found(data[at:], base + len(data), "an object without end")
            return


def _next(data: bytes, at: int, *, is_end: bool) -> tuple[Found | None, int]:
    """Return what comes next, if all of it is there, and where to go on looking."""
    if (flat := _FLAT.match(data, at)) is not None:
        return Found(flat["object"], flat.end()), flat.end()
    while (token := _OUTSIDE.match(data, at)) is not None:
        if token.lastgroup == "fine":
            at = token.end()
            continue
        if token.lastgroup == "begin":
            end = _end_of_object(data, at)
            return (None, at) if end is None else (Found(data[at:end], end), end)
        if token.end() == len(data) and not is_end:
            return None, at
        return Found(token[0], token.end(), "something that is no object"), token.end()
    return None, at


def _end_of_object(data: bytes, begin: int) -> int | None:
    depth = 0
    for token in _INSIDE.finditer(data, begin):
        if token[0] == b"{":
            depth += 1
        elif token[0] == b"}":
            depth -= 1
            if not depth:
                return token.end()
    return None
