"""Runs single calls of SQL functions through the whole pipeline."""

from __future__ import annotations

from typing import Any

from engine.errors import EngineError
from engine.sql.functions import builtins
from engine.testing import Feed, Message, run_case

_STREAM = 'CREATE STREAM demo () WITH (FORMAT="json")'


class Failed(Exception):
    """The row has an error."""


async def value_of(call: str, **row: Any) -> Any:
    """Return the value of an expression over a row, None where it is null.

    Raises:
        EngineError: the query is refused.
        Failed: the row has an error.
    """
    outcome = await run_case(
        f"SELECT {call} AS r, 1 AS one FROM demo",
        [Feed(_STREAM, [Message(0, rows=[row])])],
        options={"sendError": True},
    )
    if outcome.refused is not None:
        raise outcome.refused
    (result,) = outcome.rows
    if "one" not in result:
        raise Failed(result["error"])
    return result.get("r")


async def outcome_of(call: str, **row: Any) -> Any:
    """Return the value of an expression, or ``Failed`` or ``EngineError`` where it has none."""
    try:
        return await value_of(call, **row)
    except Failed:
        return Failed
    except EngineError:
        return EngineError


def examples(category: str) -> list[str]:
    """Return the examples of the functions of a category."""
    return [spec.example for spec in builtins() if spec.category == category]


async def example_holds(example: str) -> bool:
    """Tell whether an example runs and, where it says a value, gives it."""
    call, equals, value = example.rpartition(" = ")
    if not equals:
        return await value_of(value) is not None
    return bool(await value_of(call) == await value_of(value))
