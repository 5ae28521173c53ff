"""What the engine knows of a function, and the one registry of all of them.

A built-in function is declared once, by a decorated Python function: its name, arguments, result,
null policy, documentation and example come from that declaration, and everything else (checks when
a rule is planned, reference pages, whether the compiler may write it inline) comes from here.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from engine.errors import RowError
from engine.sql.kinds import Kind, kind_of

_CATEGORIES = (
    "math",
    "text",
    "misc",
    "rows",
    "transform",
    "hashing",
    "conditional",
    "datetime",
    "array",
    "object",
    "json",
)
"""Modules of ``engine.functions``; importing one fills the registry."""


class Nulls(Enum):
    """What happens to a call with a null argument before the function sees it."""

    PROPAGATE = "the result is null"
    FALSE = "the result is false"
    ZERO = "the result is 0"
    PASS = "the function decides"

    @property
    def result(self) -> Any:
        """The result of a call with a null argument."""
        return {Nulls.FALSE: False, Nulls.ZERO: 0}.get(self)


_ANNOTATED = {
    "Any": Kind.ANY,
    "Number": Kind.NUMBER,
    "int": Kind.BIGINT,
    "float": Kind.FLOAT,
    "str": Kind.STRING,
    "bool": Kind.BOOLEAN,
    "list[Any]": Kind.LIST,
    "dict[str, Any]": Kind.OBJECT,
    "datetime": Kind.DATETIME,
    "bytes": Kind.BYTEA,
}
Number = int | float
"""Annotation of an argument that takes any number."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a function."""

    name: str
    kind: Kind
    optional: bool = False
    variadic: bool = False

    def accepts(self, value: Any) -> bool:
        """Tell whether a value, not null, can be passed."""
        kind = kind_of(value)
        if self.kind == Kind.ANY or kind == self.kind:
            return True
        if self.kind == Kind.BIGINT:
            return type(value) is float and value.is_integer()
        return self.kind in (Kind.NUMBER, Kind.FLOAT) and kind.is_numeric

    def takes_kind(self, kind: Kind) -> bool:
        """Tell whether every value of a static kind can be passed without a check."""
        if self.kind in (Kind.ANY, kind):
            return True
        return self.kind in (Kind.NUMBER, Kind.FLOAT) and kind.is_numeric

    def __str__(self) -> str:
        text = f"{self.name} {self.kind}"
        if self.variadic:
            return f"{text}, …"
        return f"[{text}]" if self.optional else text


@dataclass(frozen=True, slots=True)
class Inline:
    """A Python expression that the compiler writes instead of a call.

    In ``template``, ``{0}``, ``{1}`` … stand for the arguments, ``{call}`` for the function itself
    (for what the expression leaves to it), other names in braces for ``names``. ``each`` and
    ``joint`` are for any number of arguments: ``each`` with ``{0}`` for one, joined by ``joint``.
    """

    template: str = ""
    names: Mapping[str, Any] = field(default_factory=dict)
    each: str = ""
    joint: str = ""

    def repeated(self, arguments: int) -> frozenset[int]:
        """Return the arguments that stand more than once in the expression."""
        if self.each:
            return frozenset(range(arguments)) if self.each.count("{0}") > 1 else frozenset()
        return frozenset(n for n in range(arguments) if self.template.count(f"{{{n}}}") > 1)

    def text(self, arguments: Sequence[str], **names: str) -> str:
        """Return the expression for the texts of the arguments and the names of the constants."""
        if self.each:
            return self.joint.join(self.each.format(argument, **names) for argument in arguments)
        return self.template.format(*arguments, **names)


