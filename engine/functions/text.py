"""String functions (function catalogue, section 3); other arguments count as their text.

Positions count characters from 0.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Sequence
from typing import Any

from engine.errors import ConfigError
from engine.functions.math import round_
from engine.sql.functions import Inline, Nulls, Number, Text, scalar
from engine.sql.locales import number_style
from engine.sql.regexp import compiled
from engine.sql.text import to_text

_SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""White space of Unicode."""
_WORD = re.compile(r"[^\W_]+")
_LONGEST = 16 << 20
_MOST_DIGITS = 1000
_LONGEST_ID = 1000
_ID_CHARACTERS = string.ascii_letters + string.digits + "_-"


def _bounded(size: int) -> None:
    if size > _LONGEST:
        raise ValueError(f"the result would have {size} characters; the limit is {_LONGEST}")


# -- whole texts -----------------------------------------------------------------------------------


_AS_TEXT = "({0} if type({0}) is str else {text}({0}))"


@scalar(
    example="concat('a', 1) = 'a1'",
    nulls=Nulls.PASS,
    inline=Inline(each=_AS_TEXT, joint=" + ", names={"text": to_text}),
)
def concat(first: Any, *others: Any) -> str:
    """Return the texts of all arguments joined; null counts as empty."""
    return to_text(first) + "".join(map(to_text, others))


@scalar(
    example="length('abc') = 3",
    nulls=Nulls.ZERO,
    inline="(len({0}) if type({0}) is str else {call}({0}))",
)
def length(value: Any) -> int:
    """Return the number of elements of a list or object, of bytes, or of characters of a text."""
    return len(value if isinstance(value, (str, list, dict, bytes)) else to_text(value))


@scalar(example="numbytes('é') = 2", nulls=Nulls.ZERO)
def numbytes(value: Text) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(value if isinstance(value, bytes) else to_text(value).encode())


@scalar(
    example="lower('ABC') = 'abc'",
    inline="({0}.lower() if type({0}) is str and {0}.isascii() else {call}({0}))",
)
def lower(text: Text) -> str:
    """Return a text in lower case, character by character."""
    whole = to_text(text)
    if whole.isascii():
        return whole.lower()
    return "".join(character.lower()[0] for character in whole)


@scalar(
    example="upper('abc') = 'ABC'",
    inline="({0}.upper() if type({0}) is str and {0}.isascii() else {call}({0}))",
)
def upper(text: Text) -> str:
    """Return a text in upper case; a character without a single capital stays as it is."""
    whole = to_text(text)
    if whole.isascii():
        return whole.upper()
    capitals = ((character, character.upper()) for character in whole)
    return "".join(capital if len(capital) == 1 else character for character, capital in capitals)


@scalar(example="initcap('wind SPEED') = 'Wind Speed'")
def initcap(text: Text) -> str:
    """Return a text with each word's first letter in upper case, the others in lower case."""
    return _WORD.sub(lambda word: word[0].capitalize(), to_text(text))


@scalar(example="reverse('abc') = 'cba'")
def reverse(text: Text) -> str:
    """Return the characters of a text in reverse order."""
    return to_text(text)[::-1]


@scalar(
    example="trim('  a ') = 'a'",
    inline=Inline("({0}.strip({space}) if type({0}) is str else {call}({0}))", {"space": _SPACE}),
)
def trim(text: Text) -> str:
    """Return a text without white space at its ends."""
    return to_text(text).strip(_SPACE)


@scalar(example="ltrim('  a ') = 'a '")
def ltrim(text: Text) -> str:
    """Return a text without white space at its start."""
    return to_text(text).lstrip(_SPACE)


@scalar(example="rtrim('  a ') = '  a'")
def rtrim(text: Text) -> str:
    """Return a text without white space at its end."""
    return to_text(text).rstrip(_SPACE)


@scalar(example="lpad('7', 3, '0') = '007'")
def lpad(text: Text, width: int, fill: Text = " ") -> str:
    """Return a text of a given width: filled up at its start, or cut off at its end."""
    padding, shown = _padding(to_text(text), int(width), to_text(fill))
    return padding + shown


@scalar(example="rpad('7', 3, '.') = '7..'")
def rpad(text: Text, width: int, fill: Text = " ") -> str:
    """Return a text of a given width: filled up, or cut off, at its end."""
    padding, shown = _padding(to_text(text), int(width), to_text(fill))
    return shown + padding


