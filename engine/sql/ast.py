"""The syntax tree of the dialect: frozen, serialisable, with the position of every node.

The parser builds it, the analyser binds names in it, everything behind reads it; nothing in here
knows of sqlglot, of code generation or of asyncio.
"""

from __future__ import annotations

import msgspec

from engine.errors import Position


class Node(msgspec.Struct, frozen=True, kw_only=True, tag_field="node", tag=True):
    """What all parts of a statement share: ``at``, where it stands in the statement's text."""

    at: Position | None = None


class Literal(Node, frozen=True):
    """A constant; ``NULL`` is ``Literal(value=None)``."""

    value: int | float | str | bool | None


class Column(Node, frozen=True):
    """A column or alias by name; ``stream`` is the qualifier as written ("" without one)."""

    name: str
    stream: str = ""


class Field(Node, frozen=True):
    """``base -> name`` (and ``base.name`` where ``base`` is not a stream)."""

    base: Expr
    name: str


class Index(Node, frozen=True):
    """``base[index]``."""

    base: Expr
    index: Expr


class Slice(Node, frozen=True):
    """``base[start:stop]``; an absent bound is None."""

    base: Expr
    start: Expr | None = None
    stop: Expr | None = None


class Unary(Node, frozen=True):
    """``-operand`` (op "-") or ``NOT operand`` (op "NOT")."""

    op: str
    operand: Expr


class Binary(Node, frozen=True):
    """``left op right``; op is one of ``* / % & + - | ^ = != < <= > >= AND OR``."""

    op: str
    left: Expr
    right: Expr


class Between(Node, frozen=True):
    """``value [NOT] BETWEEN low AND high``, both bounds inclusive."""

    value: Expr
    low: Expr
    high: Expr
    negated: bool = False


class In(Node, frozen=True):
    """``value [NOT] IN (items…)`` or, with ``source``, ``value [NOT] IN list_expression``."""

    value: Expr
    items: tuple[Expr, ...] = ()
    source: Expr | None = None
    negated: bool = False


class Like(Node, frozen=True):
    """``value [NOT] LIKE pattern``."""

    value: Expr
    pattern: Expr
    negated: bool = False


class IsNull(Node, frozen=True):
    """``value IS [NOT] NULL``."""

    value: Expr
    negated: bool = False


class When(Node, frozen=True):
    """One ``WHEN condition THEN result`` of a CASE."""

    condition: Expr
    result: Expr


class Case(Node, frozen=True):
    """``CASE [operand] WHEN … THEN … [ELSE default] END``."""

    branches: tuple[When, ...]
    operand: Expr | None = None
    default: Expr | None = None


class Replacement(Node, frozen=True):
    """One ``expr AS name`` of ``* REPLACE(…)``."""

    expr: Expr
    name: str


class Star(Node, frozen=True):
    """``*`` or ``stream.*`` with its EXCEPT names and REPLACE expressions."""

    stream: str = ""
    excluded: tuple[str, ...] = ()
    replaced: tuple[Replacement, ...] = ()


class SortKey(Node, frozen=True):
    """One key of ORDER BY."""

    expr: Expr
    descending: bool = False


class Over(Node, frozen=True):
    """``OVER ([PARTITION BY …] [ORDER BY …] [WHEN …])`` of a function."""

    partition_by: tuple[Expr, ...] = ()
    order_by: tuple[SortKey, ...] = ()
    when: Expr | None = None


class Call(Node, frozen=True):
    """A function call; ``name`` stays as written, the analyser resolves built-ins in any case.

    The same holds for the output name of an item that is a call without an alias.
    The metadata functions keep the path they were given: ``meta(a->b)`` has the argument
    ``Field(Column("a"), "b")``, ``meta(*)`` a ``Star``.
    """

    name: str
    args: tuple[Expr, ...] = ()
    filter: Expr | None = None
    over: Over | None = None


class Alias(Node, frozen=True):
    """The value of SELECT item ``index``; made by the analyser where a name means an alias."""

    index: int


class MetaValue(Node, frozen=True):
    """One value of the row's metadata, all of it with ``key`` ""; made by the analyser.

    ``stream`` is the label of its stream where a query has several ("": the first that has it).
    """

    key: str
    stream: str = ""


