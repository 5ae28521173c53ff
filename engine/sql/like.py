r"""LIKE patterns, matched in time that no pattern can blow up.

``%`` is any text, ``_`` any character, but neither takes a line feed; ``\`` takes the next
character as it is; everything else stands for itself (language specification, 1.3, with 8.2, item
20). So each line of a text must fit its line of the pattern, and there, between two ``%``, the
first place that fits is as good as any other: a match never goes back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

_MOST_STEPS = 1 << 27
"""Comparisons that one search for a segment with ``_`` may need; about a second."""


_Match = Callable[[str], bool | None]


class _Segment(Protocol):
    """What stands between two ``%``; it always takes the same number of characters."""

    length: int

    def fits(self, text: str, position: int) -> bool: ...

    def find(self, text: str, start: int, end: int) -> int: ...


class _Literal:
    def __init__(self, literal: str) -> None:
        self.length = len(literal)
        self.literal = literal

    def fits(self, text: str, position: int) -> bool:
        return text.startswith(self.literal, position)

    def find(self, text: str, start: int, end: int) -> int:
        return text.find(self.literal, start, end)


class _Wild:
    """A segment with ``_`` in it, given as a regular expression without repetitions."""

    def __init__(self, expression: str, length: int) -> None:
        self.length = length
        self._expression = re.compile(expression, re.DOTALL)

    def fits(self, text: str, position: int) -> bool:
        return self._expression.match(text, position) is not None

    def find(self, text: str, start: int, end: int) -> int:
        if (end - start) * self.length > _MOST_STEPS:
            raise ValueError("the text is too long for a LIKE pattern with so many characters")
        found = self._expression.search(text, start, end)
        return -1 if found is None else found.start()


class LikePattern:
    """A LIKE pattern; ``fullmatch(text)`` gives True if the whole text matches, else None."""

    def __init__(self, pattern: str) -> None:
        lines = [_plain(segments) or _Parts(segments).match for segments in _lines(pattern)]
        self.fullmatch: _Match = lines[0] if len(lines) == 1 else _by_line(lines)


def _by_line(lines: list[_Match]) -> _Match:
    def match(text: str) -> bool | None:
        given = text.split("\n")
        fits = len(given) == len(lines) and all(
            line(part) for line, part in zip(lines, given, strict=True)
        )
        return fits or None

    return match


def _plain(segments: list[_Segment]) -> _Match | None:
    """Return the quick way for the commonest patterns: x, x%, %x and %x%."""
    literals = [segment.literal for segment in segments if isinstance(segment, _Literal)]
    match literals:
        case _ if len(literals) != len(segments):
            return None
        case [whole]:
            return lambda text: True if text == whole else None
        case [start, ""]:
            return lambda text: True if text.startswith(start) and "\n" not in text else None
        case ["", end]:
            return lambda text: True if text.endswith(end) and "\n" not in text else None
        case ["", part, ""]:
            return lambda text: True if part in text and "\n" not in text else None
    return None


class _Parts:
    """Segments in their order, with any text between two of them."""

    def __init__(self, segments: list[_Segment]) -> None:
        self._first, *rest = segments
        self._last = rest.pop() if rest else None
        self._middle = rest
        self._shortest = sum(segment.length for segment in segments)

    def match(self, text: str) -> bool | None:
        length = len(text)
        if length < self._shortest or "\n" in text or not self._first.fits(text, 0):
            return None
        if self._last is None:
            return True if length == self._shortest else None
        end = length - self._last.length
        if not self._last.fits(text, end):
            return None
        position = self._first.length
        for segment in self._middle:
            position = segment.find(text, position, end)
            if position < 0:
                return None
            position += segment.length
        return True


def _lines(pattern: str) -> Iterator[list[_Segment]]:
    """Yield for each line the parts between the ``%``; the first and the last may be empty."""
    segments: list[_Segment] = []
    segment: list[str | None] = []  # None for any character
    characters = iter(pattern)
    for character in characters:
        literal = next(characters, "\\") if character == "\\" else character
        if character == "%":
            segments.append(_segment(segment))
            segment = []
        elif literal == "\n":
            yield [*segments, _segment(segment)]
            segments, segment = [], []
        else:
            segment.append(None if character == "_" else literal)
    yield [*segments, _segment(segment)]


def _segment(characters: list[str | None]) -> _Segment:
    literal = "".join(character or "" for character in characters)
    if len(literal) == len(characters):
        return _Literal(literal)
    expression = "".join("." if c is None else re.escape(c) for c in characters)
    return _Wild(expression, len(characters))
