"""Patterns such as ``yyyy-MM-dd HH:mm:ss.SSS``: writing and reading times (catalogue, section 19).

A pattern is read once, from left to right, into parts; literal text is never looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache

from engine.functions.timestamp import configured_zone, fixed_zone

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_LETTERS = frozenset("yYMdEHhmsSzZX")
_MOST_FRACTION_DIGITS = 9
_CENTURY_CHANGE = 69  # two-digit years from here on are in the 20th century, as in C


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a pattern: how it is written, the expression it is read by, what it tells."""

    write: Callable[[datetime], str]
    read: str
    tells: str = ""


class TimePattern:
    """A pattern that times are written and read by.

    Raises:
        ValueError: the pattern has a letter a number of times that means nothing, or ends within
            an escape.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._parts = tuple(_parts(pattern))
        self._writers = [part.write for part in self._parts]
        self._reader: re.Pattern[str] | None = None

    def format(self, moment: datetime) -> str:
        """Return a time as text."""
        return "".join([write(moment) for write in self._writers])

    def parse(self, text: str) -> datetime:
        """Return the time that a text says; what the pattern doesn't tell is as in 1970-01-01.

        Raises:
            ValueError: the text doesn't fit the pattern, or the pattern tells something twice.
        """
        if self._reader is None:
            self._reader = self._compile_reader()
        match = self._reader.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:60]!r} doesn't fit the pattern {self._pattern!r}")
        return _assembled(match.groupdict())

    def _compile_reader(self) -> re.Pattern[str]:
        told = [part.tells for part in self._parts if part.tells]
        twice = next((name for name in told if told.count(name) > 1), "")
        if twice:
            raise ValueError(f"the pattern {self._pattern!r} has the {twice} twice")
        return re.compile(
            "".join(
                f"(?P<{part.tells}>{part.read})" if part.tells else part.read
                for part in self._parts
            ),
            re.ASCII,
        )


@lru_cache(maxsize=256)
def time_pattern(pattern: str) -> TimePattern:
    """Return a pattern, read once however often it is used.

    Raises:
        ValueError: see ``TimePattern``.
    """
    return TimePattern(pattern)


def _parts(pattern: str) -> Iterator[_Part]:
    index = 0
    before = ""
    while index < len(pattern):
        character = pattern[index]
        start = index
        if character == "\\":
            if index + 1 == len(pattern):
                raise ValueError("the pattern ends in a backslash")
            yield _literal(pattern[index + 1])
            index += 2
        elif character == "'":
            text, index = _quoted(pattern, index + 1)
            yield _literal(text)
        elif character in _SINGLE:
            yield _SINGLE[character]
            index += 1
        elif character in _LETTERS:
            while index < len(pattern) and pattern[index] == character:
                index += 1
            yield _token(character, index - start, dotted=before == "s")
        else:
            yield _literal(character)
            index += 1
        before = character


def _quoted(pattern: str, start: int) -> tuple[str, int]:
    """Return the text quoted from ``start`` on, and where the pattern goes on.

    Two quotes at once are one; inside the quoted text they vanish; an open end quotes the rest.
    """
    if start == len(pattern):
        raise ValueError("the pattern ends in an opening quote")
    if pattern[start] == "'":
        return "'", start + 1
    text = ""
    while True:
        end = pattern.find("'", start)
        if end < 0:
            return text + pattern[start:], len(pattern)
        text += pattern[start:end]
        if pattern[end + 1 : end + 2] != "'":
            return text, end + 1
        start = end + 2


def _literal(text: str) -> _Part:
    return _Part(lambda moment: text, re.escape(text))


def _token(letter: str, count: int, *, dotted: bool) -> _Part:
    """Return a run of one letter; ``dotted``: right after seconds, fractions bring their dot."""
    if letter == "S" and count <= _MOST_FRACTION_DIGITS:
        dot = "." if dotted else ""
        return _Part(
            lambda moment: dot + f"{moment.microsecond * 1000:09}"[:count],
            rf"{re.escape(dot)}\d{{{count}}}",
            "fraction",
        )
    part = _TOKENS.get((letter.lower() if letter in "yY" else letter) * count)
    if part is None:
        raise ValueError(f"the pattern letter {letter} can't stand {count} times in a row")
    return part


def _half(moment: datetime) -> str:
    return "AM" if moment.hour < 12 else "PM"


def _number(field: str, width: int = 0) -> _Part:
    digits = r"\d{1,2}" if not width else rf"\d{{{width}}}"
    return _Part(lambda moment: f"{getattr(moment, field):0{width}}", digits, field)


def _hour12(width: int) -> _Part:
    return _Part(
        lambda moment: f"{(moment.hour + 11) % 12 + 1:0{width}}",
        r"\d{2}" if width else r"\d{1,2}",
        "hour12",
    )


def _names(names: tuple[str, ...], index: Callable[[datetime], int], tells: str) -> _Part:
    read = "|".join(f"(?i:{name})" for name in names)
    return _Part(lambda moment: names[index(moment)], read, tells)


def _offset(moment: datetime) -> str:
    """Return the offset of a time as +hhmm."""
    return f"{moment:%z}"[:5] or "+0000"


def _zone_name(moment: datetime) -> str:
    name = moment.tzname() or "UTC"
    return _offset(moment).removesuffix("00") if name.startswith("UTC") and name != "UTC" else name


def _short(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name[:3] for name in names)


_TOKENS: dict[str, _Part] = {
    "yyyy": _number("year", 4),
    "yy": _Part(lambda moment: f"{moment.year % 100:02}", r"\d{2}", "year"),
    "M": _number("month"),
    "MM": _number("month", 2),
    "MMM": _names(_short(MONTHS), lambda moment: moment.month - 1, "month"),
    "MMMM": _names(MONTHS, lambda moment: moment.month - 1, "month"),
    "d": _number("day"),
    "dd": _number("day", 2),
    "EEE": _names(_short(DAYS), datetime.weekday, "weekday"),
    "EEEE": _names(DAYS, datetime.weekday, "weekday"),
    "H": _number("hour"),
    "HH": _number("hour", 2),
    "h": _hour12(0),
    "hh": _hour12(2),
    "m": _number("minute"),
    "mm": _number("minute", 2),
    "s": _number("second"),
    "ss": _number("second", 2),
    "z": _Part(_zone_name, r"UTC|GMT|[+-]\d{2}(?:\d{2})?", "zone"),
    "Z": _Part(_offset, r"[+-]\d{4}", "zone"),
    "X": _Part(lambda moment: _offset(moment)[:3], r"Z|[+-]\d{2}", "zone"),
    "XX": _Part(_offset, r"Z|[+-]\d{4}", "zone"),
    "XXX": _Part(
        lambda moment: f"{_offset(moment)[:3]}:{_offset(moment)[3:]}", r"Z|[+-]\d{2}:\d{2}", "zone"
    ),
}
_SINGLE = {
    "G": _Part(lambda moment: "AD", "AD"),
    "a": _Part(_half, "(?i:am|pm)", "half"),
}
"""Letters that stand for themselves however many there are in a row."""


def _assembled(told: dict[str, str]) -> datetime:
    return datetime(
        _year(told.get("year", "1970")),
        _month(told.get("month", "1")),
        int(told.get("day", "1")),
        _hour(told),
        int(told.get("minute", "0")),
        int(told.get("second", "0")),
        int(told.get("fraction", "0").removeprefix(".")[:6].ljust(6, "0")),
        _zone(told.get("zone", "")),
    )


def _year(text: str) -> int:
    year = int(text)
    if len(text) > 2:
        return year
    return year + (1900 if year >= _CENTURY_CHANGE else 2000)


def _month(text: str) -> int:
    if text.isdecimal():
        return int(text)
    return _short(MONTHS).index(text[:3].capitalize()) + 1


def _hour(told: dict[str, str]) -> int:
    if "hour12" not in told:
        return int(told.get("hour", "0"))
    hour = int(told["hour12"])
    if not 1 <= hour <= 12:
        raise ValueError("hour must be in 1..12")
    return hour % 12 + (12 if told.get("half", "").upper() == "PM" else 0)


def _zone(text: str) -> tzinfo:
    if not text:
        return configured_zone()
    if text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "")
    return fixed_zone(text[0], digits[:2], digits[2:])
