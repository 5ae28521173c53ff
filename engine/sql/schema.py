"""Declared columns of a stream: their kinds and how incoming values become them.

Rules of the language specification, section 2.1: without STRICT_VALIDATION the decoder applies the
declared types to what JSON gave; with it, missing and null values are checked as well.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from engine.errors import RowError
from engine.sql.ast import ArrayType, FieldDef, ScalarType, StructType, Type
from engine.sql.kinds import Kind, kind_of
from engine.sql.text import to_text

_KINDS = {
    "BIGINT": Kind.BIGINT,
    "FLOAT": Kind.FLOAT,
    "STRING": Kind.STRING,
    "BOOLEAN": Kind.BOOLEAN,
    "BYTEA": Kind.BYTEA,
}
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_DECODED_DIRECTLY = frozenset({Kind.BIGINT, Kind.FLOAT, Kind.STRING, Kind.BOOLEAN})


class Schema:
    """The declared columns of one stream; falsy for a schemaless one."""

    def __init__(
        self,
        fields: tuple[FieldDef, ...] = (),
        *,
        strict: bool = False,
        timestamp_format: str = "",
    ) -> None:
        """``strict`` is STRICT_VALIDATION; ``timestamp_format`` is that of DATETIME texts."""
        self._timestamp_format = timestamp_format
        self._fields = {field.name: field for field in fields}
        self.strict = strict

    def __bool__(self) -> bool:
        return bool(self._fields)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    @property
    def fields(self) -> tuple[FieldDef, ...]:
        return tuple(self._fields.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._fields)

    def kind(self, name: str) -> Kind:
        """Return the static kind of a declared column (ANY for a DATETIME, which stays as sent)."""
        declared = self._fields[name].type
        if isinstance(declared, ArrayType):
            return Kind.LIST
        if isinstance(declared, StructType):
            return Kind.OBJECT
        return _KINDS.get(declared.name, Kind.ANY)

    def is_decoded_directly(self, names: tuple[str, ...]) -> bool:
        """Tell whether a typed decoder alone yields these columns as declared."""
        return not self.strict and all(self.kind(name) in _DECODED_DIRECTLY for name in names)

    def convert(self, values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        """Return the named columns of a JSON object as declared.

        Raises:
            RowError: a value doesn't fit its declaration.
        """
        converted: dict[str, Any] = {}
        for name in names:
            field = self._fields[name]
            try:
                value = self._column(field, values.get(name, msgspec.UNSET))
            except RowError as error:
                raise RowError(f"column {name}: {error.message}") from None
            if value is not msgspec.UNSET:
                converted[name] = value
        return converted

    def _column(self, field: FieldDef, value: Any) -> Any:
        if value is msgspec.UNSET:
            if not self.strict:
                return value
            if field.has_default:
                return field.default
            raise RowError("is missing and has no default")
        if value is None:
            if self.strict and isinstance(field.type, ScalarType):
                raise RowError("must not be null")
            return None
        converted = convert(field.type, value, strict=self.strict)
        if self.strict and field.type == ScalarType(name="DATETIME", at=field.type.at):
            return self._instant(converted)
        return converted

    def _instant(self, value: Any) -> Any:
        # these are built on this package
        from engine.functions.time_pattern import time_pattern
        from engine.functions.timestamp import to_datetime

        try:
            if self._timestamp_format and isinstance(value, str):
                return time_pattern(self._timestamp_format).parse(value)
            return to_datetime(value, "datetime")
        except ValueError as error:
            raise RowError(str(error)) from None


def convert(declared: Type, value: Any, *, strict: bool = False) -> Any:
    """Return a decoded value as its declared type; null stays null, or fails when ``strict``."""
    if value is None:
        if strict and isinstance(declared, ScalarType):
            raise RowError("null is not allowed")
        return None
    if isinstance(declared, ArrayType):
        if not isinstance(value, list):
            raise _misfit("array", value)
        return [convert(declared.element, item, strict=strict) for item in value]
    if isinstance(declared, StructType):
        if not isinstance(value, dict):
            raise _misfit("struct", value)
        return {
            field.name: convert(field.type, value[field.name], strict=strict)
            for field in declared.fields
            if field.name in value
        }
    return _CONVERSIONS[declared.name](value)


def _misfit(declared: str, value: Any) -> RowError:
    return RowError(f"a {declared} can't be made of {kind_of(value)} {to_text(value)[:60]!r}")


def _bigint(value: Any) -> int:
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return value
    raise _misfit("bigint", value)


def _float(value: Any) -> float:
    if type(value) in (int, float):
        return float(value)
    raise _misfit("float", value)


def _string(value: Any) -> str:
    if type(value) in (str, int, float):
        return to_text(value)
    raise _misfit("string", value)


def _boolean(value: Any) -> bool:
    if type(value) in (bool, int, float):
        return bool(value)
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise _misfit("boolean", value)


def _datetime(value: Any) -> Any:
    if type(value) in (int, float, str):
        return value
    raise _misfit("datetime", value)


def _bytea(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise _misfit("bytea", value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value.encode()


_CONVERSIONS = {
    "BIGINT": _bigint,
    "FLOAT": _float,
    "STRING": _string,
    "BOOLEAN": _boolean,
    "DATETIME": _datetime,
    "BYTEA": _bytea,
}
