"""What tests of traces share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine import Engine

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


def rule(sql: str = "SELECT * FROM demo", *actions: dict[str, Any], **options: Any) -> Any:
    """A rule ``r`` that is traced, unless its options say otherwise."""
    options = {"trace": {}, **options}
    return {
        "id": "r",
        "sql": sql,
        "actions": list(actions or [{"collect": {}}]),
        "options": options,
    }


def trees(engine: Engine, rule_id: str = "r") -> list[dict[str, Any]]:
    """Return all traces of a rule, the oldest first."""
    found = [engine.tracing.tree(each) for each in engine.tracing.traces_of(rule_id, 10_000)]
    return [tree for tree in reversed(found) if tree is not None]


def spans(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the spans of a tree, each before its children."""
    yield tree
    for child in tree["ChildSpan"]:
        yield from spans(child)


def names(tree: dict[str, Any]) -> list[str]:
    return [span["Name"] for span in spans(tree)]
