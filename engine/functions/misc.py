"""Null handling, facts about the rule, and what is shared by all (function catalogue, 15 and 16).

What ``meta`` and ``mqtt`` read, a message's metadata, is bound by the analyser.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NoReturn

from engine.api import Context
from engine.errors import ConfigError, RowError
from engine.functions.keyed_state import KEYED_STATE
from engine.functions.snowflake import SNOWFLAKES
from engine.sql.functions import Nulls, builtins, same_as, scalar

_PROPS_PREFIX = "KUIPER_PROPS_"
"""Environment variables that ``props`` reads begin with this."""
_STATE_TYPES = ("bigint", "float", "string", "boolean", "datetime")

# -- nulls ---------------------------------------------------------------------------------------


@scalar("ifnull", example="coalesce(a, 0)", nulls=Nulls.PASS)
def coalesce(first: Any, *others: Any) -> Any:
    """Return the first argument that isn't null."""
    if first is not None:
        return first
    return next((value for value in others if value is not None), None)


@scalar(example="isnull(a) = true", nulls=Nulls.PASS, inline="({0} is None)")
def isnull(value: Any) -> bool:
    """Tell whether a value is null or missing."""
    return value is None


@scalar(example="bypass(1) = 1", nulls=Nulls.PASS, result=same_as(0), may_be_null=True)
def bypass(value: Any, *unused: Any) -> Any:
    """Return the first argument as it is."""
    return value


# -- metadata ------------------------------------------------------------------------------------


@scalar(example="meta(topic)", nulls=Nulls.PASS)
def meta(key: Any) -> Any:
    """Return the metadata of the row under a key; ``meta(*)`` all of it as an object.

    The key is written as a name, not as a text: ``meta(topic)``, ``meta(stream.topic)``,
    ``meta(properties->unit)``.
    """
    return key


@scalar(example="mqtt(topic)")
def mqtt(key: str) -> str:
    """Return the topic (``mqtt(topic)``) or id (``mqtt(messageId)``) of the MQTT message."""
    return key


# -- time and the rule ---------------------------------------------------------------------------


@scalar(example="tstamp()")
def tstamp(ctx: Context) -> int:
    """Return the current time in epoch milliseconds."""
    return ctx.clock.now()


@scalar(example="rule_start()")
def rule_start(ctx: Context) -> int:
    """Return when this run of the rule began, in epoch milliseconds."""
    return ctx.started_at


@scalar(example="rule_id()")
def rule_id(ctx: Context) -> str:
    """Return the id of the rule."""
    return ctx.rule_id


@scalar(example="event_time()")
def event_time(ctx: Context) -> int:
    """Return the time of the row in epoch milliseconds: when it is processed."""
    return ctx.clock.now()


@scalar(example="window_start()", may_be_null=True)
def window_start() -> int | None:
    """Return when the window began in epoch milliseconds; null outside windows."""
    return None


@scalar(example="window_end()", may_be_null=True)
def window_end() -> int | None:
    """Return when the window ended in epoch milliseconds; null outside windows."""
    return None


@scalar(example="window_trigger()", may_be_null=True)
def window_trigger() -> int | None:
    """Return when the window was emitted in epoch milliseconds; null outside windows."""
    return None


def _refuse_delay(args: Sequence[object]) -> NoReturn:
    raise ConfigError(
        "waiting for one row would hold up all rules",
        hint="use a window, or lingerInterval of the sink, to send later",
    )


@scalar(example="delay(10, a)", result=same_as(1), may_be_null=True, validate=_refuse_delay)
def delay(milliseconds: float, value: Any) -> Any:
    """Refused when a rule is planned, for it would hold up everything else."""
    _refuse_delay(())


# -- identifiers and properties ------------------------------------------------------------------


@scalar(example="newuuid()")
def newuuid() -> str:
    """Return a new random UUID (version 4)."""
    return str(uuid.uuid4())


@scalar(example="props('et')")
def props(ctx: Context, name: str) -> str:
    """Return a property of the engine as text.

    ``et`` is the current time in epoch milliseconds, ``snowflake`` a new number that is unique in
    this process, any other ``name`` the environment variable ``KUIPER_PROPS_NAME``.
    """
    if name == "et":
        return str(ctx.clock.now())
    if name == "snowflake":
        return str(SNOWFLAKES.next(ctx.clock.now()))
    variable = f"{_PROPS_PREFIX}{name.upper()}"
    value = os.environ.get(variable) if name == name.lower() else None
    if value is None:
        raise RowError(f"props: there is no property {name!r}; it would be {variable}")
    return value


# -- keyed state ---------------------------------------------------------------------------------


def _check_state_type(args: Sequence[object]) -> None:
    if args[1] is not ... and args[1] not in _STATE_TYPES:
        raise ConfigError(f"unknown type {args[1]!r}", hint=f"it can be {', '.join(_STATE_TYPES)}")


@lru_cache(maxsize=1)
def _cast() -> Callable[[Any, str], Any]:
    spec = builtins().get("cast")
    assert spec is not None
    return spec.checked()


@scalar(
    example="get_keyed_state('unknown', 'bigint', 42) = 42",
    nulls=Nulls.PASS,
    validate=_check_state_type,
    may_be_null=True,
)
def get_keyed_state(key: str, type_: str, default: Any) -> Any:
    """Return what ``set_keyed_state`` stored under a key, converted to a type, else default.

    The type is bigint, float, string, boolean or datetime. Default is also what a null key and a
    value that can't be converted give.
    """
    if type_ not in _STATE_TYPES:
        raise RowError(f"get_keyed_state: unknown type {type_!r}")
    value = KEYED_STATE.get(key)
    if value is None:
        return default
    try:
        return _cast()(value, type_)
    except RowError:
        return default


@scalar(example="set_keyed_state('k', 1) = 1", nulls=Nulls.PASS, result=same_as(1))
def set_keyed_state(key: str, value: Any) -> Any:
    """Store a value under a key for all rules of this process, and return it; null removes it."""
    if key is None:
        raise RowError("set_keyed_state: the key must not be null")
    KEYED_STATE.put(key, value)
    return value
