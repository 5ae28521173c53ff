"""Binding expressions: what names mean, which functions are called, whether that is legal here."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from engine.errors import ConfigError
from engine.sql.ast import (
    Alias,
    Call,
    Case,
    ChangedColumn,
    ChangedColumns,
    Column,
    Expr,
    Field,
    Hit,
    Item,
    Literal,
    MetaValue,
    Node,
    Over,
    SortKey,
    Star,
    Supplied,
    Unary,
    When,
)
from engine.sql.functions import FunctionRegistry, FunctionSpec
from engine.sql.infer import literal_values
from engine.sql.inputs import Relations, streams_of
from engine.sql.kinds import kind_of
from engine.sql.plan import AggregateCall, AnalyticCall, RankCall
from engine.sql.walk import children, rebuild, walk

META_FUNCTIONS = frozenset({"meta", "mqtt"})
_MQTT_KEYS = {"topic": "topic", "messageid": "messageId"}
_WINDOW_VALUES = {"window_start": 0, "window_end": 1, "window_trigger": 2}

AliasOf = Callable[[str], "int | None"]
"""Gives the SELECT item that a name means, None where it means a column."""


@dataclass(frozen=True, slots=True)
class Clause:
    """Part of a statement, and what may be called in it (language specification, 3.1)."""

    name: str
    takes_aggregates: bool = False
    takes_analytic: bool = True
    takes_ranking: bool = False
    takes_window_values: bool = False
    aggregate_hint: str = ""


SELECT = Clause("SELECT", takes_aggregates=True, takes_ranking=True, takes_window_values=True)
WHERE = Clause("WHERE", aggregate_hint="use HAVING")
GROUP_BY = Clause("GROUP BY")
HAVING = Clause("HAVING", takes_aggregates=True, takes_window_values=True)
ORDER_BY = Clause("ORDER BY", takes_aggregates=True, takes_window_values=True)
ON = Clause("ON")
WINDOW = Clause("a window")
WHEN = Clause("WHEN of a window")
ARGUMENT = Clause("an aggregate", takes_window_values=True)
REMEMBERED = Clause("an analytic function before the window")
REMEMBERED_OF_GROUPS = Clause(
    "an analytic function", takes_aggregates=True, takes_window_values=True
)
RANKED = Clause("OVER of a ranking", takes_aggregates=True, takes_window_values=True)


class Binder:
    """Binds the expressions of one query, and collects its special calls."""

    def __init__(
        self,
        relations: Relations,
        items: Sequence[Item],
        functions: FunctionRegistry,
        *,
        is_windowed: bool,
        is_grouped: bool,
    ) -> None:
        """``items`` are those of SELECT, not bound yet; ``is_grouped``: windows or joins."""
        self._is_grouped = is_grouped
        self._relations = relations
        self._items = items
        self._functions = functions
        self._is_windowed = is_windowed
        self.aggregates: list[AggregateCall] = []
        self.analytic: list[AnalyticCall] = []
        self._analytic_sites: list[Call] = []
        self.rankings: list[RankCall] = []
        self.hits: list[str] = []
        self.counts_rows = False
        """Whether there is a count(*): then declared columns are checked, whoever reads them."""
        self.changes = 0

    def bind(self, node: Any, alias: AliasOf, clause: Clause) -> Any:
        """Return an expression with its names resolved and its calls checked.

        Raises:
            SqlError: a name is unknown, or a call is wrong or has no place here.
        """
        if isinstance(node, Column):
            return self._bind_column(node, alias)
        if isinstance(node, Star):
            node = self._bind_star(node)
        if isinstance(node, Unary) and node.op == "-" and isinstance(node.operand, Literal):
            return self._negative_literal(node, node.operand)
        if isinstance(node, Call):
            return self._bind_call(node, alias, clause)
        return rebuild(node, lambda child: self.bind(child, alias, clause))

    def _negative_literal(self, node: Unary, operand: Literal) -> Expr:
        if kind_of(operand.value).is_numeric:
            return Literal(value=-operand.value, at=node.at)  # type: ignore[operator]
        return node

    def _bind_column(self, column: Column, alias: AliasOf) -> Expr:
        if not column.stream and (place := alias(column.name)) is not None:
            return Alias(index=place, at=column.at)
        return self._relations.column(column)

    def _bind_star(self, star: Star) -> Star:
        label = self._relations.qualified(star, star.stream).label if star.stream else ""
        if len(self._relations) == 1:
            label = self._relations.first.label
        return msgspec.structs.replace(star, stream=label)

    def _bind_meta(self, call: Call) -> Expr:
        if len(call.args) != 1:
            self.fail(call, f"{call.name} takes one key", "write meta(topic), or meta(*) for all")
        bound = self._meta_path(call, call.args[0])
        if call.name.lower() == "mqtt":
            key = bound.key.lower() if isinstance(bound, MetaValue) else ""
            if key not in _MQTT_KEYS:
                self.fail(call, "mqtt() knows topic and messageId", "use meta(key) for others")
            assert isinstance(bound, MetaValue)
            value = MetaValue(key=_MQTT_KEYS[key], stream=bound.stream, at=call.at)
            return Call(name="mqtt", args=(value,), at=call.at) if key == "topic" else value
        return bound

    def _meta_path(self, call: Call, node: Expr) -> Expr:
        if isinstance(node, Column):
            label = self._relations.qualified(node, node.stream).label if node.stream else ""
            return MetaValue(key=node.name, stream=label, at=node.at)
        if isinstance(node, Star) and not node.excluded and not node.replaced:
            return MetaValue(key="", at=node.at)
        if isinstance(node, Field):
            return Field(base=self._meta_path(call, node.base), name=node.name, at=node.at)
        hint = "write meta(topic) or meta(a->b)"
        return self.fail(call, f"{call.name} takes the name of a key", hint)

    # -- calls ---------------------------------------------------------------------------------

    def is_builtin(self, name: str) -> bool:
        """Tell whether a name is a function of the engine's own, whose case doesn't matter."""
        spec = self._functions.get(name)
        return spec is not None and spec.make is None

    def returns_columns(self, node: Node) -> bool:
        """Tell whether a node is a call of ``changed_cols``."""
        spec = self._functions.get(node.name) if isinstance(node, Call) else None
        return spec is not None and spec.kind == "columns"

    def returns_rows(self, node: Node) -> bool:
        """Tell whether a node is a call that gives several rows."""
        spec = self._functions.get(node.name) if isinstance(node, Call) else None
        return spec is not None and spec.returns_rows

    def _bind_call(self, call: Call, alias: AliasOf, clause: Clause) -> Expr:
        name = call.name.lower()
        if name in META_FUNCTIONS:
            return self._bind_meta(call)
        if self._is_windowed and name in _WINDOW_VALUES and not call.args:
            if not clause.takes_window_values:
                self.fail(call, f"{clause.name} stands before the window and can't use {name}()")
            return Supplied(place="window", index=_WINDOW_VALUES[name], at=call.at)
        if name == "event_time" and not call.args:
            return Supplied(place="time", index=0, at=call.at)
        spec = self._spec(call)
        within = clause
        if spec.kind == "aggregate":
            within = ARGUMENT
        elif spec.kind == "analytic":
            within = REMEMBERED_OF_GROUPS if clause.takes_aggregates else REMEMBERED
        args = tuple(self.bind(arg, alias, within) for arg in call.args)
        bound = Call(name=spec.name, args=args, at=call.at)
        self._check_arity(bound, spec)
        self._check_literals(bound, spec)
        if spec.kind == "aggregate":
            return self._aggregate(call, bound, alias, clause)
        if call.filter is not None:
            self.fail(call, f"{call.name} is no aggregate and takes no FILTER")
        if spec.kind == "ranking":
            return self._ranking(call, alias, clause)
        if spec.kind == "analytic":
            return self._analytic(call, bound, alias, clause)
        if call.over is not None:
            self.fail(call, f"{call.name} takes no OVER")
        if spec.kind == "hit":
            return self._hit(call, spec, clause)
        if spec.kind == "columns":
            self.fail(call, f"{call.name} can only be an item of SELECT")
        if spec.name == "if":  # only the chosen branch may be computed
            condition, chosen, *rest = args
            return Case(
                branches=(When(condition=condition, result=chosen, at=call.at),),
                default=rest[0] if rest else None,
                at=call.at,
            )
        return bound

    def _spec(self, call: Call) -> FunctionSpec:
        spec = self._functions.get(call.name)
        if spec is None:
            self.fail(call, f"unknown function {call.name}", self._functions.remedy(call.name))
        return spec

    def _aggregate(self, call: Call, bound: Call, alias: AliasOf, clause: Clause) -> Expr:
        if not clause.takes_aggregates:
            message = f"{clause.name} can't hold the aggregate {call.name}"
            self.fail(call, message, clause.aggregate_hint)
        if call.over is not None:
            self.fail(call, f"{call.name} takes no OVER")
        for node in walk(bound):
            if isinstance(node, Alias) and self._is_aggregate(self._items[node.index].expr):
                name = self._items[node.index].alias
                stream = self._relations.first.label
                hint = f"{name} is an aggregate here; write {stream}.{name} for the column"
                self.fail(call, f"{call.name} can't take an aggregate", hint)
        spec = self._spec(call)
        args = bound.args
        if spec.name == "count" and isinstance(args[0], Star):
            args = (Literal(value=1),)  # no column is needed to count rows
            self.counts_rows = True
        elif spec.wants_row:
            args = (Star(stream=self._relations.first.label), *args)
        kept = None if call.filter is None else self.bind(call.filter, alias, ARGUMENT)
        made = AggregateCall(bound.name, tuple(map(_placeless, args)), kept)
        known = [repr(other) for other in self.aggregates]  # 1, 1.0 and true are equal, but differ
        if repr(made) not in known:
            self.aggregates.append(made)
            known.append(repr(made))
        return Supplied(place="aggregate", index=known.index(repr(made)), at=call.at)

    def _is_aggregate(self, node: Node) -> bool:
        """Tell whether an expression, not bound yet, holds an aggregate."""
        for part in walk(node):
            spec = self._functions.get(part.name) if isinstance(part, Call) else None
            if spec is not None and spec.kind == "aggregate":
                return True
        return False

    def _analytic(self, call: Call, bound: Call, alias: AliasOf, clause: Clause) -> Expr:
        if not clause.takes_analytic:
            self.fail(call, f"{clause.name} can't hold the analytic function {call.name}")
        over = call.over or Over()
        if over.order_by:
            self.fail(call, f"{call.name} takes no ORDER BY")
        within = REMEMBERED_OF_GROUPS if clause.takes_aggregates else REMEMBERED
        partition = tuple(self.bind(part, alias, within) for part in over.partition_by)
        when = None if over.when is None else self.bind(over.when, alias, within)
        number = len(self.analytic)
        made = AnalyticCall(number, "", bound.name, bound.args, partition, when)
        self.analytic.append(made)
        self._analytic_sites.append(call)
        return Supplied(place="analytic", index=number, at=call.at)

    def placed_analytic(
        self, items: Sequence[Item]
    ) -> tuple[list[AnalyticCall], list[AnalyticCall]]:
        """Return the analytic calls that see rows, and those that see groups.

        ``items`` are those of SELECT, bound.

        Raises:
            SqlError: a call reads several streams.
        """
        of_rows: list[AnalyticCall] = []
        of_groups: list[AnalyticCall] = []
        late: set[int] = set()
        for made, call in zip(self.analytic, self._analytic_sites, strict=True):
            parts = (*made.args, *made.partition_by, *([] if made.when is None else [made.when]))
            if any(reads_groups(part, items, late) for part in parts):
                late.add(made.number)
                of_groups.append(made)
            else:
                stream = self._only_stream(call, parts)
                of_rows.append(msgspec.structs.replace(made, stream=stream))
        return of_rows, of_groups

    def _only_stream(self, call: Call, expressions: Sequence[Expr]) -> str:
        """Return the stream that a call reads; it runs before streams are joined."""
        items = [item.expr for item in self._items]
        read = frozenset[str]().union(*(streams_of(expr, items) for expr in expressions)) - {""}
        if len(read) > 1:
            self.fail(call, f"{call.name} can't read several streams: {', '.join(sorted(read))}")
        label = next(iter(read), self._relations.first.label)
        if self._relations.labelled(label).role != "stream":
            self.fail(call, f"{call.name} can't read the table {label}, which has no order of rows")
        return label

    def _ranking(self, call: Call, alias: AliasOf, clause: Clause) -> Expr:
        if not clause.takes_ranking:
            self.fail(call, f"{clause.name} can't hold {call.name}", "only SELECT can")
        over = call.over or Over()
        if over.when is not None:
            self.fail(call, f"{call.name} takes no WHEN")
        made = RankCall(
            call.name.lower(),
            tuple(self.bind(part, alias, RANKED) for part in over.partition_by),
            tuple(
                SortKey(expr=self.bind(key.expr, alias, RANKED), descending=key.descending)
                for key in over.order_by
            ),
        )
        self.rankings.append(made)
        return Supplied(place="ranking", index=len(self.rankings) - 1, at=call.at)

    def _hit(self, call: Call, spec: FunctionSpec, clause: Clause) -> Expr:
        of_groups = spec.name.startswith("last_agg_")
        allowed = (SELECT, HAVING) if of_groups else (SELECT, WHERE, WHEN)
        if clause not in allowed:
            names = ", ".join(clause.name for clause in allowed)
            self.fail(call, f"{clause.name} can't hold {call.name}", f"it can stand in {names}")
        if clause is SELECT and not of_groups and self._is_grouped:
            hint = f"use last_agg_{spec.name.removeprefix('last_')}"
            self.fail(call, f"{call.name} counts rows, not windows", hint)
        self.hits.append(spec.name)
        when = {SELECT: "evaluated", HAVING: "passed"}.get(clause, "met")
        return Hit(index=len(self.hits) - 1, when=when, at=call.at)

    def changed_columns(self, call: Call, alias: AliasOf) -> ChangedColumns:
        """Return a call of ``changed_cols``, an item of SELECT."""
        spec = self._spec(call)
        if call.over is not None:
            self.fail(call, f"{call.name} takes no OVER")
        args = tuple(self.bind(arg, alias, SELECT) for arg in call.args)
        bound = Call(name=spec.name, args=args, at=call.at)
        self._check_arity(bound, spec)
        self._check_literals(bound, spec)
        prefix, ignore_null, *values = args
        columns = []
        unnamed = 0
        for written, value in zip(call.args[2:], values, strict=True):
            name = written.name if isinstance(written, (Column, Field)) else ""
            if isinstance(written, Call):
                name = written.name.lower() if self.is_builtin(written.name) else written.name
            if not name and not isinstance(written, Star):
                name = f"kuiper_field_{unnamed}" if unnamed else ""
                unnamed += 1
            columns.append(ChangedColumn(name=name, value=value))
        self.changes += 1
        return ChangedColumns(
            index=self.changes - 1,
            prefix=prefix,
            ignore_null=ignore_null,
            columns=tuple(columns),
            at=call.at,
        )

    def _check_arity(self, call: Call, spec: FunctionSpec) -> None:
        given, least, most = len(call.args), spec.least, spec.most
        if given >= least and (most is None or given <= most):
            return
        wanted = str(least) if most == least else f"{least} or more"
        if most is not None and most != least:
            wanted = f"{least} to {most}"
        self.fail(
            call,
            f"{call.name} takes {wanted} arguments but {given} were given",
            f"write {spec.signature}",
        )

    def _check_literals(self, call: Call, spec: FunctionSpec) -> None:
        for index, argument in enumerate(call.args):
            if not isinstance(argument, Literal) or argument.value is None:
                continue
            parameter = spec.parameter(index)
            if not parameter.accepts(argument.value):
                self.fail(
                    argument,
                    f"{call.name}: {parameter.name} must be {parameter.kind}, "
                    f"not {kind_of(argument.value)}",
                )
        if spec.validate is not None:
            try:
                spec.validate(literal_values(call.args))
            except ConfigError as error:
                self.fail(call, f"{call.name}: {error.message}", error.hint)

    def fail(self, node: Node, message: str, hint: str = "") -> NoReturn:
        raise self._relations.error(node, message, hint)


def _placeless(node: Any) -> Any:
    """Return an expression without its places, so that equal ones are found to be equal."""
    return rebuild(msgspec.structs.replace(node, at=None), _placeless)


def reads_groups(node: Node, items: Sequence[Item], late: Container[int]) -> bool:
    """Tell whether an expression reads aggregates, also by aliases and calls that do."""
    if isinstance(node, Supplied):
        if node.place == "analytic":
            return node.index in late
        return node.place in ("aggregate", "window")
    if isinstance(node, Alias):
        return reads_groups(items[node.index].expr, items, late)
    return any(reads_groups(child, items, late) for child in children(node))
