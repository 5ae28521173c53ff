"""The kinds of plugins, their folders and the classes that they derive from."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from engine.api import AggregateFunction, Function, LookupSource, Sink, Source

_BASES: dict[str, tuple[type[Any], ...]] = {
    "sources": (Source, LookupSource),
    "sinks": (Sink,),
    "functions": (Function, AggregateFunction),
}


class PluginKind(StrEnum):
    """The kinds of plugins; the value is the name of their folder."""

    SOURCE = "sources"
    SINK = "sinks"
    FUNCTION = "functions"

    @property
    def singular(self) -> str:
        return self.value.removesuffix("s")

    @property
    def bases(self) -> tuple[type[Any], ...]:
        """The classes of the contract, of which a plugin derives from at least one."""
        return _BASES[self.value]

    @property
    def base_names(self) -> str:
        """The same for messages, such as ``Source or LookupSource``."""
        return " or ".join(base.__name__ for base in self.bases)

    @classmethod
    def of(cls, made: type[Any]) -> PluginKind | None:
        """Return the kind that a class belongs to, None if it is no plugin."""
        return next((kind for kind in cls if issubclass(made, kind.bases)), None)
