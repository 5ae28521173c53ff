"""What the engine knows of a function, and the one registry of all of them.

A built-in function is declared once, by a decorated Python function: its name, arguments, result,
null policy, documentation and example come from that declaration, and everything else (checks when
a rule is planned, reference pages, whether the compiler may write it inline) comes from here.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal, TypeVar

from engine.blame import place_of, told
from engine.errors import ConfigError, EngineError, RowError
from engine.functions.stateful import Accumulator, Tracker
from engine.sql.kinds import Kind, kind_of
from engine.suggest import did_you_mean

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
    "aggregate",
    "collecting",
    "distribution",
    "analytic",
    "incremental",
    "ranking",
    "state",
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
Filled = Any
"""Annotation of an argument that takes any value; an empty list or object counts as null."""
Text = Any
"""Annotation of an argument that is `Filled` and seen as its text; as a literal only a string."""


def _is_empty(value: Any) -> bool:
    return type(value) in (list, dict, tuple) and not value


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a function."""

    name: str
    kind: Kind
    optional: bool = False
    variadic: bool = False
    takes_empty: bool = True
    """Whether [] and {} are values like any other, for a parameter that takes their kind."""
    is_text: bool = False
    """Whether any value counts as its text, but a literal must be a string."""
    is_fixed: bool = False
    """Whether only a literal can be given."""

    def accepts(self, value: Any) -> bool:
        """Tell whether a value, not null, can be passed."""
        if not self.takes_empty:
            return not _is_empty(value)
        kind = kind_of(value)
        if self.kind == Kind.ANY or kind == self.kind:
            return True
        if self.kind == Kind.BIGINT:
            return type(value) is float and value.is_integer()
        return self.kind in (Kind.NUMBER, Kind.FLOAT) and kind.is_numeric

    def takes_kind(self, kind: Kind) -> bool:
        """Tell whether every value of a static kind can be passed without a check."""
        if not self.takes_empty:
            return kind not in (Kind.ANY, Kind.LIST, Kind.OBJECT, Kind.NULL)
        if self.kind in (Kind.ANY, kind):
            return True
        return self.kind in (Kind.NUMBER, Kind.FLOAT) and kind.is_numeric

    @property
    def takes_anything(self) -> bool:
        """Whether no value needs a look."""
        return self.kind == Kind.ANY and self.takes_empty

    def counts_as_null(self, value: Any) -> bool:
        """Tell whether a value is null, or empty where lists and objects can't be passed."""
        return value is None or (_is_empty(value) and not self.accepts(value))

    def check_literal(self, value: object) -> None:
        """Raise ``ConfigError`` if an argument (``...``: no literal) can't be what it is."""
        if value is ...:
            if self.is_fixed:
                raise ConfigError(
                    f"{self.name} must be a literal", hint="a field or an expression can't be given"
                )
        elif self.is_text and not (value is None or isinstance(value, str)):
            raise ConfigError(
                f"{self.name} must be {Kind.STRING}, not {kind_of(value)}",
                hint="put a text in quotes",
            )

    def __str__(self) -> str:
        text = f"{self.name} {'text' if self.is_text else self.kind}"
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
Validation = Callable[[Sequence[object]], None]


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
    kind: Literal["scalar", "aggregate", "analytic", "ranking", "hit", "columns"] = "scalar"
    accumulator: type[Accumulator] | None = None
    """Of an aggregate: makes the object that takes in the rows of one group."""
    tracker: type[Tracker] | None = None
    """Of an analytic function: makes the object that remembers the rows of one partition."""
    wants_row: bool = False
    """The accumulator's ``add`` and ``remove`` take the row, as a dict, before the arguments."""
    make: Callable[[], Any] | None = None
    is_blocking: bool = False
    """It waits for something, so that queries which call it run in a thread."""
    has_batch_form: bool = False
    """What ``make`` gives has ``exec_batch``; only for functions that are stateless."""
    validate: Validation | None = None

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
        """Return ``call`` (the function itself) behind its null policy and argument checks.

        The policy also holds for an empty list or object where its kind can't be passed.
        """
        call = call or self.call
        if self.nulls is Nulls.PASS and all(p.takes_anything for p in self.parameters):
            return self._told(call)
        skip = int(self.wants_context)
        parameters, name = self.parameters, self.name
        passes_nulls = self.nulls is Nulls.PASS
        null_result = self.nulls.result
        last = len(parameters) - 1

        def has_null(arguments: Sequence[Any]) -> bool:
            return any(
                parameters[min(index, last)].counts_as_null(value)
                for index, value in enumerate(arguments)
            )

        def checked(*arguments: Any) -> Any:
            for index, value in enumerate(arguments[skip:]):
                if value is None:
                    if passes_nulls:
                        continue
                    return null_result
                parameter = parameters[index if index < last else last]
                if not parameter.accepts(value):
                    if passes_nulls and not parameter.takes_empty:
                        continue
                    if not passes_nulls and has_null(arguments[skip:]):
                        return null_result
                    raise RowError(
                        f"{name}: {parameter.name} must be {parameter.kind}, not {kind_of(value)}"
                    )
            return call_told(*arguments)

        call_told = self._told(call)
        return checked

    def _told(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose errors are errors of the row, with its name before them.

        Those of somebody else's code have their kind and place, too.
        """
        name = self.name

        def call_told(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            except EngineError:
                raise
            except Exception as error:
                text = told(error) if place_of(error) else str(error) or type(error).__name__
                raise RowError(f"{name}: {text}") from error

        return call_told


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

    def remedy(self, name: str) -> str:
        """Return what to do about a name that no function has."""
        return did_you_mean(name, self.names()) or "see `headrace functions`"

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
    validate: Validation | None = None,
    fixed: Sequence[str] = (),
    returns_rows: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a built-in function of the values of one row.

    Kinds come from the annotations (``Number``, ``int``, ``str`` …, ``Any``), the documentation
    from the docstring; a first parameter ``ctx`` receives the context. ``may_be_null`` tells that
    the function gives null for arguments that aren't, ``inline`` is an `Inline` or the template of
    one. ``validate`` looks at the arguments when a
    rule is planned (the value of each literal, ``...`` for all others) and raises ``ConfigError``;
    ``fixed`` names parameters for which only a literal can be given.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters, wants_context = read_parameters(function)
        parameters = tuple(replace(p, is_fixed=p.name in fixed) for p in parameters)
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
                validate=_checking_literals(parameters, validate),
                returns_rows=returns_rows,
            )
        )
        return function

    return declare


def special(
    kind: Literal["ranking", "hit", "columns"], *, example: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function that the query itself computes, by one that only has its signature."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters, _ = read_parameters(function)
        _BUILTINS.add(
            FunctionSpec(
                name=function.__name__,
                call=function,
                parameters=parameters,
                result=_ANNOTATED.get(_returned(function), Kind.ANY),
                nulls=Nulls.PASS,
                category=function.__module__.rpartition(".")[2],
                doc=inspect.cleandoc(function.__doc__ or ""),
                example=example,
                kind=kind,
                stateless=False,
            )
        )
        return function

    return declare


A = TypeVar("A", bound=Accumulator)
T = TypeVar("T", bound=Tracker)


def aggregate(
    *aliases: str,
    name: str = "",
    example: str,
    result: ResultKind | None = None,
    may_be_null: bool = True,
    validate: Validation | None = None,
) -> Callable[[type[A]], type[A]]:
    """Declare a function over the rows of a group by the class of its accumulators.

    The name is that of the class in lower case, the arguments are those of ``add``, the kind of the
    result is that of ``result``; the documentation is the class's. A first argument ``row``
    receives the row. The rest is as for `scalar`.
    """

    def declare(cls: type[A]) -> type[A]:
        wants_row = "row" in inspect.signature(cls.add).parameters
        spec = _spec_of_class(cls, cls.add, 2 if wants_row else 1, cls.result)
        _BUILTINS.add(
            replace(
                spec,
                name=name or spec.name,
                result=result or spec.result,
                may_be_null=may_be_null,
                category="aggregate",
                example=example,
                aliases=aliases,
                kind="aggregate",
                accumulator=cls,
                wants_row=wants_row,
                validate=validate,
            )
        )
        return cls

    return declare


def analytic(
    *aliases: str,
    name: str = "",
    example: str,
    result: ResultKind | None = None,
    may_be_null: bool = True,
    validate: Validation | None = None,
) -> Callable[[type[T]], type[T]]:
    """Declare a function that remembers earlier rows by the class of its trackers.

    It is like `aggregate`, with arguments and kind of the result from ``step``.
    """

    def declare(cls: type[T]) -> type[T]:
        spec = _spec_of_class(cls, cls.step, 1, cls.step)
        _BUILTINS.add(
            replace(
                spec,
                name=name or spec.name,
                result=result or spec.result,
                may_be_null=may_be_null,
                example=example,
                aliases=aliases,
                kind="analytic",
                tracker=cls,
                validate=validate,
            )
        )
        return cls

    return declare


def _spec_of_class(
    cls: type[Any], takes: Callable[..., Any], skipped: int, gives: Callable[..., Any]
) -> FunctionSpec:
    """Return what a class tells of a function by its name, its docstring and two of its methods."""
    return FunctionSpec(
        name=cls.__name__.lower(),
        call=cls,
        parameters=_parameters_of(takes, skipped),
        result=_ANNOTATED.get(_returned(gives), Kind.ANY),
        nulls=Nulls.PASS,
        category=cls.__module__.rpartition(".")[2],
        doc=inspect.cleandoc(cls.__doc__ or ""),
        stateless=False,
    )


def _parameters_of(method: Callable[..., Any], skipped: int) -> tuple[Parameter, ...]:
    """Return the parameters of a method behind ``self`` and the like, without keyword-only ones."""
    signature = inspect.signature(method)
    found = list(signature.parameters.values())[skipped:]
    positional = [p for p in found if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    return _read(positional)


def _returned(method: Callable[..., Any]) -> str:
    return str(method.__annotations__.get("return", "Any")).removesuffix(" | None")


def _checking_literals(
    parameters: Sequence[Parameter], validate: Validation | None
) -> Validation | None:
    """Return a validation that looks at each argument by itself before ``validate`` does."""
    if not any(parameter.is_text or parameter.is_fixed for parameter in parameters):
        return validate

    def check(arguments: Sequence[object]) -> None:
        for index, value in enumerate(arguments):
            parameters[min(index, len(parameters) - 1)].check_literal(value)
        if validate is not None:
            validate(arguments)

    return check


def read_parameters(function: Callable[..., Any]) -> tuple[tuple[Parameter, ...], bool]:
    """Return the parameters of a Python function, and whether it wants the context first."""
    found = list(inspect.signature(function).parameters.values())
    wants_context = bool(found) and found[0].name == "ctx"
    return _read(found[wants_context:]), wants_context


def _read(parameters: Sequence[inspect.Parameter]) -> tuple[Parameter, ...]:
    return tuple(
        Parameter(
            name=parameter.name,
            kind=_ANNOTATED.get(annotation, Kind.ANY),
            optional=parameter.default is not inspect.Parameter.empty,
            variadic=parameter.kind is inspect.Parameter.VAR_POSITIONAL,
            takes_empty=annotation not in ("Filled", "Text"),
            is_text=annotation == "Text",
        )
        for parameter in parameters
        for annotation in [_written(parameter.annotation).removesuffix(" | None")]
    )


def _written(annotation: Any) -> str:
    """Return an annotation as it is written, whether or not Python has evaluated it."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
