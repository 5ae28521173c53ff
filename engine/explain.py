"""Plans and definitions as text, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.catalog import Catalog, Stream
from engine.layout import Layout
from engine.sql.assemble import PipelineOptions, assemble
from engine.sql.ast import Alias, Call, Column, Expr, MetaValue, Star, Supplied, Type
from engine.sql.compile import QueryOptions
from engine.sql.emissions import WindowOptions
from engine.sql.functions import FunctionRegistry
from engine.sql.plan import (
    Aggregate,
    Analytic,
    AnalyticOfGroups,
    Filter,
    Having,
    Join,
    Operator,
    Order,
    Plan,
    Project,
    Rank,
    Scan,
    Window,
)
from engine.sql.printer import to_sql
from engine.sql.walk import rebuild


def plan_of(sql: str, catalog: Catalog, functions: FunctionRegistry) -> Plan:
    """Return the plan of a query.

    Raises:
        SqlError: the query is wrong.
    """
    # sqlglot takes a while to import
    from engine.sql.analyse import analyse
    from engine.sql.parse import parse_select
    from engine.sql.source import SourceText

    tables = catalog.tables()
    return analyse(parse_select(sql), SourceText(sql), catalog.schemas(), functions, tables)


def explain_plan(plan: Plan) -> str:
    """Return the operators of a plan, the last one first, each under what reads it."""
    return "\n".join(_lines(plan, plan.root, 0))


def explain_code(plan: Plan, functions: FunctionRegistry) -> str:
    """Return the Python text that the query is compiled to."""
    layouts = {scan.label: Layout() for scan in plan.scans}
    for scan in plan.scans:
        layouts[scan.label].require(scan.columns, whole=scan.whole)
    options = PipelineOptions(QueryOptions(), WindowOptions(0))
    pipeline = assemble(plan, layouts, functions, options, lambda site: (site.spec.call, None))
    return "\n\n".join(pipeline.texts())


def describe_stream(stream: Stream) -> str:
    """Return the fields of a stream with their types and defaults, then its options."""
    lines = [f"{stream.kind} {stream.name}", "", "Fields"]
    fields = stream.schema.fields
    for field in fields:
        default = f" default {field.default!r}" if field.has_default else ""
        lines.append(f"  {field.name}  {_type(field.type)}{default}")
    if not fields:
        lines.append("  (schemaless)")
    lines += ["", "Options"]
    lines.append(f"  type: {stream.source_type}")
    for key in sorted(stream.given - {"type"}):
        attribute = "".join(f"_{c.lower()}" if c.isupper() else c for c in key)
        lines.append(f"  {key}: {getattr(stream.options, attribute)}")
    return "\n".join(lines)


def _lines(plan: Plan, node: Operator, depth: int) -> Iterator[str]:
    yield f"{'  ' * depth}{_operator(plan, node)}"
    if not isinstance(node, Scan):
        yield from _lines(plan, node.input, depth + 1)


def _operator(plan: Plan, node: Operator) -> str:
    def text(expr: Expr) -> str:
        return to_sql(_written(plan, expr))

    def joined(exprs: Iterable[Expr]) -> str:
        return ", ".join(map(text, exprs))

    match node:
        case Project(items=items, limit=limit):
            shown = ", ".join(f"{i.name} = {text(i.expr)}" for i in items if not i.invisible)
            return f"Project {shown}" + ("" if limit is None else f" limit {limit}")
        case Join(sides=sides):
            return "Join " + ", ".join(
                f"{side.kind.lower()} {side.scan.label} by "
                + (joined(side.right_keys) or "nothing")
                + ("" if side.on is None else f" on {text(side.on)}")
                for side in sides
            )
        case Rank(calls=ranks):
            return f"Rank {', '.join(rank.name for rank in ranks)}"
        case Filter(condition=condition) | Having(condition=condition):
            return f"{type(node).__name__} {text(condition)}"
        case Order(keys=sort):
            return f"Order by {', '.join(text(k.expr) + ' desc' * k.descending for k in sort)}"
        case Aggregate(keys=keys, calls=calls):
            made = ", ".join(f"{call.name}({joined(call.args)})" for call in calls)
            return f"Aggregate {made}" + (f" by {joined(keys)}" if keys else "")
        case Window(window=window, where=where):
            kept = "" if where is None else f" where {text(where)}"
            return f"Window {window.kind} {', '.join(map(str, window.lengths))}{kept}"
        case Analytic(calls=sites) | AnalyticOfGroups(calls=sites):
            when = "of groups " if isinstance(node, AnalyticOfGroups) else ""
            return f"Analytic {when}" + ", ".join(
                f"{call.name}({joined(call.args)})" for call in sites
            )
        case Scan(whole=whole, columns=columns, metadata=keys):
            named = ", ".join(f"{c.name} {c.kind}" for c in columns)
            read = "all columns" if whole else named or "no columns"
            meta = ", ".join(key or "*" for key in keys)
            return f"Scan {node.stream}: {read}" + (f"; metadata {meta}" if meta else "")


def _written(plan: Plan, node: Expr) -> Expr:
    if isinstance(node, Alias):
        return Column(name=plan.root.items[node.index].name)
    if isinstance(node, Supplied):
        return Column(name=f"{node.place} {node.index}")
    if isinstance(node, MetaValue):
        return Call(name="meta", args=(Column(name=node.key) if node.key else Star(),))
    return rebuild(node, lambda child: _written(plan, child))


def _type(declared: Type) -> str:
    return to_sql(declared).lower()
