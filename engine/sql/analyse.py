"""Binding and checking of a parsed query: names, functions, kinds; the result is a logical plan.

Name resolution follows the language specification, section 1.6, with the corrections of its section
8.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
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
from engine.sql.ast import Join as AstJoin
from engine.sql.ast import Window as WindowNode
from engine.sql.bind import (
    GROUP_BY,
    HAVING,
    META_FUNCTIONS,
    ON,
    ORDER_BY,
    SELECT,
    WHEN,
    WHERE,
    WINDOW,
    Binder,
    Clause,
    reads_groups,
)
from engine.sql.equations import equations
from engine.sql.functions import FunctionRegistry
from engine.sql.infer import assumed_kinds
from engine.sql.inputs import Relation, Relations
from engine.sql.kinds import Kind
from engine.sql.plan import (
    Aggregate,
    Analytic,
    AnalyticCall,
    AnalyticOfGroups,
    Filter,
    Having,
    Join,
    JoinSide,
    Operator,
    Order,
    Plan,
    Project,
    Rank,
    Scan,
    Window,
    expressions_of,
)
from engine.sql.schema import Schema
from engine.sql.shape import check_shape
from engine.sql.source import SourceText
from engine.sql.walk import children, rebuild, walk


def analyse(
    select: Select,
    source: SourceText,
    schemas: Mapping[str, Schema],
    functions: FunctionRegistry,
    tables: Mapping[str, str] = MappingProxyType({}),
    timestamps: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Return the plan of a query; ``source`` is its text.

    ``schemas`` are the streams and tables there are, ``tables`` the roles ("scan", "lookup") of
    those that are tables, ``timestamps`` for event time the columns that rows have their time in.

    Raises:
        SqlError: a name is unknown, a call doesn't fit its function, or a clause has no meaning
            where it stands.
    """
    return _Analyser(select, source, schemas, functions, tables, timestamps).plan()