def _padding(text: str, width: int, fill: str) -> tuple[str, str]:
    """Return what a text lacks to a width, and the part of it that fits."""
    if width < 0:
        raise ValueError("width must not be negative")
    missing = width - len(text)
    if missing <= 0 or not fill:
        return "", text[:width]
    _bounded(width)
    return (fill * (missing // len(fill) + 1))[:missing], text


# -- parts of texts --------------------------------------------------------------------------------


@scalar(
    example="endswith('abc', 'bc') = true",
    nulls=Nulls.FALSE,
    inline="({0}.endswith({1}) if type({0}) is str is type({1}) else {call}({0}, {1}))",
)
def endswith(text: Text, suffix: Text) -> bool:
    """Tell whether a text ends with another one."""
    return to_text(text).endswith(to_text(suffix))


@scalar(
    example="startswith('abc', 'ab') = true",
    nulls=Nulls.FALSE,
    inline="({0}.startswith({1}) if type({0}) is str is type({1}) else {call}({0}, {1}))",
)
def startswith(text: Text, prefix: Text) -> bool:
    """Tell whether a text starts with another one."""
    return to_text(text).startswith(to_text(prefix))


@scalar(example="indexof('abc', 'c') = 2", nulls=Nulls.PASS)
def indexof(text: Text, part: Text) -> int:
    """Return where a text first contains another one, -1 if it doesn't or one of them is null."""
    if text is None or part is None:
        return -1
    return to_text(text).find(to_text(part))


@scalar(example="`replace`('a-b-c', '-', '+') = 'a+b+c'")
def replace(text: Text, part: Text, replacement: Text) -> str:
    """Return a text with each occurrence of a part of it replaced."""
    whole, old, new = to_text(text), to_text(part), to_text(replacement)
    if not old:
        return whole
    if len(new) > len(old):
        _bounded(len(whole) + whole.count(old) * (len(new) - len(old)))
    return whole.replace(old, new)


def _check_bounds(arguments: Sequence[object]) -> None:
    start, end = [*arguments, ...][1:3]
    first = start if isinstance(start, (int, float)) else 0
    if first < 0:
        raise ConfigError("start must not be negative", hint="positions count from 0")
    if isinstance(end, (int, float)) and end < first:
        raise ConfigError("end must not be less than start", hint="end is a position, not a length")


@scalar(example="substring('abcde', 1, 3) = 'bc'", validate=_check_bounds)
def substring(text: Text, start: int, end: int | None = None) -> str:
    """Return the characters from start up to, but not including, end, or up to the last one.

    ``mid`` takes a length instead.
    """
    first, last = int(start), None if end is None else int(end)
    if first < 0 or (last is not None and last < first):
        raise ValueError("start must not be negative nor end be less than start")
    return to_text(text)[first:last]


@scalar(example="mid('abcde', 2, 3) = 'bcd'")
def mid(text: Text, start: int, length: int | None = None) -> str:
    """Return a number of characters from start on, all without a length.

    As in MySQL the first character is number 1; a negative start counts from the end.
    """
    whole, first = to_text(text), int(start)
    index = first - 1 if first > 0 else len(whole) + first
    if first == 0 or index < 0:
        return ""
    return whole[index:] if length is None else whole[index : index + max(int(length), 0)]


@scalar(example="split_value('a/b/c', '/', -1) = 'c'")
def split_value(text: Text, separator: Text, index: int) -> str | None:
    """Return one of the parts between separators, null if there are fewer.

    An index from 0 counts from the start, a negative one from the end; an empty separator splits
    into characters.
    """
    whole, between, number = to_text(text), to_text(separator), int(index)
    parts = whole.split(between) if between else whole
    return parts[number] if -len(parts) <= number < len(parts) else None


# -- regular expressions ---------------------------------------------------------------------------


def _check_pattern(arguments: Sequence[object]) -> None:
    pattern = arguments[1]
    if isinstance(pattern, str):
        try:
            compiled(pattern)
        except ValueError as error:
            raise ConfigError(str(error), hint="patterns have the RE2 syntax") from None


@scalar(
    example="regexp_matches('line 7', '[0-9]+$') = true", nulls=Nulls.FALSE, validate=_check_pattern
)
def regexp_matches(text: Text, pattern: Text) -> bool:
    """Tell whether a regular expression (RE2) fits somewhere in a text."""
    return compiled(to_text(pattern)).matches(to_text(text))


@scalar(
    example="regexp_replace('john smith', '(\\\\w+) (\\\\w+)', '$2 $1') = 'smith john'",
    validate=_check_pattern,
)
def regexp_replace(text: Text, pattern: Text, replacement: Text) -> str:
    """Return a text with all parts that fit a regular expression (RE2) replaced.

    In the replacement ``$1`` or ``${1}`` is a group by its number, ``${name}`` by its name, ``$0``
    the whole and ``$$`` a dollar sign.
    """
    return compiled(to_text(pattern)).replace(to_text(text), to_text(replacement))


@scalar(
    "regexp_substring", example="regexp_substr('line 7', '[0-9]+') = '7'", validate=_check_pattern
)
def regexp_substr(text: Text, pattern: Text) -> str | None:
    """Return the first part of a text that fits a regular expression (RE2), null if none does."""
    return compiled(to_text(pattern)).first(to_text(text))


# -- made from other things ------------------------------------------------------------------------


@scalar(example="format(12332.125, 2, 'de_DE') = '12.332,13'", fixed=["digits", "locale"])
def format_(x: Number, digits: int, locale: str = "") -> str:
    """Return a number as text with exactly so many decimal digits, rounded as ``round`` does.

    A locale such as en_US or de_DE tells the signs and groups digits; without one there is a point
    and no grouping. Digits and locale must be literals.
    """
    places = int(digits)
    if not 0 <= places <= _MOST_DIGITS:
        raise ValueError(f"digits must be from 0 to {_MOST_DIGITS}")
    if isinstance(x, int):
        text = f"{x}.{'0' * places}" if places else str(x)
    else:
        text = f"{round_(x, places):.{places}f}"
    return number_style(locale).grouped(text) if locale else text


@scalar(example="nanoid()")
def nanoid(size: int = 21) -> str:
    """Return a random id of letters, digits, _ and -; hard to guess."""
    length = int(size)
    if not 0 < length <= _LONGEST_ID:
        raise ValueError(f"size must be from 1 to {_LONGEST_ID}")
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(length))
