"""Plans and definitions as text, for people."""

from __future__ import annotations

from collections.abc import Iterator

from engine.catalog import Stream
from engine.layout import Layout
from engine.sql.ast import Alias, Call, Column, Expr, MetaValue, Star, Type
from engine.sql.compile import QueryOptions
from engine.sql.functions import FunctionRegistry
from engine.sql.plan import Filter, Operator, Plan, Project, Scan
from engine.sql.printer import to_sql
from engine.sql.query import Query
from engine.sql.walk import rebuild


def explain_plan(plan: Plan) -> str:
    """Return the operators of a plan, the last one first, each under what reads it."""
    return "\n".join(_lines(plan, plan.root, 0))


def explain_code(plan: Plan, functions: FunctionRegistry) -> str:
    """Return the Python text that the query is compiled to."""
    layout = Layout()
    layout.require(plan.scan.columns, whole=plan.scan.whole)
    query = Query(plan, layout, functions, QueryOptions(), lambda site: (site.spec.call, None))
    return "\n\n".join(program.text for program in query.primary.programs)


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
    if isinstance(node, Project):
        shown = [item for item in node.items if not item.invisible]
        items = ", ".join(f"{item.name} = {_text(plan, item.expr)}" for item in shown)
        limit = "" if node.limit is None else f" limit {node.limit}"
        return f"Project {items}{limit}"
    if isinstance(node, Filter):
        return f"Filter {_text(plan, node.condition)}"
    columns = "all columns" if node.whole else ", ".join(f"{c.name} {c.kind}" for c in node.columns)
    metadata = ", ".join(key or "*" for key in node.metadata)
    return f"Scan {node.stream}: {columns or 'no columns'}" + (
        f"; metadata {metadata}" if metadata else ""
    )


def _text(plan: Plan, node: Expr) -> str:
    """Return an expression as SQL, with aliases and metadata in the form they were written."""
    return to_sql(_written(plan, node))


def _written(plan: Plan, node: Expr) -> Expr:
    if isinstance(node, Alias):
        return Column(name=plan.root.items[node.index].name)
    if isinstance(node, MetaValue):
        return Call(name="meta", args=(Column(name=node.key) if node.key else Star(),))
    return rebuild(node, lambda child: _written(plan, child))


def _type(declared: Type) -> str:
    return to_sql(declared).lower()
