"""Binding and checking of a parsed query: names, functions, kinds; the result is a logical plan.

Name resolution follows the language specification, section 1.6, with the corrections of its section
8.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from engine.errors import ConfigError
from engine.layout import ColumnUse
from engine.sql.ast import (
    Alias,
    Call,
    Case,
    Column,
    Expr,
    Field,
    Item,
    Literal,
    MetaValue,
    Node,
    Select,
    Star,
    Unary,
    When,
)
from engine.sql.functions import FunctionRegistry, FunctionSpec
from engine.sql.infer import assumed_kinds, literal_values
from engine.sql.kinds import Kind, kind_of
from engine.sql.plan import Filter, Operator, Plan, Project, Scan
from engine.sql.schema import Schema
from engine.sql.source import SourceText, did_you_mean
from engine.sql.walk import children, rebuild, walk

_META_FUNCTIONS = frozenset({"meta", "mqtt"})
_MQTT_KEYS = {"topic": "topic", "messageid": "messageId"}


def analyse(
    select: Select,
    source: SourceText,
    schemas: Mapping[str, Schema],
    functions: FunctionRegistry,
) -> Plan:
    """Return the plan of a query; ``source`` is its text, ``schemas`` are the streams there are.

    Raises:
        SqlError: a name is unknown, a call doesn't fit its function, or the query uses something
            that isn't there.
    """
    return _Analyser(select, source, schemas, functions).plan()


class _Analyser:
    def __init__(
        self,
        select: Select,
        source: SourceText,
        schemas: Mapping[str, Schema],
        functions: FunctionRegistry,
    ) -> None:
        self._select = select
        self._source = source
        self._schemas = schemas
        self._functions = functions
        self._names = {select.source.name, select.source.alias} - {""}
        self._schema = self._stream_schema()
        self._items = self._expand_items()
        self._aliases = self._alias_places()

    def plan(self) -> Plan:
        self._refuse_unsupported()
        self._check_cycles()
        items = tuple(self._bind_item(index, item) for index, item in enumerate(self._items))
        self._check_duplicates(items)
        where = self._select.where
        condition = None if where is None else self._bind(where, self._any_alias)
        expressions: list[Node] = [item.expr for item in items]
        if condition is not None:
            expressions.append(condition)
        node: Operator = self._scan(expressions)
        if condition is not None:
            node = Filter(node, condition)
        for key in self._select.order_by:  # orders nothing without a window, but must make sense
            self._bind(key.expr, self._any_alias)
        unnested = self._unnested(items)
        return Plan(self._source.text, Project(node, items, self._select.limit, unnested))

    # -- the stream ----------------------------------------------------------------------------

    def _stream_schema(self) -> Schema:
        source = self._select.source
        if source.name not in self._schemas:
            known = ", ".join(sorted(self._schemas)) or "none"
            hint = did_you_mean(source.name, self._schemas) or f"streams defined: {known}"
            self._fail(source, f"unknown stream {source.name}", hint)
        return self._schemas[source.name]

    def _refuse_unsupported(self) -> None:
        select = self._select
        if select.joins:
            self._fail(select.joins[0], "joins are not supported yet")
        if select.window is not None:
            self._fail(select.window, "windows are not supported yet")
        for clause, nodes in (
            ("GROUP BY", select.group_by),
            ("HAVING", (select.having,) if select.having else ()),
        ):
            if nodes:
                self._fail(nodes[0], f"{clause} is not supported without a window")

    def _scan(self, expressions: Iterable[Node]) -> Scan:
        columns: dict[str, None] = {}
        metadata: dict[str, None] = {}
        whole = False
        for node in (node for expression in expressions for node in walk(expression)):
            if isinstance(node, Column):
                columns[node.name] = None
            elif isinstance(node, MetaValue):
                metadata[node.key] = None
            elif isinstance(node, Star):
                whole = True
        kinds = (
            {name: self._schema.kind(name) for name in columns}
            if self._schema
            else assumed_kinds(expressions, self._functions)
        )
        return Scan(
            self._select.source.name,
            tuple(ColumnUse(name, kinds.get(name, Kind.ANY)) for name in columns),
            whole,
            bool(self._schema),
            tuple(metadata),
        )

    # -- items and aliases ---------------------------------------------------------------------

    def _expand_items(self) -> tuple[Item, ...]:
        """Write ``*`` out where a schema says what it stands for."""
        if not self._schema:
            return self._select.items
        items: list[Item] = []
        for item in self._select.items:
            if isinstance(item.expr, Star):
                items.extend(self._columns_of(item.expr, item))
            else:
                items.append(item)
        return tuple(items)

    def _columns_of(self, star: Star, item: Item) -> Iterable[Item]:
        self._check_qualifier(star, star.stream)
        replaced = {entry.name: entry.expr for entry in star.replaced}
        named = {item.name for item in self._select.items if not isinstance(item.expr, Star)}
        for name in self._schema.names:
            if name in replaced:
                yield Item(expr=replaced[name], name=name, alias=name, at=item.at)
            elif name not in star.excluded and name not in named:
                yield Item(expr=Column(name=name, at=star.at), name=name, at=item.at)

    def _alias_places(self) -> dict[str, int]:
        return {item.alias.lower(): index for index, item in enumerate(self._items) if item.alias}

    def _any_alias(self, name: str) -> int | None:
        return self._aliases.get(name.lower())

    def _bind_item(self, index: int, item: Item) -> Item:
        def visible(name: str) -> int | None:
            place = self._aliases.get(name.lower())
            if place is None or place == index:
                return None
            is_rename = isinstance(self._items[place].expr, Column)
            return place if self._schema or place < index or is_rename else None

        name = item.name
        if isinstance(item.expr, Call) and not item.alias and self._builtin(item.expr.name):
            name = item.expr.name.lower()
        bound = self._bind(item.expr, visible)
        return Item(expr=bound, name=name, alias=item.alias, invisible=item.invisible, at=item.at)

    def _unnested(self, items: tuple[Item, ...]) -> int | None:
        """Return the index of the item that gives several rows, None without one."""
        found = [index for index, item in enumerate(items) if self._returns_rows(item.expr)]
        if len(found) > 1:
            self._fail(items[found[1]], "a query can unnest only one list")
        expressions: list[Node] = [item.expr for item in items]
        if self._select.where is not None:
            expressions.append(self._select.where)
        for index, expression in enumerate(expressions):
            for node in walk(expression):
                if self._returns_rows(node) and not (index in found and node is expression):
                    self._fail(node, "a function that gives rows can only be an item of SELECT")
        return found[0] if found else None

    def _returns_rows(self, node: Node) -> bool:
        spec = self._functions.get(node.name) if isinstance(node, Call) else None
        return spec is not None and spec.returns_rows

    def _check_cycles(self) -> None:
        """Refuse aliases that are defined by each other, whichever of them is visible where."""
        state: dict[int, bool] = {}

        def visit(index: int) -> None:
            if state.get(index) is False:
                item = self._items[index]
                self._fail(item, f"alias {item.alias} is defined by itself")
            if index in state:
                return
            state[index] = False
            for name in _unqualified_names(self._items[index].expr):
                place = self._any_alias(name)
                if place is not None and place != index:
                    visit(place)
            state[index] = True

        for index in range(len(self._items)):
            visit(index)

    def _check_duplicates(self, items: tuple[Item, ...]) -> None:
        seen: set[str] = set()
        for item in items:
            if item.invisible or isinstance(item.expr, Star):
                continue
            if item.name in seen:
                self._fail(
                    item,
                    f"two fields of the result are named {item.name}",
                    "name one of them with AS",
                )
            seen.add(item.name)

    # -- expressions ---------------------------------------------------------------------------

    def _bind(self, node: Any, alias: Callable[[str], int | None]) -> Any:
        if isinstance(node, Column):
            return self._bind_column(node, alias)
        if isinstance(node, Star):
            self._check_qualifier(node, node.stream)
        if isinstance(node, Unary) and node.op == "-" and isinstance(node.operand, Literal):
            return self._negative_literal(node, node.operand)
        if isinstance(node, Call):
            if node.name.lower() in _META_FUNCTIONS:
                return self._bind_meta(node)
            bound = rebuild(node, lambda child: self._bind(child, alias))
            return self._check_call(bound)
        return rebuild(node, lambda child: self._bind(child, alias))

    def _negative_literal(self, node: Unary, operand: Literal) -> Expr:
        if kind_of(operand.value).is_numeric:
            return Literal(value=-operand.value, at=node.at)  # type: ignore[operator]
        return node

    def _bind_column(self, column: Column, alias: Callable[[str], int | None]) -> Expr:
        self._check_qualifier(column, column.stream)
        if not column.stream and (place := alias(column.name)) is not None:
            return Alias(index=place, at=column.at)
        if self._schema and column.name not in self._schema:
            hint = did_you_mean(column.name, self._schema.names)
            self._fail(column, f"unknown field {column.name}", hint)
        return Column(name=column.name, stream=self._select.source.name, at=column.at)

    def _check_qualifier(self, node: Node, stream: str) -> None:
        if stream and stream not in self._names:
            self._fail(node, f"stream {stream} not found in FROM")

    def _bind_meta(self, call: Call) -> Expr:
        if len(call.args) != 1:
            self._fail(call, f"{call.name} takes one key", "write meta(topic), or meta(*) for all")
        bound = self._meta_path(call, call.args[0])
        if call.name.lower() == "mqtt":
            key = bound.key.lower() if isinstance(bound, MetaValue) else ""
            if key not in _MQTT_KEYS:
                self._fail(call, "mqtt() knows topic and messageId", "use meta(key) for others")
            return MetaValue(key=_MQTT_KEYS[key], at=call.at)
        return bound

    def _meta_path(self, call: Call, node: Expr) -> Expr:
        if isinstance(node, Column):
            self._check_qualifier(node, node.stream)
            return MetaValue(key=node.name, at=node.at)
        if isinstance(node, Star) and not node.excluded and not node.replaced:
            return MetaValue(key="", at=node.at)
        if isinstance(node, Field):
            return Field(base=self._meta_path(call, node.base), name=node.name, at=node.at)
        hint = "write meta(topic) or meta(a->b)"
        return self._fail(call, f"{call.name} takes the name of a key", hint)

    # -- functions -----------------------------------------------------------------------------

    def _builtin(self, name: str) -> bool:
        spec = self._functions.get(name)
        return spec is not None and spec.make is None

    def _check_call(self, call: Call) -> Expr:
        spec = self._functions.get(call.name)
        if spec is None:
            hint = did_you_mean(call.name, self._functions.names())
            self._fail(call, f"unknown function {call.name}", hint or "see `headrace functions`")
        if call.filter is not None or call.over is not None:
            self._fail(call, f"{call.name} takes neither FILTER nor OVER")
        self._check_arity(call, spec)
        self._check_literals(call, spec)
        if spec.name == "if":  # only the chosen branch may be computed
            condition, chosen, *rest = call.args
            return Case(
                branches=(When(condition=condition, result=chosen, at=call.at),),
                default=rest[0] if rest else None,
                at=call.at,
            )
        return Call(name=spec.name, args=call.args, at=call.at)

    def _check_arity(self, call: Call, spec: FunctionSpec) -> None:
        given, least, most = len(call.args), spec.least, spec.most
        if given >= least and (most is None or given <= most):
            return
        wanted = str(least) if most == least else f"{least} or more"
        if most is not None and most != least:
            wanted = f"{least} to {most}"
        self._fail(
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
                self._fail(
                    argument,
                    f"{call.name}: {parameter.name} must be {parameter.kind}, "
                    f"not {kind_of(argument.value)}",
                )
        if spec.validate is not None:
            try:
                spec.validate(literal_values(call.args))
            except ConfigError as error:
                self._fail(call, f"{call.name}: {error.message}", error.hint)

    def _fail(self, node: Node, message: str, hint: str = "") -> NoReturn:
        at = node.at or next((child.at for child in children(node) if child.at), None)
        raise self._source.error(message, at, hint)


def _unqualified_names(node: Node) -> Iterator[str]:
    """Yield the names in an expression that may mean an alias; keys of metadata don't."""
    if isinstance(node, Column) and not node.stream:
        yield node.name
    if not (isinstance(node, Call) and node.name.lower() in _META_FUNCTIONS):
        for child in children(node):
            yield from _unqualified_names(child)
