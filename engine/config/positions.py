"""Where each key, value and character of a configuration stands in its file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from engine.errors import Position

Path = tuple[str | int, ...]


class Origin:
    """The text that positions count in: a file, or a text inside a value of another document."""

    __slots__ = ("file", "outer", "source")

    def __init__(self, file: str, source: str, outer: Positions | None = None) -> None:
        self.file = file
        self.source = source
        self.outer = outer

    def position(self, line: int, column: int) -> Position:
        """Return the place in the outermost file for a line and column of this text."""
        outer = self.outer.inside(line, column) if self.outer else None
        return outer or Position(line, column, self.file)


class Span(NamedTuple):
    """The characters of a scalar in its source; style is '' (plain), ', ", | or >."""

    style: str
    start: int
    end: int


class Positions:
    """The place of one value, of its keys and of the values below it.

    Unknown paths answer with the nearest place known, and `NOWHERE` with None, so that a message
    never fails for want of a position.
    """

    __slots__ = ("children", "column", "keys", "line", "origin", "raw", "span")

    def __init__(
        self,
        origin: Origin,
        line: int = 0,
        column: int = 0,
        span: Span | None = None,
        keys: Mapping[str, tuple[int, int]] | None = None,
        children: Mapping[str | int, Positions] | None = None,
    ) -> None:
        self.origin = origin
        self.line = line
        self.column = column
        self.span = span
        self.keys: dict[str, tuple[int, int]] = dict(keys or {})
        self.children: dict[str | int, Positions] = dict(children or {})
        self.raw: str | None = None  # the text of a `${…}` value before it was given a type

    def below(self, *path: str | int) -> Positions:
        """Return the places of the value at ``path``, or of the nearest value above it."""
        place = self
        for step in path:
            if step not in place.children:
                break
            place = place.children[step]
        return place

    def of(self, *path: str | int) -> Position | None:
        """Return where the value at ``path`` begins (a quote or ``|`` included)."""
        place = self.below(*path)
        return place.origin.position(place.line, place.column) if place.line else None

    def of_key(self, *path: str | int) -> Position | None:
        """Return where the key at the end of ``path`` begins; a list item answers as `of`."""
        parent = self.below(*path[:-1])
        at = parent.keys.get(path[-1]) if path and isinstance(path[-1], str) else None
        return parent.origin.position(*at) if at else self.of(*path)

    def renamed(self, names: Mapping[str, str]) -> Positions:
        """Return only the entries in ``names`` (old name → new name), under their new names."""
        keys = {new: self.keys[old] for old, new in names.items() if old in self.keys}
        places = self.children
        children: dict[str | int, Positions] = {
            new: places[old] for old, new in names.items() if old in places
        }
        return Positions(self.origin, self.line, self.column, keys=keys, children=children)

    def over(self, others: Mapping[str | int, Positions]) -> Positions:
        """Return these places, but those of some entries that were written elsewhere."""
        keys = {key: at for key, at in self.keys.items() if key not in others}
        children = {**self.children, **others}
        return Positions(self.origin, self.line, self.column, self.span, keys, children)

    def inside(self, line: int = 1, column: int = 1) -> Position | None:
        """Return where a character of this text value stands; both count from 1 in the value.

        Escapes, folded lines and block scalars are followed; a character that can't be found
        answers with the start of the text.
        """
        if self.span is None:
            return self.of()
        offset = _source_offset(self.origin.source, self.span, line, column)
        return self.origin.position(*line_and_column(self.origin.source, offset))


NOWHERE = Positions(Origin("", ""))


def line_and_column(source: str, offset: int) -> tuple[int, int]:
    """Return line and column, counted from 1, of a character offset."""
    return source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)


# plain patterns: `re` compiles and keeps them when the first place inside a text is asked for
_PROPERTIES = r"(?:[!&]\S*\s+)*"
_FOLD = r"[ \t]*\n[ \t\n]*"
_PIECES = {
    "": f"{_FOLD}|.",
    ">": r"\n[ \n]*|.",
    "'": f"''|{_FOLD}|.",
    '"': r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\x..|\\u.{4}|\\U.{8}|\\\n[ \t]*|\\.|" + _FOLD + "|.",
}


def _source_offset(source: str, span: Span, line: int, column: int) -> int:
    properties = re.compile(_PROPERTIES).match(source, span.start, span.end)
    start = properties.end() if properties else span.start
    if span.style not in ("|", ">"):
        return _walked_offset(source, start + len(span.style), span, line, column)
    first, indent = _block(source, start, span.end)
    if span.style == "|":
        return _literal_offset(source, first, indent, line, column)
    return _walked_offset(source, _in_line(source, first, indent), span, line, column)


def _walked_offset(source: str, start: int, span: Span, line: int, column: int) -> int:
    at = (1, 1)
    for offset, moves in _pieces(source, start, span):
        if moves and at == (line, column):
            return offset
        for breaks in moves:
            at = (at[0] + 1, 1) if breaks else (at[0], at[1] + 1)
    return span.end if at == (line, column) and span.style == "" else start


def _pieces(source: str, start: int, span: Span) -> Iterator[tuple[int, list[bool]]]:
    """Yield each piece of source with, for every character it stands for, "is a line break"."""
    for match in re.compile(_PIECES[span.style]).finditer(source, start, span.end):
        piece = match[0]
        breaks = piece.count("\n")
        if piece.startswith("\\"):
            yield match.start(), [] if breaks else [piece == "\\n"]
        elif breaks:
            yield match.start(), [False] if breaks == 1 else [True] * (breaks - 1)
        else:
            yield match.start(), [False]


def _block(source: str, header: int, end: int) -> tuple[int, int]:
    """Return where the lines of a block scalar begin, and their indentation."""
    first = source.find("\n", header, end) + 1
    if not first:
        return header, 0
    explicit = re.match(r"[|>][-+]?([1-9])", source[header : header + 3])
    if explicit:
        line = source[source.rfind("\n", 0, header) + 1 : header]
        return first, len(line) - len(line.lstrip(" -")) + int(explicit[1])
    text = source[first:end].lstrip("\n ")
    start = end - len(text)
    return first, start - source.rfind("\n", 0, start) - 1


def _literal_offset(source: str, first: int, indent: int, line: int, column: int) -> int:
    line_start = first
    for _ in range(line - 1):
        line_start = source.find("\n", line_start) + 1
        if not line_start:
            return _in_line(source, first, indent)
    return _in_line(source, line_start, indent + column - 1)


def _in_line(source: str, line_start: int, column: int) -> int:
    line_end = source.find("\n", line_start)
    return min(line_start + column, len(source) if line_end < 0 else line_end)
