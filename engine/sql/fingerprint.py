"""Telling whether the state of a query fits another one: what its operators keep, and of what."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from engine.sql.ast import Alias, Node, Supplied
from engine.sql.compile import calls_of
from engine.sql.finish import later_needs
from engine.sql.functions import FunctionRegistry
from engine.sql.plan import Analytic, Having, Order, Plan, Project, Rank, Scan
from engine.sql.walk import rebuild, walk

_VERSION = 1
"""Goes up when the operators keep something else than before."""


def fingerprint(plan: Plan, functions: FunctionRegistry) -> str:
    """Return a text that is the same for two plans if each can go on with the other's state.

    How results are filtered, sorted and named may change, and so may blanks and the like.
    ``functions`` tell which calls keep a state of their own.
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
    parts = [kept, wholes, calls, *operators]
    if owners := _calls_with_state(plan, functions):
        parts.append(msgspec.json.encode(owners))
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:32]


def _calls_with_state(plan: Plan, functions: FunctionRegistry) -> list[Any]:
    """Return the calls that keep something in the checkpoints of the rule, such as of plugins.

    Wherever they stand, their state is found by their number alone. Nothing is returned for a query
    without such a call, whose fingerprint is that of engines that didn't look for them.
    """
    found: list[Any] = []
    for number, call in enumerate(calls_of(plan)):
        spec = functions.get(call.name)
        if spec is None or spec.stateless or not (spec.wants_context or spec.make is not None):
            continue
        found.append([number, _placeless(plan, call), _ranks_below(plan, call)])
    return found


def _ranks_below(plan: Plan, node: Node) -> list[Any]:
    """Return the calls of ``row_number`` and the like that an expression reads."""
    if isinstance(node, Alias):
        return _ranks_below(plan, plan.root.items[node.index].expr)
    rank = plan.find(Rank)
    found: list[Any] = []
    for inner in walk(node):
        if isinstance(inner, Alias):
            found += _ranks_below(plan, inner)
        elif isinstance(inner, Supplied) and inner.place == "ranking" and rank is not None:
            found.append(_placeless(plan, rank.calls[inner.index]))
    return found


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
