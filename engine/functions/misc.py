"""Null handling and facts about the rule (function catalogue, sections 7 and 14)."""

from __future__ import annotations

from typing import Any

from engine.api import Context
from engine.sql.functions import Nulls, scalar


@scalar("ifnull", example="coalesce(a, 0)", nulls=Nulls.PASS)
def coalesce(*values: Any) -> Any:
    """Return the first argument that isn't null."""
    return next((value for value in values if value is not None), None)


@scalar(example="isnull(a) = true", nulls=Nulls.PASS, inline="({0} is None)")
def isnull(value: Any) -> bool:
    """Tell whether a value is null or missing."""
    return value is None


@scalar(example="tstamp()")
def tstamp(ctx: Context) -> int:
    """Return the current time in epoch milliseconds."""
    return ctx.clock.now()


@scalar(example="rule_id()")
def rule_id(ctx: Context) -> str:
    """Return the id of the rule."""
    return ctx.rule_id
