"""The schemas of one engine, found by the ``schemaId`` of a stream or sink."""

from __future__ import annotations

from typing import Protocol

from engine.codec.contract import Message
from engine.errors import ConfigError
from engine.schemas.files import SUFFIXES, SchemaFile, SchemaFiles


class _Schema(Protocol):
    def message(self, name: str) -> Message: ...


class SchemaRegistry:
    """Messages by format and ``schemaId``.

    A changed file counts for whatever is built afterwards; what runs keeps what it started with.
    """

    def __init__(self, files: SchemaFiles) -> None:
        self.files = files
        self._compiled: dict[tuple[str, str], tuple[object, _Schema]] = {}

    def message(self, format_: str, schema_id: str) -> Message | None:
        """Return the kind of message that a format needs, None for a format without schemas.

        ``schema_id`` is ``<schema>.<Message>``. A schema that wasn't compiled before, or whose
        files have changed, is compiled, which takes some 50 ms.

        Raises:
            ConfigError: there is no such schema or message, or it is malformed.
        """
        type_ = format_.lower()
        if type_ not in SUFFIXES:
            return None
        name, _, message = schema_id.partition(".")
        if not name or not message:
            raise ConfigError(
                f"format {type_} needs a schemaId",
                hint="write the schema and the message in it, as schemaId: 'sensors.Reading'",
            )
        return self.schema(self.files.get(type_, name)).message(message)

    def schema(self, file: SchemaFile) -> _Schema:
        """Return a schema, compiled from the files as they are now.

        Raises:
            ConfigError: it is malformed.
        """
        key = (file.type, str(file.path))
        state = self.files.state(file.type)
        known = self._compiled.get(key)
        if known is not None and known[0] == state:
            return known[1]
        made = self.compile(file)
        self._compiled[key] = state, made
        return made

    def compile(self, file: SchemaFile) -> _Schema:
        """Return a schema compiled anew, and not remembered; the file may be anywhere.

        Raises:
            ConfigError: it is malformed.
        """
        if file.type == "custom":
            from engine.schemas.custom import CustomSchema

            return CustomSchema(file)
        from engine.schemas.protoc import compiled

        folders = (file.imports, *self.files.folders(file.type))
        found = compiled(file.path, folders)
        try:
            from engine.schemas.protobuf import ProtobufSchema
        except ImportError:
            raise ConfigError(
                "format protobuf needs a package", hint="pip install 'headrace[protobuf]'"
            ) from None
        return ProtobufSchema(file.path, found)
