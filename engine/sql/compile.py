"""From a logical plan to the text of Python functions that run it.

``loop`` takes the rows of a batch and relies on the kinds that the decoder has verified; a row that
raises in it is given to ``one``, which takes any row, knows all kinds and decides whether the row
has an error. See ``engine.sql.query`` for how they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from engine.batch import Row
from engine.layout import Layout
from engine.sql.ast import Call, Column, Field, Index, Item, MetaValue, Star
from engine.sql.expression import CallSite, Columns, ExpressionCompiler
from engine.sql.functions import FunctionRegistry
from engine.sql.infer import StaticKinds
from engine.sql.kinds import Kind
from engine.sql.plan import Plan, Project
from engine.sql.walk import walk

_LARGEST_PLAIN = 1e21
"""From here on JSON numbers are written with an exponent (language specification, 6.4)."""


_MAYBE_FLOAT = (Kind.FLOAT, Kind.NUMBER, Kind.ANY)
_TAKEN_AS_IT_IS = (Column, Field, Index, MetaValue)
"""What hands a value on without computing anything; its numbers stay as they came."""


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """Rule options that change what a query gives."""

    send_nil_field: bool = False
    send_error: bool = False
    send_meta_to_sink: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """Generated text that defines one function, with all that it refers to."""

    text: str
    namespace: dict[str, Any]
    call_sites: list[CallSite] = field(default_factory=list)

    def define(self, name: str, **more: Any) -> Any:
        """Run the text and return the function called ``name``."""
        namespace = {**_SUPPORT, **self.namespace, **more}
        exec(compile(self.text, f"<query {name}>", "exec"), namespace)
        return namespace[name]


def metadata_keys(plan: Plan, options: QueryOptions) -> tuple[str, ...]:
    """Return the keys of the metadata columns that the functions take, "" for the whole."""
    keys = plan.scan.metadata
    return (*keys, "") if options.send_meta_to_sink and "" not in keys else keys


class Compiler:
    """Compiles one plan for rows of a layout, or (None) for rows that are dicts."""

    def __init__(
        self,
        plan: Plan,
        layout: Layout | None,
        functions: FunctionRegistry,
        options: QueryOptions,
        *,
        forwards_payloads: bool,
    ) -> None:
        self._plan = plan
        self._layout = layout
        self._functions = functions
        self._options = options
        self._forwards = forwards_payloads
        self._metadata = metadata_keys(plan, options)
        self._call_numbers = {id(call): n for n, call in enumerate(_calls(plan))}
        arguments = [f"m{index}" for index in range(len(self._metadata))]
        self._values = ["r", *arguments, *(["p"] if forwards_payloads else [])]

    def loop(self) -> Program:
        """Return ``loop(rows, columns…, errors) -> results`` for rows of verified kinds."""
        expressions = self._expressions(verified=True)
        body = list(self._row(expressions))
        columns = [f"{name}s" for name in self._values]
        source = columns[0] if len(columns) == 1 else f"zip({', '.join(columns)})"
        lines = [
            f"def loop({', '.join(columns)}, errors):",
            "    out = []",
            "    emit = out.append",
            f"    for {', '.join(self._values)} in {source}:",
            "        try:",
            *_indented(body, 3),
            "        except Exception:",
            f"            one({', '.join(self._values)}, emit, errors)",
            "    return out",
        ]
        return Program("\n".join(lines), expressions.namespace, expressions.call_sites)

    def one(self) -> Program:
        """Return ``one(row, values…, emit, errors)`` for a single row of any kinds."""
        expressions = self._expressions(verified=self._plan.scan.declared)
        body = list(self._row(expressions))
        lines = [
            f"def one({', '.join(self._values)}, emit, errors):",
            "    try:",
            *_indented(body, 2),
            "    except Exception as error:",
            "        fail(error, emit, errors)",
        ]
        return Program("\n".join(lines), expressions.namespace, expressions.call_sites)

    def _expressions(self, *, verified: bool) -> ExpressionCompiler:
        """Return a compiler of expressions; ``verified``: the rows have the kinds of the plan."""
        kinds = {use.name: use.kind for use in self._plan.scan.columns} if verified else {}
        items = self._plan.root.items
        return ExpressionCompiler(
            Columns(None if self._layout is None else self._layout.slot),
            StaticKinds(kinds, items, self._functions),
            items,
            self._metadata,
            self._functions,
            self._call_numbers,
        )

    # -- one row -------------------------------------------------------------------------------

    def _row(self, expressions: ExpressionCompiler) -> Iterator[str]:
        condition = self._plan.condition
        test = None
        if condition is not None:
            test = expressions.condition(condition)
            expressions.assume_true(condition)
        if self._forwards:
            output = ["emit(p)"]
        elif self._plan.root.is_identity and not self._options.send_meta_to_sink:
            output = ["emit(r)"]
        else:
            output = list(_Projection(self._plan.root, expressions, self._options).lines())
        yield from (f"a{index} = PENDING" for index in sorted(expressions.lazy_aliases))
        if test is None:
            yield from output
        else:
            yield f"if {test}:"
            yield from _indented(output, 1)


class _Projection:
    """The statements that build one result row."""

    def __init__(
        self, project: Project, expressions: ExpressionCompiler, options: QueryOptions
    ) -> None:
        self._items = project.items
        self._unnested = project.unnested
        self._limit = project.limit
        self._expressions = expressions
        self._options = options
        self._setup: list[str] = []
        self._entries: list[_Entry] = []

    def lines(self) -> Iterator[str]:
        for index, item in enumerate(self._items):
            if index == self._unnested:
                cut = "" if self._limit is None else f"[:{self._limit:d}]"
                self._setup.append(f"u = ({self._expressions.item(index).text} or ()){cut}")
            elif isinstance(item.expr, Star):
                self._entries.append(_Entry("", self._expressions.value(item.expr).text))
            elif item.invisible:
                self._invisible(index, item)
            else:
                self._entries.append(self._entry(index, item))
        if self._options.send_meta_to_sink:
            text = self._expressions.value(MetaValue(key="")).text
            self._entries.append(_Entry(self._expressions.constant("__meta"), text))
        yield from self._setup
        tests = [entry.absent for entry in self._entries if entry.absent]
        if self._unnested is not None:
            yield from self._rows_of(self._items[self._unnested])
            return
        complete = f"emit({{{', '.join(entry.display for entry in self._entries)}}})"
        if not tests:
            yield complete
            return
        yield f"if {' or '.join(tests)}:"
        yield from _indented(self._piecewise(), 1)
        yield "    emit(d)"
        yield "else:"
        yield f"    {complete}"

    def _piecewise(self) -> Iterator[str]:
        yield "d = {}"
        for entry in self._entries:
            yield from entry.statements(self._has_star)

    def _rows_of(self, item: Item) -> Iterator[str]:
        """One row for each element: an object's fields beside the others, else one field."""
        name = self._expressions.constant(item.name)
        aliases = self._expressions.constant(
            frozenset(other.alias for other in self._items if other.alias and other is not item)
        )
        yield from self._piecewise()
        yield "if u:"
        yield "    surplus.append(len(u) - 1)"
        yield "for e in u:"
        yield f"    emit(spread(d, e, {name}, {aliases}))"

    @property
    def _has_star(self) -> bool:
        return any(not entry.key for entry in self._entries)

    def _invisible(self, index: int, item: Item) -> None:
        """An invisible item counts where another one names it, or for what its calls remember."""
        if any(isinstance(node, Call) for node in walk(item.expr)):
            code = self._expressions.item(index)
            self._setup.append(f"v{index} = {code.text}")
            self._expressions.define_alias(index, f"v{index}", code)

    def _entry(self, index: int, item: Item) -> _Entry:
        key = self._expressions.constant(item.name)
        name = f"v{index}"
        if isinstance(item.expr, Column) and not item.alias:
            if self._options.send_nil_field:
                return _Entry(key, self._expressions.value(item.expr).text)
            self._setup.append(f"{name} = {self._expressions.raw_column(item.expr)}")
            return _Entry(key, name, f"{name} is UNSET")
        code = self._expressions.item(index)
        kind = self._expressions.kind(item.expr)
        self._setup.append(f"{name} = {code.text}")
        if kind in _MAYBE_FLOAT and not isinstance(item.expr, _TAKEN_AS_IT_IS):
            self._setup.append(f"if type({name}) is float and {name}.is_integer():")
            self._setup.append(f"    {name} = plain({name})")
        self._expressions.define_alias(index, name, code)
        keeps_null = self._options.send_nil_field and bool(item.alias)
        return _Entry(key, name, f"{name} is None" if code.nullable and not keeps_null else "")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One field of the result: the name of its key ("" for a whole row), text, test of absence."""

    key: str
    text: str
    absent: str = ""

    @property
    def display(self) -> str:
        return f"{self.key}: {self.text}" if self.key else f"**{self.text}"

    def statements(self, over_star: bool) -> Iterator[str]:
        if not self.key:
            yield f"d.update({self.text})"
        elif not self.absent:
            yield f"d[{self.key}] = {self.text}"
        else:
            yield f"if not ({self.absent}):"
            yield f"    d[{self.key}] = {self.text}"
            if over_star:
                yield "else:"
                yield f"    d.pop({self.key}, None)"


def _calls(plan: Plan) -> Iterator[Call]:
    """Yield the calls of a plan in the order that numbers them."""
    roots = [item.expr for item in plan.root.items]
    if plan.condition is not None:
        roots.append(plan.condition)
    for root in roots:
        yield from (node for node in walk(root) if isinstance(node, Call))


def has_state(plan: Plan, functions: FunctionRegistry) -> bool:
    """Tell whether running a row twice would be noticed."""
    specs = (functions.get(call.name) for call in _calls(plan))
    return any(spec is not None and not spec.stateless for spec in specs)


def _indented(lines: Sequence[str] | Iterator[str], levels: int) -> Iterator[str]:
    return (f"{'    ' * levels}{line}" for line in lines)


def _plain(value: float) -> int | float:
    return int(value) if -_LARGEST_PLAIN < value < _LARGEST_PLAIN else value


def _without(row: Row, names: frozenset[str]) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def _replaced(row: Row, values: Row) -> Row:
    """Return a row with other values for some columns; a null result leaves the column out."""
    replaced = {**row, **values}
    for name, value in values.items():
        if value is None:
            del replaced[name]
    return replaced


def _spread(row: Row, element: Any, name: str, aliases: frozenset[str]) -> Row:
    """Return a row with an unnested element; its fields replace columns, but no aliases."""
    if not isinstance(element, dict):
        return {**row, name: element}
    return {**row, **{key: value for key, value in element.items() if key not in aliases}}


class _Pending:
    """Stands for an alias that hasn't been computed for the row yet."""


_SUPPORT: dict[str, Any] = {
    "__builtins__": {
        "Exception": Exception,
        "float": float,
        "abs": abs,
        "len": len,
        "type": type,
        "zip": zip,
    },
    "UNSET": UNSET,
    "PENDING": _Pending(),
    "plain": _plain,
    "without": _without,
    "spread": _spread,
    "replaced": _replaced,
}
