"""From a logical plan to the text of Python functions that run it.

``clean`` is for batches in which every row has all that the query asks for. ``loop`` relies on
nothing but the kinds that the decoder has verified; a row that raises in it is given to ``one``,
which takes any row, knows all kinds and decides whether the row has an error. See
``engine.sql.query`` for how they are used.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from msgspec import UNSET

from engine.batch import Row
from engine.sql.ast import (
    Alias,
    Call,
    ChangedColumns,
    Column,
    Expr,
    Field,
    Hit,
    Index,
    Item,
    MetaValue,
    Star,
)
from engine.sql.batching import BatchCall, BatchCalls
from engine.sql.code import CallSite, Code, Columns, supplied_name
from engine.sql.expression import ExpressionCompiler
from engine.sql.functions import FunctionRegistry
from engine.sql.infer import StaticKinds
from engine.sql.keys import frozen, typed_key
from engine.sql.kinds import Kind
from engine.sql.plan import Aggregate, Plan, Project, expressions_of
from engine.sql.stage import Args, Check, Key, Part, Stage
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
    plain_numbers: bool = False
    """Results are written as JSON: computed integral floats become ints."""


@dataclass(frozen=True, slots=True)
class Program:
    """Generated text that defines one function, with all that it refers to."""

    text: str
    namespace: dict[str, Any]
    call_sites: list[CallSite] = field(default_factory=list)

    def define(self, name: str, **more: Any) -> Any:
        """Run the text and return the function called ``name``."""
        namespace = {"__builtins__": _SUPPORT, **self.namespace, **more}
        exec(_code_of(self.text, name), namespace)
        return namespace[name]


@functools.lru_cache(maxsize=1024)
def _code_of(text: str, name: str) -> CodeType:
    """Return compiled text; queries that differ in names and literals only have the same."""
    return compile(text, f"<query {name}>", "exec")


class Compiler:
    """Compiles one stage of a plan for rows whose columns are read in one way."""

    def __init__(
        self,
        plan: Plan,
        stage: Stage,
        columns: Columns,
        functions: FunctionRegistry,
        options: QueryOptions,
        *,
        kinds: Mapping[tuple[str, str], Kind],
        is_declared: bool,
        forwards_payloads: bool,
    ) -> None:
        """``kinds`` are those of the columns by stream and name, which the decoder verifies;
        with ``is_declared`` every row has them, however it came."""
        self._plan = plan
        self._stage = stage
        self._columns = columns
        self._functions = functions
        self._options = options
        grouped = plan.find(Aggregate)
        self._aggregates = [
            Call(name=call.name, args=call.args)
            for call in (() if grouped is None else grouped.calls)
        ]
        self._verified = kinds
        self._is_declared = is_declared
        self._forwards = forwards_payloads
        self._call_numbers = {id(call): n for n, call in enumerate(calls_of(plan))}
        self._values = [
            "r",
            *(f"m{index}" for index in range(len(stage.metadata))),
            *map(supplied_name, stage.supplied),
            *(["p"] if forwards_payloads else []),
        ]

    def clean(self, *, verified: bool = True) -> Program | None:
        """Return ``clean(rows, columns…) -> results`` for rows without nulls or missing columns.

        It is one comprehension, after calls that are made for all rows at once, and raises if any
        row isn't clean; then ``loop`` or ``one`` is to be used. None if the query can't be written
        so or, for rows whose kinds aren't ``verified``, if no call is made for all rows at once.
        """
        batches = BatchCalls()
        expressions = self._expressions(
            verified=verified, trusting=verified, careful=not verified, batches=batches
        )
        test = self._test(expressions)
        first = batches.taken()
        result: str | None = "p"
        if self._stage.parts is not None:
            result = self._record(expressions, self._stage.parts)
        elif not self._forwards:
            result = _Projection(self._plan.root, expressions, self._options).expression()
        if result is None or expressions.lazy_aliases:
            return None
        second = batches.taken()
        if not (verified or first or second):
            return None
        rows = _Rows(self._values)
        lines = [f"def clean({', '.join(rows.columns)}):", *_indented(rows.called(first), 1)]
        condition = "" if test is None else f" if {test}"
        if second and condition:
            lines += _indented(rows.kept(condition), 1)
            condition = ""
        lines += _indented(rows.called(second), 1)
        lines.append(f"    return [{result} for {rows.names} in {rows.source}{condition}]")
        return Program("\n".join(lines), expressions.namespace, expressions.call_sites)

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
        expressions = self._expressions(verified=self._is_declared, careful=True)
        body = list(self._row(expressions, notes_entry=self._stage.failing is not None))
        lines = [
            f"def one({', '.join(self._values)}, emit, errors):",
            *(["    has_entered = False"] if self._stage.failing is not None else []),
            "    try:",
            *_indented(body, 2),
            "    except Exception as error:",
            f"        fail(error, {self._values[0]}, emit, errors)",
        ]
        if self._stage.failing is not None:
            rest = [repr(value) for value in self._stage.failing]
            lines.append("        if has_entered:")
            lines.append(f"            emit(({', '.join([*self._values, *rest])},))")
        return Program("\n".join(lines), expressions.namespace, expressions.call_sites)

    def _expressions(
        self,
        *,
        verified: bool,
        trusting: bool = False,
        careful: bool = False,
        batches: BatchCalls | None = None,
    ) -> ExpressionCompiler:
        """Return a compiler of expressions; ``verified``: the rows have the kinds of the plan."""
        kinds = self._verified if verified else {}
        items = self._plan.root.items
        return ExpressionCompiler(
            self._columns,
            StaticKinds(kinds, items, self._functions, self._aggregates),
            items,
            self._stage.metadata,
            self._functions,
            self._call_numbers,
            trusting=trusting,
            careful=careful,
            batches=batches,
        )

    def _test(self, expressions: ExpressionCompiler) -> str | None:
        """Return the text of the WHERE condition, which from then on is known to hold."""
        condition = self._stage.condition
        if condition is None:
            return None
        test = expressions.counted_condition(condition)
        expressions.assume_true(condition)
        return test

    # -- one row -------------------------------------------------------------------------------

    def _row(self, expressions: ExpressionCompiler, *, notes_entry: bool = False) -> Iterator[str]:
        """Yield the statements for one row; ``notes_entry``: say so when it meets the condition."""
        test = self._test(expressions)
        if self._stage.parts is not None:
            output = [f"emit({self._record(expressions, self._stage.parts)})"]
        elif self._forwards:
            output = ["emit(p)"]
        elif self._plan.gives_rows_as_they_are and not self._options.send_meta_to_sink:
            output = ["emit(r)"]
        else:
            output = list(_Projection(self._plan.root, expressions, self._options).lines())
        if notes_entry:
            output.insert(0, "has_entered = True")
        yield from (f"a{index} = PENDING" for index in sorted(expressions.lazy_aliases))
        if test is None:
            yield from output
        else:
            yield f"if {test}:"
            yield from _indented(output, 1)

    def _record(self, expressions: ExpressionCompiler, parts: Sequence[Part]) -> str:
        """Return the tuple of the row, what came with it and some computed parts."""
        values = [*self._values, *(_part(expressions, part) for part in parts)]
        return f"({', '.join(values)},)"


class _Rows:
    """The text that goes through the rows of a batch, with all that is known of each."""

    def __init__(self, values: Sequence[str]) -> None:
        self.columns = [f"{name}s" for name in values]
        self.names = ", ".join(values)
        self.source = self.columns[0] if len(values) == 1 else f"zip({', '.join(self.columns)})"
        self._size = f"len({self.columns[0]})"

    def called(self, calls: Sequence[BatchCall]) -> Iterator[str]:
        """Make calls for all rows; their values come beside what is known of each row."""
        if not calls:
            return
        for call in calls:
            args = [f"[{arg} for {self.names} in {self.source}]" for arg in call.args]
            yield f"{call.name}s = {call.function}({', '.join([self._size, *args])})"
        columns = "".join(f", {call.name}s" for call in calls)
        self.names = f"({self.names}), {', '.join(call.name for call in calls)}"
        self.source = f"zip({self.source}{columns})"

    def kept(self, condition: str) -> Iterator[str]:
        """Go on with the rows that meet a condition only."""
        yield f"kept = [({self.names}) for {self.names} in {self.source}{condition}]"
        self.source, self._size = "kept", "len(kept)"


def _part(expressions: ExpressionCompiler, part: Part) -> str:
    match part:
        case Check(condition):
            return f"({expressions.counted_condition(condition)})"
        case Key(()):
            return "()"
        case Key((only,)):
            return expressions.key(only)
        case Key(values):
            texts = [expressions.value(value).text for value in values]
            return f"typed_key(({', '.join(texts)},))"
        case Args(args):
            texts = [expressions.value(arg).text for arg in args]
            return f"({', '.join(texts)}{',' if texts else ''})"
    return expressions.value(part).text


class _Projection:
    """The text that builds one result row."""

    def __init__(
        self, project: Project, expressions: ExpressionCompiler, options: QueryOptions
    ) -> None:
        self._items = project.items
        self._unnested = project.unnested
        self._limit = project.limit
        self._expressions = expressions
        self._options = options
        self._entries: list[_Entry] = []
        for index, item in enumerate(self._items):
            self._add(index, item)
        if options.send_meta_to_sink:
            value = expressions.value(MetaValue(key="")).text
            self._entries.append(_Entry("vm", value, key=expressions.constant("__meta")))

    def lines(self) -> Iterator[str]:
        """Yield the statements that build the row and emit it."""
        yield from (f"{entry.name} = {entry.value}" for entry in self._entries)
        tests = [f"{entry.name} is {entry.absent}" for entry in self._entries if entry.absent]
        if self._unnested is not None:
            yield from self._rows_of(self._items[self._unnested])
            return
        complete = ", ".join(entry.display(entry.name) for entry in self._entries if entry.is_shown)
        if not tests:
            yield f"emit({{{complete}}})"
            return
        yield f"if {' or '.join(tests)}:"
        yield from _indented(self._piecewise(), 1)
        yield "    emit(d)"
        yield "else:"
        yield f"    emit({{{complete}}})"

    def expression(self) -> str | None:
        """Return the row as one expression that raises where a field would be left out."""
        if self._unnested is not None or not all(entry.is_shown for entry in self._entries):
            return None
        if not any(entry.absent for entry in self._entries):
            shown = (
                entry.display(f"({entry.name} := {entry.value})" if self._is_named(entry) else "")
                for entry in self._entries
            )
            return f"{{{', '.join(shown)}}}"
        tests = (
            f"({entry.name} := {entry.value}) is not {entry.absent or 'PENDING'}"
            for entry in self._entries
        )
        complete = ", ".join(entry.display(entry.name) for entry in self._entries)
        return f"{{{complete}}} if {' and '.join(tests)} else unclean()"

    def _is_named(self, entry: _Entry) -> bool:
        """Tell whether another item refers to this one."""
        return any(
            isinstance(node, Alias) and f"v{node.index}" == entry.name
            for item in self._items
            for node in walk(item.expr)
        )

    def _add(self, index: int, item: Item) -> None:
        name = f"v{index}"
        expressions = self._expressions
        if index == self._unnested:
            cut = "" if self._limit is None else f"[:{self._limit:d}]"
            self._entries.append(_Entry("u", f"({expressions.item(index).text} or ()){cut}"))
        elif isinstance(item.expr, ChangedColumns):
            value = expressions.changed_columns(item.expr)
            if item.alias:
                key = expressions.constant(item.name)
                self._entries.append(_Entry(name, f"{value} or None", key=key))
            else:
                self._entries.append(_Entry(name, value, is_star=True))
        elif isinstance(item.expr, Star):
            self._entries.append(_Entry(name, expressions.value(item.expr).text, is_star=True))
        elif item.invisible:
            # it counts where another item names it, or for what its calls remember
            if any(isinstance(node, Call) for node in walk(item.expr)):
                code = expressions.item(index)
                self._entries.append(_Entry(name, code.text))
                expressions.define_alias(index, name, code)
        elif isinstance(item.expr, Column) and not item.alias:
            self._entries.append(self._column(name, item.name, item.expr))
        else:
            self._entries.append(self._computed(index, name, item))

    def _column(self, name: str, key: str, column: Column) -> _Entry:
        if self._options.send_nil_field:
            value, absent = self._expressions.value(column).text, ""
        else:
            value = self._expressions.raw_column(column)
            absent = "" if self._expressions.is_present(column) else "UNSET"
        return _Entry(name, value, key=self._expressions.constant(key), absent=absent)

    def _computed(self, index: int, name: str, item: Item) -> _Entry:
        code = self._expressions.item(index)
        keeps_null = self._options.send_nil_field and bool(item.alias)
        absent = "None" if code.nullable and not keeps_null else ""
        value = self._plain(item.expr, code) if self._options.plain_numbers else code.text
        self._expressions.define_alias(index, name, code)
        return _Entry(name, value, key=self._expressions.constant(item.name), absent=absent)

    def _plain(self, node: Expr, code: Code) -> str:
        """Return a value of which integral floats are made ints."""
        kind = self._expressions.kind(node)
        if isinstance(node, _TAKEN_AS_IT_IS) or kind not in _MAYBE_FLOAT:
            return code.text
        if kind == Kind.ANY:
            return f"plain({code.text})"
        if code.nullable:
            return f"(n if (n := {code.text}) is None or n % 1 else plain(n))"
        return f"(n if (n := {code.text}) % 1 else plain(n))"

    def _piecewise(self) -> Iterator[str]:
        has_star = any(entry.is_star for entry in self._entries)
        yield "d = {}"
        for entry in self._entries:
            yield from entry.statements(has_star)

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


@dataclass(frozen=True, slots=True)
class _Entry:
    """One field of the result, or something that is computed along with it.

    ``name`` is the local that holds ``value``, ``key`` the name of the constant with the field's
    name; ``absent`` is what the local holds where the field is left out ("" if it never is).
    """

    name: str
    value: str
    key: str = ""
    absent: str = ""
    is_star: bool = False

    @property
    def is_shown(self) -> bool:
        return self.is_star or bool(self.key)

    def display(self, text: str) -> str:
        """Return the field as part of a dict display, with ``text`` or its value."""
        return f"**{text or self.value}" if self.is_star else f"{self.key}: {text or self.value}"

    def statements(self, over_star: bool) -> Iterator[str]:
        if self.is_star:
            yield f"d.update({self.name})"
        elif not self.absent:
            if self.key:
                yield f"d[{self.key}] = {self.name}"
        else:
            yield f"if {self.name} is not {self.absent}:"
            yield f"    d[{self.key}] = {self.name}"
            if over_star:
                yield "else:"
                yield f"    d.pop({self.key}, None)"


def calls_of(plan: Plan) -> Iterator[Call]:
    """Yield the calls in a plan in the order that numbers them."""
    for operator in plan.operators():
        for root in expressions_of(operator):
            yield from (node for node in walk(root) if isinstance(node, Call))


def has_state(plan: Plan, functions: FunctionRegistry) -> bool:
    """Tell whether running a row twice would be noticed."""
    specs = (functions.get(call.name) for call in calls_of(plan))
    if any(spec is not None and not spec.stateless for spec in specs):
        return True
    nodes = (root for operator in plan.operators() for root in expressions_of(operator))
    return any(isinstance(n, (Hit, ChangedColumns)) for root in nodes for n in walk(root))


def _indented(lines: Sequence[str] | Iterator[str], levels: int) -> Iterator[str]:
    return (f"{'    ' * levels}{line}" for line in lines)


def _plain(value: Any) -> Any:
    """Return an integral float as an int, so that JSON shows no point; others as they are."""
    if type(value) is float and value.is_integer() and -_LARGEST_PLAIN < value < _LARGEST_PLAIN:
        return int(value)
    return value


def _unclean() -> None:
    raise ValueError("a field is left out")


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


def _leftmost(*values: Any) -> Any:
    """Return the first value that isn't missing."""
    return next((value for value in values if value is not UNSET), UNSET)


def _settled(value: Any) -> Any:
    """Return null for a missing value."""
    return None if value is UNSET else value


def _merged(rows: tuple[Row, ...]) -> Row:
    """Return the columns of joined rows as one; of equal names the first row's counts."""
    merged: Row = {}
    for row in rows:
        for name, value in row.items():
            merged.setdefault(name, value)
    return merged


class _Pending:
    """Stands for an alias that hasn't been computed for the row yet."""


_SUPPORT: dict[str, Any] = {
    "Exception": Exception,
    "float": float,
    "abs": abs,
    "len": len,
    "type": type,
    "str": str,
    "zip": zip,
    "UNSET": UNSET,
    "PENDING": _Pending(),
    "plain": _plain,
    "unclean": _unclean,
    "without": _without,
    "spread": _spread,
    "replaced": _replaced,
    "leftmost": _leftmost,
    "settled": _settled,
    "merged": _merged,
    "typed_key": typed_key,
    "frozen": frozen,
}
"""What generated code finds as its built-in names: one dict for all queries."""
