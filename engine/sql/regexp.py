"""Regular expressions of the RE2 flavour, which take time linear in the text.

The flavour has neither look-around nor back-references. What could still take long, a large
pattern over a long text or very many replacements, is refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]

_MEMORY = 1 << 20
_MOST_STEPS = 1 << 27
"""Size of a compiled pattern times length of a text; about a second at worst."""
_LONGEST_RESULT = 16 << 20
_LONGEST_SECONDS = 0.5
_SINGLE_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")
"""RE2's "one byte", which would tear characters apart; Go's RE2 doesn't have it."""
_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")

_Part = str | Callable[[Any], str]


class Regexp:
    """A compiled regular expression."""

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        options.max_mem = _MEMORY
        options.log_errors = False
        if _SINGLE_BYTE.search(pattern):
            raise ValueError("invalid pattern: \\C is not supported")
        try:
            self._expression = re2.compile(pattern, options)
        except re2.error as error:
            reason = error.args[0]
            text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            raise ValueError(f"invalid pattern: {text}") from None
        numbered = {str(number): number for number in range(self._expression.groups + 1)}
        self._groups = {**self._expression.groupindex, **numbered}
        self._longest = _MOST_STEPS // max(self._expression.programsize, 1)

    def matches(self, text: str) -> bool:
        """Tell whether the expression fits somewhere in a text."""
        return self._expression.search(self._encoded(text)) is not None

    def first(self, text: str) -> str | None:
        """Return the first part of a text that fits, None if there is none."""
        found = self._expression.search(self._encoded(text))
        return None if found is None else _decoded(found.group())

    def replace(self, text: str, template: str) -> str:
        """Return a text with all parts that fit replaced; see ``_template``."""
        encoded = self._encoded(text)
        parts = _template(template, self._groups)
        pieces: list[str] = []
        size = position = 0
        for found in self._matches(encoded):
            pieces.append(encoded[position : found.start()].decode())
            pieces += (part if isinstance(part, str) else part(found) for part in parts)
            position = found.end()
            size += sum(map(len, pieces[-len(parts) - 1 :]))
            if size > _LONGEST_RESULT:
                raise ValueError(f"the result has more than {_LONGEST_RESULT} characters")
        pieces.append(encoded[position:].decode())
        return "".join(pieces)

    def _encoded(self, text: str) -> bytes:
        encoded = text.encode()
        if len(encoded) > self._longest:
            raise ValueError("the text is too long for so large a pattern")
        return encoded

    def _matches(self, encoded: bytes) -> Iterator[Any]:
        """Yield the matches; an empty one just behind another match doesn't count."""
        until = time.process_time() + _LONGEST_SECONDS
        last_end = 0
        for found in self._expression.finditer(encoded):
            start = found.start()
            if start < len(encoded) and encoded[start] & 0xC0 == 0x80:
                continue  # an empty match inside a character
            if found.end() > last_end or start == 0:
                yield found
            last_end = found.end()
            if time.process_time() > until:
                raise ValueError("the replacement takes too long")


def _template(template: str, groups: dict[str, int]) -> list[_Part]:
    """Split a replacement text into plain text and functions of the match.

    ``$1`` and ``${1}`` are a group by number, ``$name`` and ``${name}`` by name, all empty if there
    is no such group; ``$$`` is a dollar sign, as is a dollar sign before anything else.
    """
    parts: list[_Part] = []
    position = 0
    for reference in _REFERENCE.finditer(template):
        parts.append(template[position : reference.start()])
        position = reference.end()
        dollar, name, braced = reference.groups()
        if dollar:
            parts.append(dollar)
        elif (group := groups.get(name or braced)) is not None:
            parts.append(_group(group))
    parts.append(template[position:])
    return parts


def _group(number: int) -> Callable[[Any], str]:
    return lambda found: _decoded(found.group(number))


def _decoded(part: bytes | None) -> str:
    return "" if part is None else part.decode()


@lru_cache(maxsize=128)
def compiled(pattern: str) -> Regexp:
    """Return a compiled regular expression; ``ValueError`` for what isn't one."""
    return Regexp(pattern)
