"""The text of a statement and the place it has in the user's file."""

from __future__ import annotations

import re
from bisect import bisect_right

from engine.config.secrets import blanked_text, masked_text
from engine.errors import Position, SqlError

_NEWLINE = re.compile(r"\r\n|\r|\n")


class SourceText:
    """Turns offsets in a statement into positions in the file that holds it.

    ``line`` and ``column`` say where the file has the first character of the text; the other
    lines of the text are taken to start in column 1.
    """

    def __init__(self, text: str, *, file: str = "", line: int = 1, column: int = 1) -> None:
        self.text = text
        self._file = file
        self._line = line
        self._column = column
        self._starts = [0, *(newline.end() for newline in _NEWLINE.finditer(text))]

    def position(self, offset: int) -> Position:
        """Return the position of the character at ``offset``."""
        number = bisect_right(self._starts, offset) - 1
        column = offset - self._starts[number] + (self._column if number == 0 else 1)
        return Position(self._line + number, column, self._file)

    def line_of(self, at: Position) -> str:
        """Return the line that ``at`` stands in, padded so that ``at.column`` counts in it.

        It is for messages, which go to clients and logs: there is ``*`` in the place of secrets.
        """
        number = at.line - self._line
        if not 0 <= number < len(self._starts):
            return ""
        padding = " " * (self._column - 1) if number == 0 else ""
        rest = blanked_text(self.text)[self._starts[number] :]
        return padding + _NEWLINE.split(rest, maxsplit=1)[0]

    def error(self, message: str, at: Position | None, hint: str = "") -> SqlError:
        """Return the error to raise for a place in this text."""
        source = self.line_of(at) if at else ""
        return SqlError(masked_text(message), at=at, hint=hint, source=source)
