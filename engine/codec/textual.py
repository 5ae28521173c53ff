"""Formats whose values are all texts: what a schema makes of texts, what texts are made of."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from engine.batch import Batch, Row
from engine.codec.contract import Failure
from engine.codec.each import frame_of
from engine.errors import RowError
from engine.layout import Frame
from engine.sql.ast import ArrayType, ScalarType, Type
from engine.sql.schema import Schema
from engine.sql.text import to_text


class TextualDecoder:
    """Messages whose rows are texts by column, converted where the schema says so."""

    def __init__(self, schema: Schema, rows_of: Callable[[str], Iterable[Row]]) -> None:
        """``rows_of`` reads one message; it raises ``ValueError`` if that is malformed."""
        self._rows_of = rows_of
        self._schema = schema
        self._types = declared_types(schema)

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        return frame_of(batch, self._rows)

    def _rows(self, payload: bytes) -> list[Row]:
        try:
            rows = list(self._rows_of(payload.decode()))
        except UnicodeError:
            raise RowError("the payload is not UTF-8 text") from None
        except ValueError as error:
            raise RowError(str(error)) from None
        return [self._declared(row) for row in rows] if self._schema else rows

    def _declared(self, row: Row) -> Row:
        return self._schema.convert(from_texts(self._types, row), self._schema.names)


def declared_types(schema: Schema) -> dict[str, Type]:
    """Return the types of the columns that a schema declares."""
    return {field.name: field.type for field in schema.fields}


def from_texts(types: Mapping[str, Type], row: Row) -> Row:
    """Return the declared columns of a row of texts as what they stand for.

    Raises:
        RowError: a text doesn't stand for what its column declares.
    """
    values: Row = {}
    for name, declared in types.items():
        if name in row:
            try:
                values[name] = _typed(declared, row[name])
            except ValueError as error:
                raise RowError(f"column {name}: {error}") from None
    return values


def _typed(declared: Type, value: Any) -> Any:
    """Return a text as what it stands for, ready for the schema; an empty one for no number."""
    if isinstance(declared, ArrayType) and isinstance(value, list):
        return [_typed(declared.element, item) for item in value]
    if not isinstance(value, str):
        return value
    if not isinstance(declared, ScalarType):
        return _json(value)
    if declared.name in ("BIGINT", "FLOAT", "BOOLEAN", "DATETIME") and not value.strip():
        return None
    if declared.name == "BIGINT":
        return _number(value, int, "bigint")
    if declared.name == "FLOAT":
        return _number(value, float, "float")
    return value.strip() if declared.name == "BOOLEAN" else value


def _number(text: str, kind: type[int] | type[float], name: str) -> int | float:
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if "_" in text or not math.isfinite(number):
        raise ValueError(f"a {name} can't be made of string {text[:60]!r}")
    return number


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(f"{text[:60]!r} isn't the JSON of an array or struct") from None


def text_of(value: Any) -> str:
    """Return a value as a text: null is empty, lists and objects are JSON, bytes base64."""
    if type(value) is str:
        return value
    if isinstance(value, (dict, list, tuple)):
        return msgspec.json.encode(value).decode()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return to_text(value)
