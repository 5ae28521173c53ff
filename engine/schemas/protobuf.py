"""Messages of a protobuf schema as rows, and rows as messages.

Numbers, texts, booleans and bytes are what they are, enumerations their numbers, nested messages
and maps objects, repeated fields lists; the wrappers of well-known types are the values in them.
A field that knows whether it was set, and wasn't, is no column; one of proto3 that doesn't has its
default.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from operator import attrgetter
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from engine.batch import Row
from engine.errors import ConfigError
from engine.schemas.protobuf_values import entry_of, is_wrapper, writer_of
from engine.sql.ast import ArrayType, FieldDef, ScalarType, StructType, Type
from engine.suggest import did_you_mean

_TYPES = {
    FieldDescriptor.CPPTYPE_DOUBLE: "FLOAT",
    FieldDescriptor.CPPTYPE_FLOAT: "FLOAT",
    FieldDescriptor.CPPTYPE_BOOL: "BOOLEAN",
}
_DEEPEST = 8  # levels of nested messages in the columns that are shown

Read = Callable[[Any], Any]


class ProtobufMessage:
    """One message type of a schema."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._class = GetMessageClass(descriptor)
        self._write = writer_of(descriptor)

    @property
    def columns(self) -> tuple[FieldDef, ...]:
        """The fields as columns."""
        return _columns(self._descriptor, _DEEPEST)

    def reader(self, names: Collection[str] | None) -> Callable[[bytes], list[Row]]:
        """Return what gives the row of a payload, of just some columns if ``names`` has them.

        It raises ``ValueError`` for a payload that is no such message.
        """
        parse, name = self._class.FromString, self._descriptor.name
        read = _MessageReader(self._descriptor, {}, names)

        def rows(payload: bytes) -> list[Row]:
            try:
                message = parse(payload)
            except DecodeError as error:
                raise ValueError(f"malformed protobuf message {name}: {error}") from None
            return [read(message)]

        return rows

    def encode(self, row: Row) -> bytes:
        """Return the message that a row is.

        Raises:
            ValueError, TypeError: the row has a column that the message hasn't, lacks a required
                one, or has a value of another type.
        """
        message = self._class()
        self._write(message, row)
        if not message.IsInitialized():
            missing = ", ".join(message.FindInitializationErrors())  # type: ignore[attr-defined]
            raise ValueError(f"message {self._descriptor.name} lacks {missing}")
        payload: bytes = message.SerializeToString()
        return payload


class ProtobufSchema:
    """All messages of one compiled .proto file."""

    def __init__(self, path: Path, compiled: bytes) -> None:
        """``compiled`` is a serialized ``FileDescriptorSet``, the file itself last.

        Raises:
            ConfigError: it can't be used.
        """
        self._path = path
        files = FileDescriptorSet.FromString(compiled).file
        self._pool = DescriptorPool()
        try:
            for file in files:
                self._pool.Add(file)
            self._file = self._pool.FindFileByName(files[-1].name)
        except (TypeError, KeyError) as error:
            raise ConfigError(f"{path}: {error}") from None

    def methods(self) -> dict[str, tuple[str, ...]]:
        """Return the names of all rpcs, each with the fields of its argument as JSON has them."""
        return {
            method.name: tuple(field.json_name for field in method.input_type.fields)
            for service in self._file.services_by_name.values()
            for method in service.methods
        }

    def message(self, name: str) -> ProtobufMessage:
        """Return a message type by its name, with or without the package.

        Raises:
            ConfigError: there is none.
        """
        package = self._file.package
        for full_name in (f"{package}.{name}" if package else name, name):
            try:
                return ProtobufMessage(self._pool.FindMessageTypeByName(full_name))
            except KeyError:
                continue
        known = list(self._file.message_types_by_name)
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
        raise ConfigError(f"{self._path} has no message {name!r}", hint=hint)


class _MessageReader:
    """Reads the fields of one message type; those that need no look all at once."""

    def __init__(
        self,
        descriptor: Descriptor,
        known: dict[str, _MessageReader],
        names: Collection[str] | None = None,
    ) -> None:
        """``known`` are the readers of whole types, as types may contain themselves."""
        if names is None:
            known[descriptor.full_name] = self
        self._plain: list[str] = []
        self._present: list[tuple[str, Read | None]] = []
        self._defaults: list[tuple[str, Any]] = []
        self._derived: list[tuple[str, Read]] = []
        for field in descriptor.fields:
            if names is not None and field.name not in names:
                continue
            read = _value_of(field, known)
            if field.has_presence:
                self._present.append((field.name, read))
                if field.has_default_value:
                    self._defaults.append((field.name, field.default_value))
            elif read is None:
                self._plain.append(field.name)
            else:
                self._derived.append((field.name, read))
        self._get_plain = attrgetter(*self._plain) if len(self._plain) > 1 else None

    def __call__(self, message: Any) -> Row:
        if self._get_plain is not None:
            row = dict(zip(self._plain, self._get_plain(message), strict=True))
        else:
            row = {name: getattr(message, name) for name in self._plain}
        for name, default in self._defaults:
            row[name] = default
        for name, read in self._present:
            if message.HasField(name):
                value = getattr(message, name)
                row[name] = value if read is None else read(value)
        for name, read_all in self._derived:
            row[name] = read_all(getattr(message, name))
        return row


def _value_of(field: FieldDescriptor, known: dict[str, _MessageReader]) -> Read | None:
    """Return what turns the value of a field into one of a row, None if it is one already."""
    if (entry := entry_of(field)) is not None:
        read = _one(entry.fields_by_name["value"], known)
        if read is None:
            return lambda values: {_key(key): values[key] for key in values}
        each: Read = read
        return lambda values: {_key(key): each(values[key]) for key in values}
    one = _one(field, known)
    if not field.is_repeated:
        return one
    if one is None:
        return list
    item: Read = one
    return lambda values: [item(value) for value in values]


def _one(field: FieldDescriptor, known: dict[str, _MessageReader]) -> Read | None:
    message = field.message_type
    if message is None:
        return None
    if is_wrapper(message):
        return attrgetter("value")
    return known.get(message.full_name) or _MessageReader(message, known)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _columns(descriptor: Descriptor, depth: int) -> tuple[FieldDef, ...]:
    return tuple(FieldDef(name=field.name, type=_type(field, depth)) for field in descriptor.fields)


def _type(field: FieldDescriptor, depth: int) -> Type:
    if entry_of(field) is not None:
        return StructType(fields=())
    one = _type_of_one(field, depth)
    return ArrayType(element=one) if field.is_repeated else one


def _type_of_one(field: FieldDescriptor, depth: int) -> Type:
    message = field.message_type
    if message is not None:
        if is_wrapper(message):
            return _type(message.fields_by_name["value"], depth)
        return StructType(fields=_columns(message, depth - 1) if depth else ())
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        is_bytes = field.type == FieldDescriptor.TYPE_BYTES
        return ScalarType(name="BYTEA" if is_bytes else "STRING")
    return ScalarType(name=_TYPES.get(field.cpp_type, "BIGINT"))