ResultKind = Kind | Callable[[Sequence[Kind]], Kind]


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function as the analyser, the compiler and the documentation see it.

    ``call`` takes the arguments as they are in SQL, after the context where ``wants_context``;
    it may rely on the declared kinds and, unless ``nulls`` is PASS, on the absence of nulls.
    ``inline``, when given, does the same without a call; see `Inline`. ``make``, for plugins, gives
    the object whose ``exec`` is called.
    """

    name: str
    call: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    result: ResultKind = Kind.ANY
    result_for: Callable[[Sequence[object]], Kind] | None = None
    """Tells the kind from the literal arguments (``...`` for others), where it depends on them."""
    nulls: Nulls = Nulls.PROPAGATE
    may_be_null: bool = True
    category: str = "plugin"
    doc: str = ""
    example: str = ""
    inline: Inline | None = None
    aliases: tuple[str, ...] = ()
    wants_context: bool = False
    stateless: bool = True
    returns_rows: bool = False
    """A set-returning function: its result is a list, and each element makes a row."""
    kind: Literal["scalar", "aggregate", "analytic"] = "scalar"
    accumulator: type[Any] | None = None
    """Of an aggregate: makes the object that takes in the rows of one group."""
    tracker: type[Any] | None = None
    """Of an analytic function: makes the object that remembers the rows of one partition."""
    make: Callable[[], Any] | None = None
    validate: Callable[[Sequence[object]], None] | None = None

    @property
    def least(self) -> int:
        return sum(not (p.optional or p.variadic) for p in self.parameters)

    @property
    def most(self) -> int | None:
        """The largest number of arguments, None without limit."""
        if self.parameters and self.parameters[-1].variadic:
            return None
        return len(self.parameters)

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parameters))})"

    def parameter(self, index: int) -> Parameter:
        """Return the parameter that takes argument ``index``."""
        return self.parameters[min(index, len(self.parameters) - 1)]

    def result_kind(self, arguments: Sequence[Kind], literals: Sequence[object] = ()) -> Kind:
        """Return the kind of a call's value, from the kinds and literals of its arguments."""
        if self.result_for is not None:
            return self.result_for(literals)
        return self.result if isinstance(self.result, Kind) else self.result(arguments)

    def checked(self, call: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Return ``call`` (the function itself) behind its null policy and argument checks."""
        call = call or self.call
        skip = int(self.wants_context)
        parameters, name = self.parameters, self.name
        passes_nulls = self.nulls is Nulls.PASS
        null_result = self.nulls.result
        last = len(parameters) - 1

        def checked(*arguments: Any) -> Any:
            for index, value in enumerate(arguments[skip:]):
                if value is None:
                    if passes_nulls:
                        continue
                    return null_result
                parameter = parameters[index if index < last else last]
                if not parameter.accepts(value):
                    raise RowError(
                        f"{name}: {parameter.name} must be {parameter.kind}, not {kind_of(value)}"
                    )
            try:
                return call(*arguments)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                raise RowError(f"{name}: {error}") from error

        return checked


def same_as(index: int) -> Callable[[Sequence[Kind]], Kind]:
    """Result kind of a function that gives back what argument ``index`` is."""
    return lambda kinds: kinds[index] if index < len(kinds) else Kind.ANY


class FunctionRegistry:
    """Functions by name: built-in names without regard to case, all others exactly."""

    def __init__(self, parent: FunctionRegistry | None = None) -> None:
        self._parent = parent
        self._specs: dict[str, FunctionSpec] = {}

    def add(self, spec: FunctionSpec) -> None:
        for name in (spec.name, *spec.aliases):
            self._specs[name] = spec

    def get(self, name: str) -> FunctionSpec | None:
        """Return the function called ``name`` in SQL, None if there is none."""
        if self._parent is not None:
            return self._parent.get(name) or self._specs.get(name)
        return self._specs.get(name.lower())

    def names(self) -> list[str]:
        inherited = self._parent.names() if self._parent else []
        return sorted({*inherited, *self._specs})

    def __iter__(self) -> Iterator[FunctionSpec]:
        for name in self.names():
            spec = self.get(name)
            if spec is not None and spec.name == name:
                yield spec


_BUILTINS = FunctionRegistry()


def builtins() -> FunctionRegistry:
    """Return the registry of the built-in functions."""
    for category in _CATEGORIES:
        importlib.import_module(f"engine.functions.{category}")
    return _BUILTINS


def scalar(
    *aliases: str,
    name: str = "",
    example: str,
    nulls: Nulls = Nulls.PROPAGATE,
    result: ResultKind | None = None,
    result_for: Callable[[Sequence[object]], Kind] | None = None,
    inline: Inline | str | None = None,
    may_be_null: bool = False,
    validate: Callable[[Sequence[object]], None] | None = None,
    returns_rows: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a built-in function of the values of one row.

    Kinds come from the annotations (``Number``, ``int``, ``str`` …, ``Any``), the documentation
    from the docstring; a first parameter ``ctx`` receives the context. ``may_be_null`` tells that
    the function gives null for arguments that aren't, ``inline`` is an `Inline` or the template of
    one. ``validate`` looks at the arguments when a
    rule is planned (the value of each literal, ``...`` for all others) and raises ``ConfigError``.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters, wants_context = read_parameters(function)
        returned = str(function.__annotations__.get("return", "Any"))
        _BUILTINS.add(
            FunctionSpec(
                name=name or function.__name__.rstrip("_"),
                call=function,
                parameters=parameters,
                result=result or _ANNOTATED.get(returned.removesuffix(" | None"), Kind.ANY),
                result_for=result_for,
                nulls=nulls,
                may_be_null=may_be_null or returned.endswith("None") or returned == "Any",
                category=function.__module__.rpartition(".")[2],
                doc=inspect.cleandoc(function.__doc__ or ""),
                example=example,
                inline=Inline(inline) if isinstance(inline, str) else inline,
                aliases=aliases,
                wants_context=wants_context,
                validate=validate,
                returns_rows=returns_rows,
            )
        )
        return function

    return declare


def read_parameters(function: Callable[..., Any]) -> tuple[tuple[Parameter, ...], bool]:
    """Return the parameters of a Python function, and whether it wants the context first."""
    found = list(inspect.signature(function).parameters.values())
    wants_context = bool(found) and found[0].name == "ctx"
    return (
        tuple(
            Parameter(
                name=parameter.name,
                kind=_ANNOTATED.get(str(parameter.annotation).removesuffix(" | None"), Kind.ANY),
                optional=parameter.default is not inspect.Parameter.empty,
                variadic=parameter.kind is inspect.Parameter.VAR_POSITIONAL,
            )
            for parameter in found[wants_context:]
        ),
        wants_context,
    )
