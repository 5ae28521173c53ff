"""The values of rows as fields of protobuf messages, never converted so that something is lost.

A number may stand for a number of another type if it is the same one, text for bytes if it is
base64, and the name of an enumeration's value for its number.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from engine.sql.kinds import kind_of
from engine.suggest import did_you_mean

_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)

Write = Callable[[Any, Any], None]
"""Puts a value into a message."""


def entry_of(field: FieldDescriptor) -> Descriptor | None:
    """Return the type of the entries of a map, None for any other field."""
    message = field.message_type
    return message if message is not None and message.GetOptions().map_entry else None


def is_wrapper(message: Descriptor) -> bool:
    """Tell whether a message stands for the one value in it."""
    return message.full_name in _WRAPPERS


def writer_of(descriptor: Descriptor) -> Write:
    """Return what puts a row into an empty message of a type.

    It raises ``ValueError`` or ``TypeError``, with the name of the field, for what doesn't fit.
    """
    return _MessageWriter(descriptor, {})


class _MessageWriter:
    def __init__(self, descriptor: Descriptor, known: dict[str, _MessageWriter]) -> None:
        known[descriptor.full_name] = self
        self._name = descriptor.name
        self._writes = {field.name: _writer(field, known) for field in descriptor.fields}

    def __call__(self, message: Any, row: Any) -> None:
        if not isinstance(row, dict):
            raise ValueError(f"message {self._name} needs an object, not {kind_of(row)}")
        for name, value in row.items():
            write = self._writes.get(name)
            if write is None:
                hint = did_you_mean(name, self._writes) or "leave it out with excludeFields"
                raise ValueError(f"message {self._name} has no field {name!r}; {hint}")
            if value is None:
                continue
            try:
                write(message, value)
            except (ValueError, TypeError) as error:
                raise ValueError(f"field {name}: {error}") from None


def _writer(field: FieldDescriptor, known: dict[str, _MessageWriter]) -> Write:
    if (entry := entry_of(field)) is not None:
        return _map_writer(field.name, entry, known)
    if field.message_type is not None:
        return _message_writer(field, field.message_type, known)
    name, convert = field.name, _conversion(field)
    if field.is_repeated:

        def write_all(message: Any, values: Any) -> None:
            getattr(message, name).extend([convert(value) for value in _listed(values)])

        return write_all

    def write(message: Any, value: Any) -> None:
        setattr(message, name, convert(value))

    return write


def _message_writer(
    field: FieldDescriptor, message_type: Descriptor, known: dict[str, _MessageWriter]
) -> Write:
    name = field.name
    fill = _filling(message_type, known)
    if field.is_repeated:

        def write_all(message: Any, values: Any) -> None:
            target = getattr(message, name)
            for value in _listed(values):
                fill(target.add(), value)

        return write_all

    def write(message: Any, value: Any) -> None:
        target = getattr(message, name)
        target.SetInParent()
        fill(target, value)

    return write


def _map_writer(name: str, entry: Descriptor, known: dict[str, _MessageWriter]) -> Write:
    parts = entry.fields_by_name
    key_of = _key_conversion(parts["key"])
    if parts["value"].message_type is not None:
        fill = _filling(parts["value"].message_type, known)

        def write_messages(message: Any, values: Any) -> None:
            target = getattr(message, name)
            for key, value in _entries(values):
                fill(target[key_of(key)], value)

        return write_messages
    convert = _conversion(parts["value"])

    def write(message: Any, values: Any) -> None:
        target = getattr(message, name)
        for key, value in _entries(values):
            target[key_of(key)] = convert(value)

    return write


def _filling(descriptor: Descriptor, known: dict[str, _MessageWriter]) -> Write:
    """Return what fills a nested message."""
    if is_wrapper(descriptor):
        return _writer(descriptor.fields_by_name["value"], known)
    return known.get(descriptor.full_name) or _MessageWriter(descriptor, known)


def _conversion(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.enum_type is not None:
        numbers = {value.name: value.number for value in field.enum_type.values}
        return lambda value: numbers[value] if value in numbers else _whole(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _boolean
    if field.cpp_type in _FLOATS:
        return _number
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _bytes if field.type == FieldDescriptor.TYPE_BYTES else _text
    return _whole


def _key_conversion(field: FieldDescriptor) -> Callable[[str], Any]:
    """Return what turns a name of an object into the key of a map."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return str
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return lambda name: {"true": True, "false": False}[name]
    return int


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise _misfit("a whole number", value)


def _number(value: Any) -> float:
    if type(value) in (int, float):
        return float(value)
    raise _misfit("a number", value)


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise _misfit("a boolean", value)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise _misfit("a string", value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the text is no base64") from None
    raise _misfit("bytes", value)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise _misfit("an array", value)


def _entries(value: Any) -> Any:
    if isinstance(value, dict):
        return value.items()
    raise _misfit("an object", value)


def _misfit(wanted: str, value: Any) -> ValueError:
    return ValueError(f"expected {wanted}, found {kind_of(value)}")
