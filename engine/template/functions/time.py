"""Dates and times; ``now`` and ``ago`` ask the engine's clock, zones default to UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from engine.clock import Clock
from engine.duration import parse_duration
from engine.errors import ConfigError
from engine.template.moment import moment, written, zone
from engine.template.values import argument_text, whole

if TYPE_CHECKING:
    from engine.api import Context


def _date(layout: Any, value: Any) -> str:
    """A time in the form that the layout gives to Monday, 2 January 2006, 15:04:05."""
    return _date_in_zone(layout, value, "UTC")


def _date_in_zone(layout: Any, value: Any, name: Any) -> str:
    when = moment(value).astimezone(zone(argument_text(name)))
    return written(when, argument_text(layout))


def _html_date(value: Any) -> str:
    return _date("2006-01-02", value)


def _html_date_in_zone(value: Any, name: Any) -> str:
    return _date_in_zone("2006-01-02", value, name)


def _date_modify(amount: Any, value: Any) -> datetime:
    """A time that is an amount such as ``-1h30m`` later."""
    try:
        seconds = parse_duration(argument_text(amount).removeprefix("+"))
    except ConfigError as error:
        raise ValueError(error.message) from None
    return moment(value) + timedelta(seconds=seconds)


def _unix_epoch(value: Any) -> str:
    return str(int(moment(value).timestamp()))


def _duration(value: Any) -> str:
    """Seconds as text such as ``1h30m0s``."""
    total = whole(value)
    hours, rest = divmod(abs(total), 3600)
    minutes, seconds = divmod(rest, 60)
    text = f"{seconds}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{'-' if total < 0 else ''}{f'{hours}h' if hours else ''}{text}"


TIME: dict[str, Callable[..., Any]] = {
    "date": _date,
    "dateInZone": _date_in_zone,
    "date_in_zone": _date_in_zone,
    "htmlDate": _html_date,
    "htmlDateInZone": _html_date_in_zone,
    "dateModify": _date_modify,
    "date_modify": _date_modify,
    "mustDateModify": _date_modify,
    "unixEpoch": _unix_epoch,
    "duration": _duration,
}


def clock_functions(clock: Clock) -> dict[str, Callable[..., Any]]:
    """Return the functions whose value depends on when they are called."""

    def now() -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=clock.now())

    def ago(value: Any) -> str:
        return _duration(round((now() - moment(value)).total_seconds()))

    def prop(name: Any) -> str:
        from engine.functions.misc import props  # with what the SQL function needs of a context

        value: str = props(cast("Context", _Clocked(clock)), argument_text(name))
        return value

    return {"now": now, "ago": ago, "prop": prop}


class _Clocked:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
