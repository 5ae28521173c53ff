"""Conversion, null handling and facts about the rule (function catalogue, sections 7 and 14)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.api import Context
from engine.errors import RowError
from engine.sql.functions import Nulls, scalar
from engine.sql.kinds import kind_of
from engine.sql.text import to_text


@scalar("ifnull", example="coalesce(a, 0)", nulls=Nulls.PASS)
def coalesce(*values: Any) -> Any:
    """Return the first argument that isn't null."""
    return next((value for value in values if value is not None), None)


@scalar(example="isnull(a) = true", nulls=Nulls.PASS, inline="({0} is None)")
def isnull(value: Any) -> bool:
    """Tell whether a value is null or missing."""
    return value is None


@scalar(example="cast('12', 'bigint') = 12")
def cast(value: Any, type_: str) -> Any:
    """Return a value converted to bigint, float, string or boolean."""
    convert = _CASTS.get(type_.lower())
    if convert is None:
        raise RowError(f"cast: unknown type {type_!r}; it can be {', '.join(_CASTS)}")
    try:
        return convert(value)
    except (OverflowError, TypeError, ValueError):
        raise RowError(f"cast: {kind_of(value)} {to_text(value)!r} is not a {type_}") from None


def _to_int(value: Any) -> int:
    return int(value.strip(), 10) if isinstance(value, str) else int(value)


def _to_bool(value: Any) -> bool:
    if isinstance(value, str):
        if value.lower() in ("true", "1", "t"):
            return True
        if value.lower() in ("false", "0", "f"):
            return False
        raise ValueError(value)
    if isinstance(value, (bool, int, float)):
        return bool(value)
    raise TypeError(value)


_CASTS: dict[str, Callable[[Any], Any]] = {
    "bigint": _to_int,
    "float": float,
    "string": to_text,
    "boolean": _to_bool,
}


@scalar(example="tstamp()")
def tstamp(ctx: Context) -> int:
    """Return the current time in epoch milliseconds."""
    return ctx.clock.now()


@scalar(example="rule_id()")
def rule_id(ctx: Context) -> str:
    """Return the id of the rule."""
    return ctx.rule_id
