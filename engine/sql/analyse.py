"""Binding and checking of a parsed query: names, functions, kinds; the result is a logical plan.

Name resolution follows the language specification, section 1.6, with the corrections of its section
8.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

import msgspec

from engine.layout import ColumnUse
from engine.sql.ast import (
    Alias,
    Call,
    Column,
    Expr,
    Item,
    MetaValue,
    Node,
    Select,
    SortKey,
    Star,
    Supplied,
)
from engine.sql.ast import Window as WindowNode
from engine.sql.bind import (
    GROUP_BY,
    HAVING,
    META_FUNCTIONS,
    ORDER_BY,
    SELECT,
    WHERE,
    WINDOW,
    Binder,
)
from engine.sql.functions import FunctionRegistry
from engine.sql.infer import assumed_kinds
from engine.sql.kinds import Kind
from engine.sql.plan import (
    Aggregate,
    Analytic,
    Filter,
    Having,
    Operator,
    Order,
    Plan,
    Project,
    Scan,
    Window,
    expressions_of,
)
from engine.sql.schema import Schema
from engine.sql.source import SourceText
from engine.sql.walk import children, rebuild, walk
from engine.suggest import did_you_mean


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
        self._schema = self._stream_schema()
        self._binder = Binder(
            source,
            select.source.name,
            {select.source.name, select.source.alias} - {""},
            self._schema,
            functions,
            is_windowed=select.window is not None,
        )
        self._items = self._expand_items()
        self._aliases = self._alias_places()

    def plan(self) -> Plan:
        select, binder = self._select, self._binder
        self._refuse_unsupported()
        self._check_cycles()
        items = tuple(self._bind_item(index, item) for index, item in enumerate(self._items))
        self._check_duplicates(items)
        where = None
        if select.where is not None:
            where = binder.bind(select.where, self._any_alias, WHERE)
            self._refuse_aggregates(where, items, "WHERE")
        keys = tuple(binder.bind(key, self._any_alias, GROUP_BY) for key in select.group_by)
        for key in keys:
            self._refuse_aggregates(key, items, "GROUP BY")
        window = None if select.window is None else self._bind_window(select.window)
        having = None
        if select.having is not None:
            having = binder.bind(select.having, self._any_alias, HAVING)
        order = tuple(
            SortKey(
                expr=binder.bind(key.expr, self._any_alias, ORDER_BY),
                descending=key.descending,
                at=key.at,
            )
            for key in select.order_by
        )
        unnested = self._unnested(items, where)
        node = self._rows(where, window)
        if binder.aggregates or keys:
            node = Aggregate(node, keys, tuple(binder.aggregates))
        if having is not None:
            node = Having(node, having)
        if order and window is not None:  # without one there is nothing to put in order
            node = Order(node, order)
        plan = Plan(self._source.text, Project(node, items, select.limit, unnested))
        return self._with_scan(plan)

    def _rows(self, where: Expr | None, window: WindowNode | None) -> Operator:
        """Return the operators up to the window; the scan is filled in when all is known."""
        node: Operator = Scan(self._select.source.name)
        if self._binder.analytic:
            node = Analytic(node, tuple(self._binder.analytic))
        if window is not None:
            return Window(node, window, where)
        return node if where is None else Filter(node, where)

    def _bind_window(self, window: WindowNode) -> WindowNode:
        def bound(node: Node) -> Node:
            made: Node = self._binder.bind(node, self._any_alias, WINDOW)
            return made

        return rebuild(window, bound)

    def _with_scan(self, plan: Plan) -> Plan:
        """Return the plan with a scan that reads what its operators need."""
        scan = self._scan([expr for node in plan.operators() for expr in expressions_of(node)])

        def replaced(node: Operator) -> Operator:
            if isinstance(node, Scan):
                return scan
            return msgspec.structs.replace(node, input=replaced(node.input))

        root = replaced(plan.root)
        assert isinstance(root, Project)
        return Plan(plan.sql, root)

    def _refuse_aggregates(self, node: Expr, items: tuple[Item, ...], clause: str) -> None:
        """Refuse a clause that reads an aggregate through an alias."""
        for part in walk(node):
            if isinstance(part, Supplied) and part.place == "aggregate":
                self._fail(node, f"{clause} can't hold an aggregate", "use HAVING")
            if isinstance(part, Alias):
                self._refuse_aggregates(items[part.index].expr, items, clause)

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
        if select.group_by and select.window is None:
            hint = "add one, such as TUMBLINGWINDOW(ss, 10)"
            self._fail(select.group_by[0], "GROUP BY needs a window", hint)

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
        self._binder.check_qualifier(star, star.stream)
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
        if (
            isinstance(item.expr, Call)
            and not item.alias
            and self._binder.is_builtin(item.expr.name)
        ):
            name = item.expr.name.lower()
        bound = self._binder.bind(item.expr, visible, SELECT)
        return Item(expr=bound, name=name, alias=item.alias, invisible=item.invisible, at=item.at)

    def _unnested(self, items: tuple[Item, ...], where: Expr | None) -> int | None:
        """Return the index of the item that gives several rows, None without one."""
        gives_rows = self._binder.returns_rows
        found = [index for index, item in enumerate(items) if gives_rows(item.expr)]
        if len(found) > 1:
            self._fail(items[found[1]], "a query can unnest only one list")
        expressions: list[Node] = [item.expr for item in items]
        if where is not None:
            expressions.append(where)
        for index, expression in enumerate(expressions):
            for node in walk(expression):
                if gives_rows(node) and not (index in found and node is expression):
                    self._fail(node, "a function that gives rows can only be an item of SELECT")
        return found[0] if found else None

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

    def _fail(self, node: Node, message: str, hint: str = "") -> NoReturn:
        at = node.at or next((child.at for child in children(node) if child.at), None)
        raise self._source.error(message, at, hint)


def _unqualified_names(node: Node) -> Iterator[str]:
    """Yield the names in an expression that may mean an alias; keys of metadata don't."""
    if isinstance(node, Column) and not node.stream:
        yield node.name
    if not (isinstance(node, Call) and node.name.lower() in META_FUNCTIONS):
        for child in children(node):
            yield from _unqualified_names(child)
