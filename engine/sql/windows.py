"""The windows of GROUP BY: what each window function takes, checked and in milliseconds."""

from __future__ import annotations

from typing import NoReturn

from sqlglot import expressions as exp

from engine.sql import ast
from engine.sql.convert import Call, Converter, number, offset_of
from engine.sql.lexer import Refused
from engine.sql.names import UNIT_MILLIS

_USAGE = {
    "TUMBLING": "TUMBLINGWINDOW(unit, length)",
    "HOPPING": "HOPPINGWINDOW(unit, length, hop)",
    "SLIDING": "SLIDINGWINDOW(unit, length [, delay])",
    "SESSION": "SESSIONWINDOW(unit, longest duration, timeout)",
    "COUNT": "COUNTWINDOW(size [, step])",
    "STATE": "STATEWINDOW(begin [, emit])",
}
_ARGUMENTS = {
    "TUMBLING": (1, 1),
    "HOPPING": (2, 2),
    "SLIDING": (1, 2),
    "SESSION": (2, 2),
    "COUNT": (1, 2),
    "STATE": (1, 2),
}


def window(call: Call, convert: Converter) -> ast.Window:
    """Return the window that a call of GROUP BY stands for."""
    kind = call.window_kind
    arguments = list(call.node.expressions)
    unit = _unit(arguments, call) if kind not in ("COUNT", "STATE") else ""
    least, most = _ARGUMENTS[kind]
    if not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} or {most}"
        counted = f"{wanted} argument{'s' if most > 1 else ''}{' after the unit' if unit else ''}"
        _refuse(f"{call.name} takes {counted}, not {len(arguments)}", call.node, kind)
    _check_units(arguments, kind)
    conditions: tuple[ast.Expr, ...] = ()
    lengths: tuple[int, ...] = ()
    if kind == "STATE":
        conditions = convert.all(arguments)
    else:
        lengths = _lengths(arguments, kind, UNIT_MILLIS.get(unit, 1))
    over = call.over.args if call.over else {}
    if over.get("order"):
        raise Refused(
            "OVER of a window has no ORDER BY",
            offset_of(over["order"].expressions[0]),
            hint="order the result by ORDER BY at the end of the query",
        )
    return ast.Window(
        kind=kind,
        unit=unit,
        lengths=lengths,
        begin=conditions[0] if conditions else None,
        emit=conditions[1] if len(conditions) > 1 else None,
        filter=convert.optional(call.filter),
        when=convert.optional(over.get("when")),
        partition_by=convert.all(over.get("partition_by")),
        at=convert.at(call.node),
    )


def _unit(arguments: list[exp.Expr], call: Call) -> str:
    """Take the unit from the front of the arguments."""
    place = arguments[0] if arguments else call.node
    if not isinstance(place, exp.Var):
        units = ", ".join(unit.lower() for unit in UNIT_MILLIS)
        _refuse(f"the first argument of {call.name} is a unit: {units}", place, call.window_kind)
    del arguments[0]
    unit: str = place.name
    return unit


def _check_units(arguments: list[exp.Expr], kind: str) -> None:
    for argument in arguments:
        if isinstance(argument, exp.Var):
            _refuse(f"the unit {argument.name} can't stand here", argument, kind)


def _lengths(arguments: list[exp.Expr], kind: str, scale: int) -> tuple[int, ...]:
    delay_at = 1 if kind == "SLIDING" else -1
    lengths = [
        _length(argument, kind, scale, lowest=0 if i == delay_at else 1)
        for i, argument in enumerate(arguments)
    ]
    if kind == "SLIDING" and len(lengths) == 1:
        lengths.append(0)
    if kind == "COUNT":
        lengths += lengths if len(lengths) == 1 else ()
        size, step = lengths
        if step > size:
            message = f"the step {step} is larger than the window's size {size}"
            _refuse(message, arguments[1], kind)
    return tuple(lengths)


def _length(argument: exp.Expr, kind: str, scale: int, lowest: int) -> int:
    is_negative = isinstance(argument, exp.Neg)
    literal = argument.this if is_negative else argument
    if not isinstance(literal, exp.Literal) or literal.is_string or not literal.this.isdigit():
        _refuse("the length of a window is a whole number written out", argument, kind)
    value = number(literal, -1 if is_negative else 1)
    if value < lowest:
        least = "zero or more" if lowest == 0 else "at least 1"
        _refuse(f"this length of a window must be {least}", argument, kind)
    if value * scale >= 2**63:
        _refuse("this window is too long", argument, kind)
    return int(value) * scale


def _refuse(message: str, place: exp.Expr, kind: str) -> NoReturn:
    raise Refused(message, offset_of(place), hint=f"write {_USAGE[kind]}")
