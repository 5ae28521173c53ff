"""Schemas of type custom: a Python file whose objects read and write messages.

For ``SCHEMAID="<file>.<Message>"`` the file exports ``Get<Message>()``, or a class ``<Message>``,
for an object with the methods ``decode(payload)``, which returns a row or a list of rows, and
``encode(row)``, which returns bytes; ``schema()`` may return the columns, as ``{"a": "bigint"}``.
The reference's spelling (``Decode``, ``Encode``, ``GetSchemaJson``, which returns JSON) does too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

import msgspec

from engine.batch import Row
from engine.errors import ConfigError, EngineError, PluginError
from engine.plugin.files import PluginFile
from engine.plugin.kind import PluginKind
from engine.plugin.module import import_file
from engine.schemas.files import SchemaFile
from engine.sql.ast import FieldDef, ScalarType
from engine.suggest import did_you_mean

_TYPES = {
    "bigint": "BIGINT",
    "float": "FLOAT",
    "string": "STRING",
    "boolean": "BOOLEAN",
    "bytea": "BYTEA",
    "datetime": "DATETIME",
}


class CustomMessage:
    """An object of a user's file; what it raises is an error of the message at hand."""

    def __init__(self, name: str, made: Any, where: str) -> None:
        """Take an object of a file; ``where`` is the path of that.

        Raises:
            ConfigError: it lacks a method.
        """
        self._name = name
        self._decode = _method(made, name, where, "decode", "Decode")
        self._encode = _method(made, name, where, "encode", "Encode")
        self.columns = _columns(made, f"{where}: {name}")
        """The columns that it declares, none if it doesn't."""

    def reader(self, names: Collection[str] | None) -> Callable[[bytes], list[Row]]:
        """Return what gives the rows of a payload; ``names`` are the columns that are needed.

        It raises ``ValueError`` for a payload that can't be read.
        """

        def rows(payload: bytes) -> list[Row]:
            found = self._called(self._decode, payload)
            listed = found if isinstance(found, list) else [found]
            if not all(isinstance(row, dict) for row in listed):
                raise ValueError(f"{self._name}.decode gave no row, but a {type(found).__name__}")
            return listed

        return rows

    def encode(self, row: Row) -> bytes:
        """Return the message that a row is.

        Raises:
            ValueError: it can't be written.
        """
        found = self._called(self._encode, row)
        if not isinstance(found, bytes):
            raise ValueError(f"{self._name}.encode gave no bytes, but a {type(found).__name__}")
        return found

    def _called(self, method: Callable[[Any], Any], argument: Any) -> Any:
        try:
            return method(argument)
        except EngineError as error:
            raise ValueError(error.message) from error
        except Exception as error:
            raise ValueError(f"{self._name}: {type(error).__name__}: {error}") from error


class CustomSchema:
    """The file of a custom schema, imported."""

    def __init__(self, file: SchemaFile) -> None:
        """Run the file.

        Raises:
            ConfigError: it fails.
        """
        self._where = str(file.path)
        as_plugin = PluginFile(PluginKind.FUNCTION, file.name, file.version, file.path)
        try:
            self._module: ModuleType = import_file(as_plugin)
        except PluginError as error:
            raise ConfigError(error.message, hint=error.hint) from None

    def message(self, name: str) -> CustomMessage:
        """Return a new object for a kind of message.

        Raises:
            ConfigError: the file has none, or it can't be made.
        """
        make = getattr(self._module, f"Get{name}", None) or getattr(self._module, name, None)
        if not callable(make):
            known = [key.removeprefix("Get") for key in vars(self._module) if key[:1].isupper()]
            raise ConfigError(
                f"{self._where} exports neither Get{name} nor {name}",
                hint=did_you_mean(name, known),
            )
        try:
            made = make()
        except Exception as error:
            raise ConfigError(
                f"{self._where}: {name}() failed: {type(error).__name__}: {error}"
            ) from error
        return CustomMessage(name, made, self._where)


def _method(made: Any, name: str, where: str, *spellings: str) -> Callable[[Any], Any]:
    for spelling in spellings:
        method: Callable[[Any], Any] | None = getattr(made, spelling, None)
        if callable(method):
            return method
    raise ConfigError(f"{where}: {name} has no method {spellings[0]}")


def _columns(made: Any, where: str) -> tuple[FieldDef, ...]:
    describe = getattr(made, "schema", None) or getattr(made, "GetSchemaJson", None)
    if not callable(describe):
        return ()
    try:
        found = describe()
        columns = msgspec.json.decode(found) if isinstance(found, (str, bytes)) else found
        pairs = [(str(name), _type_name(declared)) for name, declared in columns.items()]
    except Exception as error:
        raise ConfigError(f"{where}: its schema can't be read: {error}") from error
    return tuple(FieldDef(name=name, type=ScalarType(name=type_)) for name, type_ in pairs)


def _type_name(declared: Any) -> str:
    word = declared.get("type") if isinstance(declared, dict) else declared
    if word not in _TYPES:
        raise ValueError(f"unknown type {word!r}; there are {', '.join(_TYPES)}")
    return _TYPES[word]