class Supplied(Node, frozen=True):
    """A value that comes with the row from an earlier operator; made by the analyser.

    ``place`` is "analytic", "aggregate" or "ranking" (``index`` counts the plan's calls of it),
    "window" (0: its start, 1: its end, 2: what triggered it) or "time" (0: the time of the row).
    """

    place: str
    index: int


class Hit(Node, frozen=True):
    """``last_hit_count()`` and the like, number ``index`` of the query; made by the analyser.

    ``when`` says what is a hit: "evaluated" (SELECT), "met" (each time that its condition is true)
    or "passed" (each window of which a group meets it).
    """

    index: int
    when: str


class ChangedColumn(Node, frozen=True):
    """One argument of ``changed_cols`` behind the first two; ``*`` has no name of its own."""

    name: str
    value: Expr


class ChangedColumns(Node, frozen=True):
    """``changed_cols(prefix, ignore_null, …)``, number ``index`` of the query.

    Made by the analyser; only an item of SELECT.
    """

    index: int
    prefix: Expr
    ignore_null: Expr
    columns: tuple[ChangedColumn, ...]


Expr = (
    Literal
    | Alias
    | MetaValue
    | Supplied
    | Column
    | Field
    | Index
    | Slice
    | Unary
    | Binary
    | Between
    | In
    | Like
    | IsNull
    | Case
    | Star
    | Call
    | Hit
    | ChangedColumns
)


class Item(Node, frozen=True):
    """One item of SELECT; ``name`` is its name in the output (alias, or derived by the dialect)."""

    expr: Expr
    name: str
    alias: str = ""
    invisible: bool = False


class Input(Node, frozen=True):
    """A stream or table in FROM or JOIN; ``alias`` is its name in the query."""

    name: str
    alias: str = ""


class Join(Node, frozen=True):
    """One join; ``kind`` is INNER, LEFT, RIGHT, FULL or CROSS."""

    kind: str
    input: Input
    on: Expr | None = None


class Window(Node, frozen=True):
    """A window of GROUP BY.

    ``kind`` is TUMBLING, HOPPING, SLIDING, SESSION, COUNT or STATE. Lengths are milliseconds, for
    COUNT numbers of rows: TUMBLING (length), HOPPING (length, hop), SLIDING (length, delay or 0),
    SESSION (longest duration, timeout), COUNT (size, step). STATE has ``begin`` and, if given,
    ``emit`` instead. ``unit`` is the unit as written (DD HH MI SS MS), which alignment depends on.
    """

    kind: str
    unit: str = ""
    lengths: tuple[int, ...] = ()
    begin: Expr | None = None
    emit: Expr | None = None
    filter: Expr | None = None
    when: Expr | None = None
    partition_by: tuple[Expr, ...] = ()


class Select(Node, frozen=True):
    """One query. ``limit`` is None without LIMIT."""

    items: tuple[Item, ...]
    source: Input
    joins: tuple[Join, ...] = ()
    where: Expr | None = None
    window: Window | None = None
    group_by: tuple[Expr, ...] = ()
    having: Expr | None = None
    order_by: tuple[SortKey, ...] = ()
    limit: int | None = None


class ScalarType(Node, frozen=True):
    """BIGINT, FLOAT, STRING, DATETIME, BOOLEAN or BYTEA."""

    name: str


class ArrayType(Node, frozen=True):
    """ARRAY(element)."""

    element: Type


class StructType(Node, frozen=True):
    """STRUCT(field type, …)."""

    fields: tuple[FieldDef, ...]


Type = ScalarType | ArrayType | StructType


class FieldDef(Node, frozen=True):
    """A declared column; ``has_default`` tells whether ``default`` was given."""

    name: str
    type: Type
    default: int | float | str | bool | None = None
    has_default: bool = False


class CreateStream(Node, frozen=True):
    """CREATE STREAM or TABLE (``kind``); no fields means schemaless.

    ``options`` maps the upper-case option name to its text ("true"/"false" for booleans).
    """

    kind: str
    name: str
    fields: tuple[FieldDef, ...] = ()
    options: dict[str, str] = {}


class Manage(Node, frozen=True):
    """SHOW STREAMS|TABLES, or DESCRIBE, EXPLAIN, DROP STREAM|TABLE name.

    ``verb`` is SHOW, DESCRIBE, EXPLAIN or DROP; ``kind`` is STREAM or TABLE.
    """

    verb: str
    kind: str
    name: str = ""


Statement = Select | CreateStream | Manage
