"""Delimited text: a line for each row, its columns separated by a comma or another text.

A column that holds the delimiter, a quote or a line break stands in double quotes, in which a quote
is written twice. A message may have several lines, which are several rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from engine.batch import Row
from engine.codec.contract import Encoder
from engine.codec.textual import TextualDecoder, text_of
from engine.errors import ConfigError
from engine.sql.kinds import kind_of
from engine.sql.schema import Schema

_LINE_BREAK = re.compile(r"\r?\n")


class DelimitedDecoder(TextualDecoder):
    """Columns are called ``col0``, ``col1`` … unless ``fields`` names them."""

    def __init__(self, schema: Schema, delimiter: str = ",", fields: Sequence[str] = ()) -> None:
        super().__init__(schema, self._read)
        self._delimiter = _checked(delimiter)
        self._fields = tuple(fields)
        end = f"({re.escape(self._delimiter)}|\r?\n|\\Z)"
        # without possessive quantifiers, in which Python before 3.11.5 fails to match; nothing is
        # looked at twice all the same, for a quote is the end or stands before another one
        quoted = r'"([^"]*(?:""[^"]*)*)"'
        plain = rf"((?:(?!{re.escape(self._delimiter)}|\r?\n).)*)"
        self._cell = re.compile(f"(?:{quoted}{end}|{plain}{end})", re.DOTALL)

    def _read(self, text: str) -> Iterator[Row]:
        if not text:
            raise ValueError("empty payload")
        lines = self._quoted_lines(text) if '"' in text else self._plain_lines(text)
        for cells in lines:
            if self._fields:
                yield dict(zip(self._fields, cells, strict=False))
            else:
                yield {f"col{number}": cell for number, cell in enumerate(cells)}

    def _plain_lines(self, text: str) -> Iterator[list[str]]:
        lines = _LINE_BREAK.split(text)
        if not lines[-1]:
            lines.pop()
        return (line.split(self._delimiter) for line in lines)

    def _quoted_lines(self, text: str) -> Iterator[list[str]]:
        cells: list[str] = []
        position = 0
        while True:
            found = self._cell.match(text, position)
            assert found is not None, "the second alternative takes anything"
            quoted, quoted_end, plain, plain_end = found.groups()
            cells.append(plain if quoted is None else quoted.replace('""', '"'))
            position = found.end()
            end = plain_end if quoted is None else quoted_end
            if end == self._delimiter:
                continue
            yield cells
            if position == len(text):
                return
            cells = []


class DelimitedEncoder(Encoder):
    """A row to a line, a list of rows to lines, with the names above them if ``has_header``."""

    def __init__(
        self, delimiter: str = ",", *, has_header: bool = False, fields: Sequence[str] = ()
    ) -> None:
        super().__init__("delimited text", self._write)
        self._delimiter = _checked(delimiter)
        self._has_header = has_header
        self._fields = tuple(fields)
        # its first character alone: with the next delimiter it might read as an earlier one
        self._needs_quotes = re.compile(rf'["\r\n]|{re.escape(self._delimiter[0])}').search

    def _write(self, item: Any) -> bytes:
        rows = item if isinstance(item, list) else [item]
        for row in rows:
            if not isinstance(row, dict):
                raise ValueError(f"expected rows, found {kind_of(row)}")
        columns = self._fields or sorted({name for row in rows for name in row})
        lines = [[row.get(name) for name in columns] for row in rows]
        if self._has_header:
            lines.insert(0, list(columns))
        return "\n".join(map(self._line, lines)).encode()

    def _line(self, values: Sequence[Any]) -> str:
        line = self._delimiter.join([self._cell(text_of(value)) for value in values])
        return line or '""'  # a column of no text, which isn't a line of no columns

    def _cell(self, text: str) -> str:
        if self._needs_quotes(text) is None:
            return text
        doubled = text.replace('"', '""')
        return f'"{doubled}"'


def _checked(delimiter: str) -> str:
    """Return the delimiter that a user means.

    Raises:
        ConfigError: it would be mistaken for something else.
    """
    meant = delimiter.replace("\\t", "\t")
    if not meant or not {'"', "\r", "\n"}.isdisjoint(meant):
        raise ConfigError(
            f"{delimiter!r} can't be the delimiter", hint="write one such as ',', ';' or '\\t'"
        )
    return meant
