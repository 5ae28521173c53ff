"""Names of classes in stored state, and the classes of loaded code that they mean.

Reading state never imports anything: a name only ever means a class that is there already.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from enum import Enum
from types import ModuleType
from typing import Any

import msgspec

from engine.state.errors import UnreadableState


class ClassNames:
    """Finds dataclasses, msgspec Structs and enumerations by ``module:qualified name``.

    Modules whose names differ from process to process, such as those made of plugin files, get a
    lasting one by `alias`.
    """

    def __init__(self) -> None:
        self._lasting: dict[str, str] = {}
        self._actual: dict[str, str] = {}

    def alias(self, module: ModuleType, name: str) -> None:
        """Let ``name`` stand for a module, and the modules in it, in stored state.

        Of several with one name, the last one is read.
        """
        self._lasting[module.__name__] = name
        self._actual[name] = module.__name__

    def name_of(self, cls: type[Any]) -> str:
        """Return the name of a class.

        Raises:
            ValueError: it couldn't be found again.
        """
        qualified = cls.__qualname__
        if "<locals>" in qualified:
            raise ValueError(
                f"{cls.__name__} is defined inside a function; define it at the top of its module"
            )
        if not isinstance(_member(sys.modules.get(cls.__module__), qualified), type):
            raise ValueError(f"{cls.__module__} has no class {qualified}, so none can be restored")
        return f"{_renamed(cls.__module__, self._lasting)}:{qualified}"

    def find(self, name: str) -> type[Any]:
        """Return the class that a name means.

        Raises:
            UnreadableState: its module isn't loaded, or has no such class.
        """
        module_name, _, qualified = name.partition(":")
        module = sys.modules.get(_renamed(module_name, self._actual))
        if module is None:
            raise UnreadableState(
                f"the state holds a {qualified or name} of {module_name}, which isn't loaded",
                hint="import it in the plugin that stores it",
            )
        found = _member(module, qualified)
        if not isinstance(found, type) or not is_record(found):
            raise UnreadableState(
                f"the state holds a {qualified or name}, which {module_name} doesn't have any more"
            )
        return found


def _renamed(module: str, names: Mapping[str, str]) -> str:
    """Return the name of a module by the other name of the innermost package that has one."""
    outer, inner = module, ""
    while outer:
        if outer in names:
            return names[outer] + inner
        outer, _, last = outer.rpartition(".")
        inner = f".{last}{inner}"
    return module


def is_record(cls: type[Any]) -> bool:
    """Tell whether instances of a class are stored by the class's name and their fields."""
    return (
        issubclass(cls, (msgspec.Struct, Enum))
        # one with a way of its own to come to life might be left half made
        or (dataclasses.is_dataclass(cls) and cls.__new__ is object.__new__)
    )


def members_of(value: Any) -> Any:
    """Return the fields of a record as a dict, or the name of an enumeration's member."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def record_of(cls: type[Any], members: Any) -> Any:
    """Return the instance that `members_of` was given.

    Dataclasses are filled without calling their ``__init__``; fields that were added since get
    their defaults.

    Raises:
        UnreadableState: the class has changed so that the members don't fit.
    """
    if issubclass(cls, Enum):
        return cls[members]
    known = {field.name for field in _fields(cls)}
    if unknown := members.keys() - known:
        raise _changed(cls, f"has no field {min(unknown)!r} any more")
    if issubclass(cls, msgspec.Struct):
        try:
            return cls(**members)
        except TypeError as error:
            raise _changed(cls, f"can't be made: {error}") from None
    made = object.__new__(cls)
    for field in dataclasses.fields(cls):
        object.__setattr__(made, field.name, _field_value(cls, field, members))
    return made


def _fields(cls: type[Any]) -> Any:
    if issubclass(cls, msgspec.Struct):
        return msgspec.structs.fields(cls)
    return dataclasses.fields(cls)


def _field_value(cls: type[Any], field: dataclasses.Field[Any], members: dict[str, Any]) -> Any:
    if field.name in members:
        return members[field.name]
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is not dataclasses.MISSING:
        return field.default
    raise _changed(cls, f"has a new field {field.name!r} without default")


def _changed(cls: type[Any], what: str) -> UnreadableState:
    return UnreadableState(
        f"the stored {cls.__name__} doesn't fit its class: it {what}",
        hint="give the class a form that can take the old fields, or clear the state of the rule",
    )


def _member(owner: object, qualified: str) -> object:
    for name in qualified.split("."):
        owner = getattr(owner, name, None)
    return owner
