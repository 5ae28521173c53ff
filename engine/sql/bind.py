"""Binding expressions: what names mean, which functions are called, whether that is legal here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from engine.errors import ConfigError
from engine.sql.ast import (
    Alias,
    Call,
    Case,
    Column,
    Expr,
    Field,
    Literal,
    MetaValue,
    Node,
    Over,
    Star,
    Supplied,
    Unary,
    When,
)
from engine.sql.functions import FunctionRegistry, FunctionSpec
from engine.sql.infer import literal_values
from engine.sql.kinds import kind_of
from engine.sql.plan import AggregateCall, AnalyticCall
from engine.sql.schema import Schema
from engine.sql.source import SourceText
from engine.sql.walk import children, rebuild
from engine.suggest import did_you_mean

META_FUNCTIONS = frozenset({"meta", "mqtt"})
_MQTT_KEYS = {"topic": "topic", "messageid": "messageId"}
_PLANNED = frozenset({"aggregate", "analytic"})
"""Kinds of functions that are declared, but that no query can be compiled with yet."""
_WINDOW_VALUES = {"window_start": 0, "window_end": 1, "window_trigger": 2}

AliasOf = Callable[[str], "int | None"]
"""Gives the SELECT item that a name means, None where it means a column."""


@dataclass(frozen=True, slots=True)
class Clause:
    """Part of a statement, and what may be called in it (language specification, 3.1)."""

    name: str
    takes_aggregates: bool = False
    takes_analytic: bool = True


SELECT = Clause("SELECT", takes_aggregates=True)
WHERE = Clause("WHERE")
GROUP_BY = Clause("GROUP BY")
HAVING = Clause("HAVING", takes_aggregates=True, takes_analytic=False)
ORDER_BY = Clause("ORDER BY", takes_aggregates=True)
WINDOW = Clause("a window")
ARGUMENT = Clause("an aggregate")


class Binder:
    """Binds the expressions of one query over one stream, and collects its special calls."""

    def __init__(
        self,
        source: SourceText,
        stream: str,
        names: Iterable[str],
        schema: Schema,
        functions: FunctionRegistry,
        *,
        is_windowed: bool,
    ) -> None:
        self._source = source
        self._stream = stream
        self._names = frozenset(names)
        self._schema = schema
        self._functions = functions
        self._is_windowed = is_windowed
        self.aggregates: list[AggregateCall] = []
        self.analytic: list[AnalyticCall] = []

    def bind(self, node: Any, alias: AliasOf, clause: Clause) -> Any:
        """Return an expression with its names resolved and its calls checked.

        Raises:
            SqlError: a name is unknown, or a call is wrong or has no place here.
        """
        if isinstance(node, Column):
            return self._bind_column(node, alias)
        if isinstance(node, Star):
            self.check_qualifier(node, node.stream)
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
        self.check_qualifier(column, column.stream)
        if not column.stream and (place := alias(column.name)) is not None:
            return Alias(index=place, at=column.at)
        if self._schema and column.name not in self._schema:
            hint = did_you_mean(column.name, self._schema.names)
            self.fail(column, f"unknown field {column.name}", hint)
        return Column(name=column.name, stream=self._stream, at=column.at)

    def check_qualifier(self, node: Node, stream: str) -> None:
        if stream and stream not in self._names:
            self.fail(node, f"stream {stream} not found in FROM")

    def _bind_meta(self, call: Call) -> Expr:
        if len(call.args) != 1:
            self.fail(call, f"{call.name} takes one key", "write meta(topic), or meta(*) for all")
        bound = self._meta_path(call, call.args[0])
        if call.name.lower() == "mqtt":
            key = bound.key.lower() if isinstance(bound, MetaValue) else ""
            if key not in _MQTT_KEYS:
                self.fail(call, "mqtt() knows topic and messageId", "use meta(key) for others")
            return MetaValue(key=_MQTT_KEYS[key], at=call.at)
        return bound

    def _meta_path(self, call: Call, node: Expr) -> Expr:
        if isinstance(node, Column):
            self.check_qualifier(node, node.stream)
            return MetaValue(key=node.name, at=node.at)
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

    def returns_rows(self, node: Node) -> bool:
        """Tell whether a node is a call that gives several rows."""
        spec = self._functions.get(node.name) if isinstance(node, Call) else None
        return spec is not None and spec.returns_rows

    def _bind_call(self, call: Call, alias: AliasOf, clause: Clause) -> Expr:
        name = call.name.lower()
        if name in META_FUNCTIONS:
            return self._bind_meta(call)
        if self._is_windowed and name in _WINDOW_VALUES and not call.args:
            return Supplied(place="window", index=_WINDOW_VALUES[name], at=call.at)
        spec = self._spec(call)
        if spec.kind in _PLANNED:
            self.fail(call, f"the {spec.kind} function {call.name} is not supported yet")
        within = ARGUMENT if spec.kind == "aggregate" else clause
        args = tuple(self.bind(arg, alias, within) for arg in call.args)
        bound = Call(name=spec.name, args=args, at=call.at)
        self._check_arity(bound, spec)
        self._check_literals(bound, spec)
        if spec.kind == "aggregate":
            return self._aggregate(call, bound, alias, clause)
        if call.filter is not None:
            self.fail(call, f"{call.name} is no aggregate and takes no FILTER")
        if spec.kind == "analytic":
            return self._analytic(call, bound, alias, clause)
        if call.over is not None:
            self.fail(call, f"{call.name} takes no OVER")
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
            hint = did_you_mean(call.name, self._functions.names())
            self.fail(call, f"unknown function {call.name}", hint or "see `headrace functions`")
        return spec

    def _aggregate(self, call: Call, bound: Call, alias: AliasOf, clause: Clause) -> Expr:
        if not clause.takes_aggregates:
            self.fail(call, f"{clause.name} can't hold the aggregate {call.name}")
        if call.over is not None:
            self.fail(call, f"{call.name} takes no OVER")
        kept = None if call.filter is None else self.bind(call.filter, alias, ARGUMENT)
        made = AggregateCall(bound.name, bound.args, kept)
        if made not in self.aggregates:
            self.aggregates.append(made)
        return Supplied(place="aggregate", index=self.aggregates.index(made), at=call.at)

    def _analytic(self, call: Call, bound: Call, alias: AliasOf, clause: Clause) -> Expr:
        if not clause.takes_analytic:
            self.fail(call, f"{clause.name} can't hold the analytic function {call.name}")
        over = call.over or Over()
        if over.order_by:
            self.fail(call, f"{call.name} takes no ORDER BY")
        partition = tuple(self.bind(part, alias, clause) for part in over.partition_by)
        when = None if over.when is None else self.bind(over.when, alias, clause)
        self.analytic.append(AnalyticCall(bound.name, bound.args, partition, when))
        return Supplied(place="analytic", index=len(self.analytic) - 1, at=call.at)

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
        at = node.at or next((child.at for child in children(node) if child.at), None)
        raise self._source.error(message, at, hint)
