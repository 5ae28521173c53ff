"""Functions that turn values into other kinds and forms (function catalogue, section 8)."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from engine.errors import ConfigError, RowError
from engine.functions import compression
from engine.functions.datetime import check_times
from engine.functions.timestamp import to_datetime, to_epoch_ms
from engine.sql.functions import Filled, Text, scalar
from engine.sql.kinds import Kind, kind_of
from engine.sql.text import to_text

_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9A-Fa-f]+)|(\d+)(?:\.0*)?)", re.ASCII)
_FLOAT = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE
)
_HEX_FLOAT = re.compile(r"[+-]?0x[\da-f]*\.?[\da-f]*p[+-]?\d+", re.ASCII | re.IGNORECASE)
_HEX_NUMBER = re.compile(r"(?:0x)?([+-]?[0-9A-Fa-f]+)", re.ASCII)
_BOOLEANS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)
_LONGEST_NUMBER = 1000
_SHOWN = 50
"""Characters of a wrong value in a message."""


# -- cast ------------------------------------------------------------------------------------------


def _int64(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("it doesn't fit into 64 bits")
    return value


def _to_bigint(value: Any) -> int:
    if isinstance(value, (bool, int, float)):
        return _int64(int(value))
    found = _INTEGER.fullmatch(value) if len(value) <= _LONGEST_NUMBER else None
    if found is None:
        raise ValueError(value)
    sign, hexadecimal, decimal = found.groups()
    return _int64(int(sign + (hexadecimal or decimal), 16 if hexadecimal else 10))


def _to_float(value: Any) -> float | None:
    number = _parsed_float(value) if isinstance(value, str) else float(value)
    return number if math.isfinite(number) else None


def _parsed_float(text: str) -> float:
    if len(text) <= _LONGEST_NUMBER and _FLOAT.fullmatch(text):
        return float(text)
    if len(text) <= _LONGEST_NUMBER and _HEX_FLOAT.fullmatch(text):
        return float.fromhex(text)
    raise ValueError(text)


def to_plain_text(value: Any) -> str:
    """Return a value as ``to_text`` does, but fractions without an exponent."""
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        return f"{Decimal(repr(value)):f}"
    return to_text(value)


def _to_boolean(value: Any) -> bool:
    return _BOOLEANS[value] if isinstance(value, str) else value != 0


def _to_bytea(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _to_datetime(value: Any) -> datetime:
    return to_datetime(value, "cast")


_NUMBERS = (bool, int, float)
_CASTS: dict[str, tuple[Callable[[Any], Any], tuple[type, ...]]] = {
    "bigint": (_to_bigint, (*_NUMBERS, str)),
    "float": (_to_float, (*_NUMBERS, str)),
    "string": (to_plain_text, (object,)),
    "boolean": (_to_boolean, (*_NUMBERS, str)),
    "datetime": (_to_datetime, (int, float, str, datetime)),
    "bytea": (_to_bytea, (str, bytes)),
}
"""The conversion to a type, and what can be converted."""


def _check_type(arguments: Sequence[object]) -> None:
    type_ = arguments[1]
    if type_ not in (..., None, *_CASTS):
        raise ConfigError(f"unknown type {type_!r}", hint=f"it can be {', '.join(_CASTS)}")


def _kind_of_cast(arguments: Sequence[object]) -> Kind:
    return _KINDS.get(arguments[1], Kind.ANY) if len(arguments) > 1 else Kind.ANY


_KINDS: dict[object, Kind] = {
    "bigint": Kind.BIGINT,
    "float": Kind.FLOAT,
    "string": Kind.STRING,
    "boolean": Kind.BOOLEAN,
}


@scalar(example="cast('12', 'bigint') = 12", validate=_check_type, result_for=_kind_of_cast)
def cast(value: Filled, type_: str) -> Any:
    """Return a value converted to bigint, float, string, boolean, datetime or bytea.

    Numbers are cut off to a bigint; a text is a bigint in decimal digits, or hexadecimal ones
    after 0x. Times are epoch milliseconds or ISO 8601. Texts and bytea turn into each other as
    UTF-8. What can't be converted is an error of the row.
    """
    if type_ not in _CASTS:
        raise RowError(f"cast: unknown type {type_!r}; it can be {', '.join(_CASTS)}")
    convert, accepted = _CASTS[type_]
    try:
        if isinstance(value, accepted):
            return convert(value)
    except RowError:
        raise
    except (ArithmeticError, LookupError, ValueError):
        pass
    shown = to_text(value)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}…"
    raise RowError(f"cast: {kind_of(value)} {shown!r} is no {type_}")


# -- times -----------------------------------------------------------------------------------------


def _check_time(arguments: Sequence[object]) -> None:
    check_times(arguments[:1])


@scalar(example="convert_tz('2024-07-01T00:00:00Z', 'Asia/Tokyo')", validate=_check_time)
def convert_tz(time: Filled, zone: str) -> datetime:
    """Return the same point in time in another time zone.

    The zone is an IANA name, UTC (also if empty) or Local, the zone of the machine.
    """
    moment = to_datetime(time, "convert_tz")
    if zone == "Local":
        return moment.astimezone()
    try:
        return moment.astimezone(ZoneInfo(zone or "UTC"))
    except (LookupError, OSError, ValueError):
        raise RowError(f"convert_tz: unknown time zone {zone[:_SHOWN]!r}") from None


@scalar(example="to_seconds('1970-01-01T00:01:00Z') = 60")
def to_seconds(time: Filled) -> int:
    """Return a point in time in whole seconds since the start of 1970, UTC."""
    return to_epoch_ms(to_datetime(time, "to_seconds")) // 1000


# -- bytes -----------------------------------------------------------------------------------------


def _check_value(arguments: Sequence[object]) -> None:
    value = arguments[0]
    if value is not ... and value is not None and not isinstance(value, str):
        raise ConfigError(f"value must be string or bytea, not {kind_of(value)}")


def _check_encoding(arguments: Sequence[object]) -> None:
    encoding = arguments[1]
    if encoding not in (None, "base64"):
        raise ConfigError(f"unknown encoding {encoding!r}", hint="it can be base64")


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"value must be string or bytea, not {kind_of(value)}")


@scalar(
    example="encode('abc', 'base64') = 'YWJj'",
    validate=_check_encoding,
    fixed=["encoding"],
)
def encode(value: Text, encoding: str) -> str:
    """Return a text or bytea in base64, the one encoding there is."""
    return base64.b64encode(_bytes(value)).decode()


@scalar(
    example="cast(decode('YWJj', 'base64'), 'string') = 'abc'",
    validate=_check_encoding,
    fixed=["encoding"],
)
def decode(text: str, encoding: str) -> bytes:
    """Return as bytea what a text says in base64, the one encoding there is."""
    return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)


@scalar(example="compress('abc', 'gzip')", validate=_check_value)
def compress(value: Any, method: str) -> bytes:
    """Return a text or bytea compressed as zlib, gzip, flate (raw deflate) or zstd."""
    return compression.compress(_bytes(value), method)


@scalar(
    example="cast(decompress(compress('abc', 'zstd'), 'zstd'), 'string') = 'abc'",
    validate=_check_value,
)
def decompress(value: Any, method: str) -> bytes:
    """Return as bytea what compressed bytea stands for; see ``compress`` for the methods."""
    return compression.decompress(_bytes(value), method)


# -- characters and digits -------------------------------------------------------------------------


def _check_code(arguments: Sequence[object]) -> None:
    code = arguments[0]
    if isinstance(code, bool) or (isinstance(code, float) and not code.is_integer()):
        raise ConfigError(f"{code} is not the code of a character")


@scalar(example="chr(97) = 'a'", validate=_check_code)
def chr_(code: Filled) -> str:
    """Return the character with a code point; a text of one character is that character."""
    if isinstance(code, str) and len(code) == 1:
        return code
    if type(code) not in (int, float):
        raise TypeError(f"code must be a number or one character, not {kind_of(code)}")
    number = int(code)
    if 0xD800 <= number < 0xE000:
        raise ValueError(f"{number} is not the code of a character")
    return chr(number)


@scalar(example="hex2dec('0xff') = 255")
def hex2dec(digits: str) -> int:
    """Return the integer that hexadecimal digits stand for; they may begin with 0x."""
    found = _HEX_NUMBER.fullmatch(digits) if len(digits) <= _LONGEST_NUMBER else None
    if found is None:
        raise ValueError(f"{digits[:_SHOWN]!r} is not a hexadecimal number")
    return _int64(int(found[1], 16))


@scalar(example="dec2hex(255) = '0xff'")
def dec2hex(number: int) -> str:
    """Return an integer in hexadecimal digits after 0x; the sign of a negative one follows it."""
    return f"0x{int(number):x}"
