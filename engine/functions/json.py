"""Functions of JSON text and of paths into values (function catalogue, section 10)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import ConfigError, RowError
from engine.sql.functions import Nulls, scalar
from engine.sql.kinds import kind_of

if TYPE_CHECKING:
    from engine.functions.json_path import JsonPath

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode
_ESCAPES = str.maketrans(
    {character: f"\\u{ord(character):04x}" for character in "<>&\N{LINE SEPARATOR}\u2029"}
)
_FRACTION_END = re.compile(r"(\.\d*?)0+(?=Z|[+-]\d\d:\d\d$|$)")
_LEAST_PLAIN, _LARGEST_PLAIN = 1e-6, 1e21
"""Between them, numbers are written without an exponent."""


@scalar(example="to_json(object_construct('b', 1, 'a', 2.5)) = '{\"a\":2.5,\"b\":1}'")
def to_json(value: Any) -> str:
    """Return a value as compact JSON text with sorted keys, safe to stand in HTML."""
    try:
        text = _encode(_writable(value)).decode()
    except (RecursionError, TypeError, ValueError) as error:
        raise RowError(f"to_json: {error}") from None
    return text.translate(_ESCAPES)


def _writable(value: Any) -> Any:
    """Return a value that is written as it should be: numbers and times as short as possible."""
    kind = type(value)
    if kind is float:
        return _writable_float(value)
    if kind is list or kind is tuple:
        return [_writable(item) for item in value]
    if kind is dict:
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, datetime):
        text = value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return _FRACTION_END.sub(lambda match: match[1].rstrip("."), text)
    return value


def _writable_float(value: float) -> Any:
    if not math.isfinite(value):
        return None
    size = abs(value)
    if value.is_integer() and size < _LARGEST_PLAIN:
        return int(value)
    if _LEAST_PLAIN <= size < _LARGEST_PLAIN:
        return msgspec.Raw(f"{Decimal(repr(value)):f}".encode())
    mantissa, _, exponent = repr(value).partition("e")
    return msgspec.Raw(f"{mantissa}e{int(exponent):+d}".encode())


@scalar(example="parse_json('{\"a\": [1, 2]}')->a[1] = 2", may_be_null=True)
def parse_json(text: Any) -> Any:
    """Return the value that JSON text stands for."""
    if not isinstance(text, (str, bytes)):
        raise RowError(f"parse_json: text must be string or bytea, not {kind_of(text)}")
    return _parsed("parse_json", text)


def _parsed(function: str, text: str | bytes) -> Any:
    try:
        return _decode(text)
    except RecursionError:
        raise RowError(f"{function}: the JSON is nested too deep") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise RowError(f"{function}: {error}") from None


# -- paths ---------------------------------------------------------------------------------------


def _check_path(args: Sequence[object]) -> None:
    path = args[1] if len(args) > 1 else ...
    if not isinstance(path, str):
        raise ConfigError("the path must be a text in quotes, such as '$.a.b'")
    try:
        _path(path)
    except ValueError as error:
        raise ConfigError(str(error)) from None


@scalar(
    example="json_path_query(parse_json('{\"a\": {\"b\": 1}}'), '$.a.b') = 1",
    validate=_check_path,
    may_be_null=True,
)
def json_path_query(value: Any, path: str) -> Any:
    """Return what a path leads to in an object, a list or the JSON text of one.

    A path of names and places gives the value, null if there is none; a path that may find several
    values gives a list of them.
    """
    parsed, root = _path_and_root("json_path_query", value, path)
    return _found("json_path_query", parsed, root)


@scalar(
    example="json_path_query_first(parse_json('[1, 2, 3]'), '$[1:]') = 2",
    validate=_check_path,
    may_be_null=True,
)
def json_path_query_first(value: Any, path: str) -> Any:
    """Return the first element of the list that a path gives; null if it is empty or not there."""
    parsed, root = _path_and_root("json_path_query_first", value, path)
    found = _found("json_path_query_first", parsed, root)
    if found is None:
        return None
    if not isinstance(found, (list, tuple)):
        raise RowError(f"json_path_query_first: {path} leads to {kind_of(found)}, not to a list")
    return found[0] if found else None


@scalar(
    example="json_path_exists(parse_json('{\"a\": 1}'), '$.b') = false",
    nulls=Nulls.FALSE,
    validate=_check_path,
)
def json_path_exists(value: Any, path: str) -> bool:
    """Tell whether a path leads to something else than null and the empty list."""
    try:
        parsed, root = _path_and_root("json_path_exists", value, path)
        found = _found("json_path_exists", parsed, root)
    except RowError:
        return False
    return found is not None and found != []


def _path_and_root(function: str, value: Any, path: str) -> tuple[JsonPath, Any]:
    root = _parsed(function, value) if isinstance(value, str) else value
    if not isinstance(root, (dict, list)):
        raise RowError(f"{function}: {kind_of(value)} is neither an object nor a list")
    return _path(path), root


@lru_cache(maxsize=256)
def _path(text: str) -> JsonPath:
    """Return a path, parsed once however often it is used.

    Raises:
        ValueError: see ``JsonPath``.
    """
    from engine.functions.json_path import JsonPath  # few queries have paths

    return JsonPath(text)


def _found(function: str, path: JsonPath, root: Any) -> Any:
    if path.is_plain:
        return path.value(root)
    try:
        return path.values(root)
    except ValueError as error:
        raise RowError(f"{function}: {error}") from None
