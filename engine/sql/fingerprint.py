"""Telling whether the state of a query fits another one: what its operators keep, and of what."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from engine.sql.ast import Alias, Node
from engine.sql.finish import later_needs
from engine.sql.plan import Analytic, Having, Order, Plan, Project, Rank, Scan
from engine.sql.walk import rebuild

_VERSION = 1
"""Goes up when the operators keep something else than before."""


def fingerprint(plan: Plan) -> str:
    """Return a text that is the same for two plans if each can go on with the other's state.

    How results are filtered, sorted and named may change, and so may blanks and the like.
    """
    operators = []
    for operator in plan.operators():
        if isinstance(operator, (Having, Rank, Order, Project)):
            continue
        if isinstance(operator, Scan):
            operators.append(msgspec.json.encode([operator.stream, operator.label]))
            continue
        fields = {
            name: _placeless(plan, getattr(operator, name))
            for name in operator.__struct_fields__
            if name != "input"
        }
        operators.append(msgspec.json.encode([type(operator).__name__, fields]))
    needs = later_needs(plan, before=(Analytic, Scan))
    kept = msgspec.json.encode(
        [_VERSION, needs.metadata, [_placeless(plan, node) for node in needs.supplied]]
    )
    wholes = msgspec.json.encode([scan.whole for scan in plan.scans])
    calls = msgspec.json.encode([plan.root.hits, plan.root.changes])
    return hashlib.sha256(b"\n".join([kept, wholes, calls, *operators])).hexdigest()[:32]


def _placeless(plan: Plan, value: Any) -> Any:
    """Return a value without places in the text, and with what its aliases stand for."""

    def without(inner: Any) -> Any:
        return _placeless(plan, inner)

    if isinstance(value, Alias):
        return without(plan.root.items[value.index].expr)
    if isinstance(value, Node):
        return rebuild(msgspec.structs.replace(value, at=None), without)
    if isinstance(value, msgspec.Struct):
        return {name: without(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [without(item) for item in value]
    return value
