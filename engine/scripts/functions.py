"""Scripts as functions of SQL."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import msgspec

from engine.errors import ConfigError
from engine.functions.stateful import Accumulator
from engine.scripts.interpreter import Interpreter
from engine.sql.functions import FunctionSpec, Nulls, Parameter, builtins
from engine.sql.kinds import Kind

_PARAMETERS = (Parameter("values", Kind.ANY, variadic=True),)


class ScriptDef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A script: it defines a function called ``id``."""

    id: str
    script: str
    is_agg: bool = False
    """The function is an aggregate: each argument is the list of its values in the group."""
    description: str = ""


class Scripts:
    """The scripts of one engine by name; a rule keeps what a script was when it started."""

    def __init__(self) -> None:
        self._specs: dict[str, FunctionSpec] = {}

    def put(self, definition: ScriptDef) -> None:
        """Add a script, or replace it.

        Raises:
            ConfigError: it can't be used; what was there before stays.
        """
        name = definition.id
        if not name.isidentifier() or not name.isascii():
            raise ConfigError(
                f"{name[:40]!r} can't be the name of a function",
                hint="use letters, digits and '_', no digit first",
            )
        if builtins().get(name) is not None:
            raise ConfigError(f"{name} is a built-in function", hint="choose another name")
        interpreter = Interpreter(name, definition.script)
        spec = _aggregate if definition.is_agg else _scalar
        self._specs[name] = spec(definition, interpreter)

    def drop(self, name: str) -> None:
        """Forget a script; rules that run keep it."""
        self._specs.pop(name, None)

    def get(self, name: str) -> FunctionSpec | None:
        """Return a script as a function, None if there is none of that name."""
        return self._specs.get(name)

    def names(self) -> list[str]:
        """Return the names of all scripts."""
        return list(self._specs)


class _Call:
    """A call of a script in a rule."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    def exec(self, ctx: object, *args: Any) -> Any:
        return self._interpreter(*args)


def _scalar(definition: ScriptDef, tried: Interpreter) -> FunctionSpec:
    return FunctionSpec(
        name=definition.id,
        call=_Call(tried).exec,
        parameters=_PARAMETERS,
        nulls=Nulls.PASS,
        category="script",
        doc=definition.description,
        wants_context=True,
        stateless=False,
        make=lambda: _Call(Interpreter(definition.id, definition.script)),
    )


class _Gathered(Accumulator):
    """Keeps the arguments of all rows for the script."""

    __slots__ = ("_columns",)
    interpreter: ClassVar[Interpreter]

    def __init__(self) -> None:
        self._columns: list[list[Any]] = []

    def add(self, *args: Any, **kwargs: Any) -> None:
        if not self._columns:
            self._columns = [[] for _ in args]
        for column, value in zip(self._columns, args, strict=True):
            column.append(value)

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        parts = [part._columns for part in (self, newer) if part._columns]
        merged._columns = [[v for c in columns for v in c] for columns in zip(*parts, strict=True)]
        return merged

    def result(self) -> Any:
        return self.interpreter(*self._columns)

    def snapshot(self) -> Any:
        return [list(column) for column in self._columns]

    def restore(self, value: Any) -> None:
        self._columns = [list(column) for column in value]


def _aggregate(definition: ScriptDef, interpreter: Interpreter) -> FunctionSpec:
    gathered = type(f"Script{definition.id}", (_Gathered,), {"interpreter": interpreter})
    return FunctionSpec(
        name=definition.id,
        call=interpreter,
        parameters=_PARAMETERS,
        nulls=Nulls.PASS,
        category="script",
        doc=definition.description,
        stateless=False,
        kind="aggregate",
        accumulator=gathered,
    )
