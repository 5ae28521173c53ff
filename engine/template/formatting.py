"""``printf`` and its kin: values as text by Go's verbs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from engine.template.values import argument_text, checked_length, go_kind, text_of, whole

_VERB = re.compile(r"%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d+)?)?(.)?", re.DOTALL)
_DOT = re.compile(r"%[-+# 0]*(?:\*|\d+)?\.")
_WIDEST = 10_000
_FORMATS = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b"}


def printed(values: Sequence[Any]) -> str:
    """Return values one after the other, with a space between two that are no texts."""
    pieces: list[str] = []
    was_text = True
    for value in values:
        is_text = isinstance(value, str)
        if pieces and not (is_text or was_text):
            pieces.append(" ")
        pieces.append(text_of(value))
        was_text = is_text
    return "".join(pieces)


def printed_line(values: Sequence[Any]) -> str:
    """Return values with spaces between them and a line break behind."""
    return " ".join(map(text_of, values)) + "\n"


def quoted(text: str) -> str:
    """Return a text in double quotes, with escapes as in Go and JSON."""
    return json.dumps(text, ensure_ascii=False)


def formatted(layout: str, values: Sequence[Any]) -> str:
    """Return ``layout`` with its verbs replaced by values.

    What doesn't fit is shown in place, as Go does it: ``%!d(string=x)``.
    """
    verbs = _Verbs(values)
    text = _VERB.sub(verbs.replace, layout)
    extra = ", ".join(f"{go_kind(value)}={text_of(value)}" for value in values[verbs.used :])
    return f"{text}%!(EXTRA {extra})" if extra else text


class _Verbs:
    """Replaces the verbs of one layout, each by the next value."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.used = 0
        self._values = values
        self._size = 0

    def replace(self, found: re.Match[str]) -> str:
        text = self._replacement(found)
        self._size += len(text)
        checked_length(self._size)
        return text

    def _replacement(self, found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if precision is None and _DOT.match(found[0]):
            precision = "0"
        try:
            columns = self._number(width)
            digits = self._number(precision)
            value = self._next()
        except IndexError:
            return f"%!{verb}(MISSING)"
        return _one(flags, columns or 0, digits, verb, value)

    def _number(self, text: str | None) -> int | None:
        if text is None:
            return None
        number = whole(self._next() if text == "*" else text)
        if abs(number) > _WIDEST:
            raise ValueError(f"a width of {number}; the limit is {_WIDEST}")
        return number

    def _next(self) -> Any:
        value = self._values[self.used]
        self.used += 1
        return value


def _one(flags: str, columns: int, digits: int | None, verb: str, value: Any) -> str:
    if columns < 0:
        flags, columns = f"{flags}-", -columns
    try:
        body = _VERBS[verb](value, flags, digits, verb)
    except (KeyError, TypeError, ValueError, OverflowError):
        return f"%!{verb}({go_kind(value)}={text_of(value)})"
    return _padded(body, flags, columns, is_number=verb not in "svqtTc")


def _padded(body: str, flags: str, columns: int, *, is_number: bool) -> str:
    if "-" in flags:
        return body.ljust(columns)
    if "0" in flags and is_number and not body.endswith(("Inf", "NaN")):
        return body.zfill(columns)
    return body.rjust(columns)


def _signed(text: str, flags: str) -> str:
    if text.startswith("-"):
        return text
    return f"{'+' if '+' in flags else ' ' if ' ' in flags else ''}{text}"


def _integer(value: Any, flags: str, digits: int | None, verb: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1:
        raise TypeError
    number = int(value)
    body = format(abs(number), _FORMATS[verb]).rjust(digits or 0, "0")
    if "#" in flags:
        body = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") + body
    return _signed(f"-{body}" if number < 0 else body, flags)


def _hexadecimal(value: Any, flags: str, digits: int | None, verb: str) -> str:
    if not isinstance(value, (str, bytes)):
        return _integer(value, flags, digits, verb)
    data = value.encode() if isinstance(value, str) else value
    return data.hex() if verb == "x" else data.hex().upper()


def _floating(value: Any, flags: str, digits: int | None, verb: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        text = "NaN" if math.isnan(number) else "Inf" if number > 0 else "-Inf"
        return _signed(text, flags if " " in flags else f"{flags}+" if text == "Inf" else flags)
    if verb in "gG" and digits is None:
        text = _shortest(number)
        return _signed(text.upper() if verb == "G" else text, flags)
    return _signed(format(number, f".{6 if digits is None else digits}{verb}"), flags)


def _shortest(number: float) -> str:
    """Return the fewest digits that tell a number, with an exponent outside of -4 to 5."""
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int), "it is finite"
    first = len(digits) - 1 + exponent
    if -4 <= first < 6:
        return f"{number:.{max(0, -exponent)}f}"
    figures = "".join(map(str, digits))
    fraction = f".{figures[1:]}" if len(figures) > 1 else ""
    return f"{'-' if sign else ''}{figures[0]}{fraction}e{first:+03d}"


def _text(value: Any, flags: str, digits: int | None, verb: str) -> str:
    text = text_of(value)
    return text if digits is None else text[:digits]


def _value(value: Any, flags: str, digits: int | None, verb: str) -> str:
    if isinstance(value, float) and digits is not None:
        return _floating(value, flags, digits, "g")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return _signed(text_of(value), flags) if is_number else text_of(value)


def _quoted(value: Any, flags: str, digits: int | None, verb: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"'{chr(value)}'"
    if not isinstance(value, (str, bytes)):
        raise TypeError
    return quoted(argument_text(value)[:digits])


def _truth(value: Any, flags: str, digits: int | None, verb: str) -> str:
    if not isinstance(value, bool):
        raise TypeError
    return text_of(value)


def _character(value: Any, flags: str, digits: int | None, verb: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1:
        raise TypeError
    number = int(value)
    return f"U+{number:04X}" if verb == "U" else chr(number)


def _kind(value: Any, flags: str, digits: int | None, verb: str) -> str:
    return "<nil>" if value is None else go_kind(value)


_VERBS: dict[str, Callable[[Any, str, int | None, str], str]] = {
    "v": _value,
    "s": _text,
    "q": _quoted,
    "t": _truth,
    "T": _kind,
    "c": _character,
    "U": _character,
    "x": _hexadecimal,
    "X": _hexadecimal,
    **dict.fromkeys("dob", _integer),
    **dict.fromkeys("eEfFgG", _floating),
}


def pieces_of(values: Sequence[Any]) -> Iterator[str]:
    """Yield the texts of all values that aren't null."""
    return (text_of(value) for value in values if value is not None)
