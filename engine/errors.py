"""The one tree of exceptions; each class stands for one reaction of the engine or of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self

_NO_REASONS: Mapping[int, str] = MappingProxyType({})
_SHOWN_REASONS = 3


class Position(NamedTuple):
    """A place in a file or text given by the user; line and column count from 1."""

    line: int
    column: int
    file: str = ""

    def __str__(self) -> str:
        place = f"{self.line}:{self.column}"
        return f"{self.file}:{place}" if self.file else place


class EngineError(Exception):
    """Root of all errors that the engine raises on purpose.

    ``str(error)`` reads "where: what" with the hint on a line of its own, ready to be shown.
    """

    def __init__(
        self, message: str, *, at: Position | None = None, hint: str = "", kind: str = ""
    ) -> None:
        """``kind`` is what it is counted as, where that isn't how the message begins."""
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint
        self.kind = kind

    @property
    def reason(self) -> str:
        """What it is counted as: there are few, whatever the messages say."""
        return self.kind or self.message.partition(":")[0]

    def __str__(self) -> str:
        text = f"{self.at}: {self.message}" if self.at else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class ConfigError(EngineError):
    """A rule file, an option or a property is wrong; nothing was started."""


class SqlError(EngineError):
    """A statement can't be parsed, bound or planned.

    ``source`` is the line of text that ``at`` stands in, so that ``at.column`` counts in it;
    ``str(error)`` shows it with a caret under the place.
    """

    _SHOWN = 100  # characters of a long line; more would wrap and put the caret elsewhere

    def __init__(
        self, message: str, *, at: Position | None = None, hint: str = "", source: str = ""
    ) -> None:
        super().__init__(message, at=at, hint=hint)
        self.source = source
        self._caret = at.column - 1 if at else 0

    def moved_to(self, at: Position) -> None:
        """Place the error in the file that holds the statement; the excerpt stays as it is."""
        self.at = at

    def __str__(self) -> str:
        first, *rest = super().__str__().split("\n  hint: ", 1)
        parts = [first, *self._excerpt(), *(f"  hint: {hint}" for hint in rest)]
        return "\n".join(parts)

    def _excerpt(self) -> list[str]:
        if not self.at or not self.source:
            return []
        caret = self._caret
        start = max(0, caret - self._SHOWN * 2 // 3) if len(self.source) > self._SHOWN else 0
        line = "".join(c if c.isprintable() else " " for c in self.source[start:])
        shown = line[: self._SHOWN].rstrip()
        indent = min(len(shown) - len(shown.lstrip()), caret - start)
        return [f"    {shown[indent:]}", f"    {' ' * (caret - start - indent)}^"]


class PluginError(EngineError):
    """A plugin can't be found, loaded or configured, or broke its contract."""


class RowError(EngineError):
    """A value of one row doesn't fit what the query does with it; that row fails, no other."""

    row: object = None
    """The row, where the query knows it, in the form in which it reads rows."""


class _OfMessages(EngineError):
    """Something about messages of the batch that a sink was given, if it is about some only."""

    def __init__(
        self,
        message: str,
        *,
        at: Position | None = None,
        hint: str = "",
        kind: str = "",
        indexes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(message, at=at, hint=hint, kind=kind)
        self.indexes = indexes


class NotConnected(_OfMessages):
    """The other side is gone or not there yet; the engine tries again with back-off.

    ``indexes`` are the messages of the batch that a sink was given and that it has still to get,
    None for all of it.
    """


class Rejected(_OfMessages):
    """The other side will never take this; the rows go to the dead letters, not into a retry.

    ``indexes`` are the refused messages of the batch that was given, None for all of it.
    """

    reasons: Mapping[int, str] = _NO_REASONS
    """Why each of the messages is refused, by its index; none where all have the same reason."""

    @classmethod
    def each(cls, reasons: Mapping[int, str]) -> Self:
        """Refuse messages of a batch for reasons of their own, given by their indexes."""
        kinds = list(dict.fromkeys(reasons[index] for index in sorted(reasons)))
        text = "; ".join(kinds[:_SHOWN_REASONS])
        if len(kinds) > _SHOWN_REASONS:
            text += f"; and {len(kinds) - _SHOWN_REASONS} other reasons"
        error = cls(text, indexes=sorted(reasons))
        error.reasons = dict(reasons)
        return error


class EndOfStream(EngineError):
    """A source has nothing more to give; the rule ends when all its sources have ended."""
