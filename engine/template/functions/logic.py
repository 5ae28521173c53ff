"""Comparison, defaults and what else Go's templates bring along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.template.formatting import formatted, printed, printed_line
from engine.template.values import (
    argument_text,
    go_kind,
    index,
    is_equal,
    is_less,
    is_same,
    length,
    part,
    shown,
)


def _not(value: Any) -> bool:
    return not value


def _eq(first: Any, second: Any, *others: Any) -> bool:
    """Whether the first is equal to one of the others."""
    return any(is_equal(first, other) for other in (second, *others))


def _ne(first: Any, second: Any) -> bool:
    return not is_equal(first, second)


def _le(first: Any, second: Any) -> bool:
    return is_less(first, second) or is_equal(first, second)


def _gt(first: Any, second: Any) -> bool:
    return is_less(second, first)


def _ge(first: Any, second: Any) -> bool:
    return is_less(second, first) or is_equal(first, second)


def _print(*values: Any) -> str:
    return printed(values)


def _println(*values: Any) -> str:
    return printed_line(values)


def _printf(layout: Any, *values: Any) -> str:
    return formatted(argument_text(layout), values)


def _default(fallback: Any, value: Any = None) -> Any:
    return value or fallback


def _coalesce(*values: Any) -> Any:
    """The first value that isn't empty."""
    return next((value for value in values if value), None)


def _ternary(yes: Any, no: Any, condition: Any) -> Any:
    return yes if condition else no


def _all(*values: Any) -> bool:
    return all(values)


def _any(*values: Any) -> bool:
    return any(values)


def _fail(message: Any) -> Any:
    raise ValueError(shown(argument_text(message)))


def _kind_is(kind: Any, value: Any) -> bool:
    return go_kind(value) == argument_text(kind)


LOGIC: dict[str, Callable[..., Any]] = {
    "not": _not,
    "eq": _eq,
    "ne": _ne,
    "lt": is_less,
    "le": _le,
    "gt": _gt,
    "ge": _ge,
    "deepEqual": is_same,
    "len": length,
    "index": index,
    "slice": part,
    "print": _print,
    "println": _println,
    "printf": _printf,
    "default": _default,
    "empty": _not,
    "coalesce": _coalesce,
    "ternary": _ternary,
    "all": _all,
    "any": _any,
    "fail": _fail,
    "kindOf": go_kind,
    "kindIs": _kind_is,
}