class _Analyser:
    def __init__(
        self,
        select: Select,
        source: SourceText,
        schemas: Mapping[str, Schema],
        functions: FunctionRegistry,
        tables: Mapping[str, str],
        timestamps: Mapping[str, str],
    ) -> None:
        self._timestamps = timestamps
        self._select = select
        self._source = source
        self._functions = functions
        inputs = [select.source, *(join.input for join in select.joins)]
        self._relations = Relations(source, inputs, schemas, tables)
        self._items = self._expand_items()
        self._aliases = self._alias_places()
        self._binder = Binder(
            self._relations,
            self._items,
            functions,
            is_windowed=select.window is not None,
            is_grouped=bool(select.window is not None or select.joins),
        )

    def plan(self) -> Plan:
        select, binder = self._select, self._binder
        check_shape(select, self._relations)
        self._check_cycles()
        items = tuple(self._bind_item(index, item) for index, item in enumerate(self._items))
        self._check_duplicates(items)
        where = None
        if select.where is not None:
            where = binder.bind(select.where, self._any_alias, WHERE)
            self._refuse_late(where, items, WHERE)
        keys = tuple(binder.bind(key, self._any_alias, GROUP_BY) for key in select.group_by)
        for key in keys:
            self._refuse_late(key, items, GROUP_BY)
        window = None if select.window is None else self._bind_window(select.window, items)
        sides = [self._side(join, items) for join in select.joins]
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
        of_rows, of_groups = binder.placed_analytic(items)
        late = {call.number for call in of_groups}
        for early in (*([] if where is None else [where]), *keys):
            if reads_groups(early, items, late):
                self._fail(early, "this stands before the groups that it reads")
        node = self._rows(of_rows, where, window, sides)
        counts_groups = any(name.startswith("last_agg_") for name in binder.hits)
        if binder.aggregates or keys or counts_groups:
            node = Aggregate(node, keys, tuple(binder.aggregates))
        if of_groups:
            node = AnalyticOfGroups(node, tuple(of_groups))
        if having is not None:
            node = Having(node, having)
        if binder.rankings:
            node = Rank(node, tuple(binder.rankings))
        if order and (window is not None or sides):  # a single row has no order
            node = Order(node, order)
        root = Project(node, items, tuple(binder.hits), binder.changes, select.limit, unnested)
        plan = Plan(self._source.text, root)
        return self._with_scans(plan)

    def _rows(
        self,
        analytic: Sequence[AnalyticCall],
        where: Expr | None,
        window: WindowNode | None,
        sides: Sequence[JoinSide],
    ) -> Operator:
        """Return the operators up to the groups; the scans are filled in when all is known."""
        relation = self._relations.first
        node: Operator = Scan(relation.stream, relation.label)
        if analytic:
            node = Analytic(node, tuple(analytic))
        if window is not None:
            node = Window(node, window, None if sides else where)
        if sides:
            node = Join(node, tuple(sides))
        if where is not None and (window is None or sides):
            node = Filter(node, where)
        return node

    def _bind_window(self, window: WindowNode, items: tuple[Item, ...]) -> WindowNode:
        def bound(node: Node) -> Node:
            clause = WHEN if node is window.when else WINDOW
            made: Node = self._binder.bind(node, self._any_alias, clause)
            self._refuse_late(made, items, WINDOW)  # type: ignore[arg-type]
            return made

        return rebuild(window, bound)

    def _side(self, join: AstJoin, items: tuple[Item, ...]) -> JoinSide:
        """Return a join with its equations taken apart, so that rows can be found by key."""
        index = self._select.joins.index(join) + 1
        relation = list(self._relations)[index]
        before = {other.label for other in list(self._relations)[:index]}
        scan = Scan(relation.stream, relation.label, relation.role)
        if join.on is None:
            side = JoinSide(join.kind, scan)
        else:
            on = self._binder.bind(join.on, self._any_alias, ON)
            self._refuse_late(on, items, ON)
            found = equations(on, relation.label, before, [item.expr for item in items])
            side = JoinSide(join.kind, scan, found.left, found.right, found.rest)
        if relation.role == "lookup":
            self._check_lookup(join, side)
        return side

    def _check_lookup(self, join: AstJoin, side: JoinSide) -> None:
        name = join.input.alias or join.input.name
        columns = [key.name for key in side.right_keys if isinstance(key, Column)]
        if len(columns) < len(side.right_keys) or not columns:
            hint = f"write ON {name}.<column> = <what it must be>"
            self._fail(join, f"the lookup table {name} needs a column to look up by", hint)
        if len(set(columns)) < len(columns):
            self._fail(join, f"the lookup table {name} is looked up by a column twice")

    def _with_scans(self, plan: Plan) -> Plan:
        """Return the plan with scans that read what its operators need."""
        expressions = [expr for node in plan.operators() for expr in expressions_of(node)]
        evidence = [*expressions, *_special_calls(plan)]
        kinds = assumed_kinds(evidence, self._functions)
        scans = {
            relation.label: self._scan(relation, expressions, kinds) for relation in self._relations
        }

        def replaced(node: Operator) -> Operator:
            if isinstance(node, Scan):
                return scans[node.label]
            if isinstance(node, Join):
                sides = tuple(
                    msgspec.structs.replace(side, scan=scans[side.scan.label])
                    for side in node.sides
                )
                return Join(replaced(node.input), sides)
            return msgspec.structs.replace(node, input=replaced(node.input))

        root = replaced(plan.root)
        assert isinstance(root, Project)
        return Plan(plan.sql, root)

    def _refuse_late(
        self, node: Expr, items: tuple[Item, ...], clause: Clause, place: Expr | None = None
    ) -> None:
        """Refuse a clause that reads what is known only later through an alias, at ``place``."""
        for part in walk(node):
            at = place or part
            if isinstance(part, Supplied):
                if part.place == "aggregate":
                    hint = clause.aggregate_hint
                    self._fail(at, f"{clause.name} can't hold an aggregate", hint)
                if part.place in ("ranking", "window"):
                    self._fail(at, f"{clause.name} stands before what this alias stands for")
            if isinstance(part, Alias):
                self._refuse_late(items[part.index].expr, items, clause, at)  # type: ignore[arg-type]

    # -- the streams ---------------------------------------------------------------------------

    def _scan(
        self,
        relation: Relation,
        expressions: Iterable[Node],
        assumed: Mapping[tuple[str, str], Kind],
    ) -> Scan:
        columns: dict[str, None] = {}
        metadata: dict[str, None] = {}
        whole = False
        for node in (node for expression in expressions for node in walk(expression)):
            if not isinstance(node, (Column, MetaValue, Star)):
                continue
            if node.stream not in ("", relation.label):
                continue
            if isinstance(node, MetaValue):
                metadata[node.key] = None
            elif isinstance(node, Star):
                whole = True
            elif relation.may_have(node.name):
                columns[node.name] = None
        schema = relation.schema
        if schema and self._binder.counts_rows:
            columns.update(dict.fromkeys(schema.names))
        timestamp = "" if relation.role != "stream" else self._timestamps.get(relation.stream, "")
        if timestamp:
            columns[timestamp] = None

        def kind(name: str) -> Kind:
            if schema:
                return schema.kind(name)
            return assumed.get((relation.label, name), Kind.ANY)

        return Scan(
            relation.stream,
            relation.label,
            relation.role,
            tuple(ColumnUse(name, kind(name)) for name in columns),
            whole,
            bool(schema),
            tuple(metadata),
            timestamp,
        )

    # -- items and aliases ---------------------------------------------------------------------

    def _expand_items(self) -> tuple[Item, ...]:
        """Write ``*`` out where schemas say what it stands for."""
        if not self._relations.has_schema:
            return self._select.items
        items: list[Item] = []
        for item in self._select.items:
            if isinstance(item.expr, Star):
                items.extend(self._columns_of(item.expr, item))
            else:
                items.append(item)
        return tuple(items)

    def _columns_of(self, star: Star, item: Item) -> Iterable[Item]:
        replaced = {entry.name: entry.expr for entry in star.replaced}
        named = {item.name for item in self._select.items if not isinstance(item.expr, Star)}
        wanted = list(self._relations)
        if star.stream:
            wanted = [self._relations.qualified(star, star.stream)]
        for relation in wanted:
            for name in relation.schema.names:
                if name in replaced:
                    yield Item(expr=replaced[name], name=name, alias=name, at=item.at)
                elif name not in star.excluded and name not in named:
                    column = Column(name=name, stream=relation.label, at=star.at)
                    yield Item(expr=column, name=name, at=item.at)
                named.add(name)  # of several streams the first one counts

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
            return place if self._relations.has_schema or place < index or is_rename else None

        name = item.name
        if (
            isinstance(item.expr, Call)
            and not item.alias
            and self._binder.is_builtin(item.expr.name)
        ):
            name = item.expr.name.lower()
        if self._binder.returns_columns(item.expr):
            assert isinstance(item.expr, Call)
            bound: Expr = self._binder.changed_columns(item.expr, visible)
        else:
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
        raise self._relations.error(node, message, hint)


def _special_calls(plan: Plan) -> Iterator[Call]:
    """Yield the calls that are computed by operators of their own, for what they say of kinds."""
    for node in plan.operators():
        if isinstance(node, (Aggregate, Analytic, AnalyticOfGroups)):
            yield from (Call(name=call.name, args=call.args) for call in node.calls)


def _unqualified_names(node: Node) -> Iterator[str]:
    """Yield the names in an expression that may mean an alias; keys of metadata don't."""
    if isinstance(node, Column) and not node.stream:
        yield node.name
    if not (isinstance(node, Call) and node.name.lower() in META_FUNCTIONS):
        for child in children(node):
            yield from _unqualified_names(child)
