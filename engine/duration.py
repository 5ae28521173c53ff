"""Durations as users write them: whole milliseconds or Go-style text such as ``1h30m``."""

from __future__ import annotations

import re

from engine.errors import ConfigError

_UNIT_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")


def parse_duration(value: str | int | float) -> float:
    """Return seconds for a duration.

    A number is milliseconds, as in eKuiper's properties (runtime specification, section 0); text
    is a sequence of numbers with units ns, us, ms, s, m, h or d, optionally with a leading minus.

    Raises:
        ConfigError: the value isn't a duration.
    """
    if isinstance(value, bool):
        raise _not_a_duration(value)
    if isinstance(value, (int, float)):
        return value / 1000
    text = value.strip()
    if text.isdecimal():
        return int(text) / 1000
    body = text.removeprefix("-")
    parts = list(_PART.finditer(body))
    if not parts or "".join(part.group() for part in parts) != body:
        raise _not_a_duration(value)
    seconds = sum(float(part[1]) * _UNIT_SECONDS[part[2]] for part in parts)
    return -seconds if text.startswith("-") else seconds


def parse_option(option: str, text: str) -> float:
    """Return seconds for an option of a command, such as ``--drain 10s``.

    Unlike in properties a number needs its unit: who types 10 on a command line means seconds.

    Raises:
        ConfigError: it has no unit, is negative or no duration at all.
    """
    value = text.strip()
    if value.isdecimal() and int(value):
        hint = f"write {value}s for seconds, or {value}ms"
        raise ConfigError(f"{option}: {value} has no unit", hint=hint)
    try:
        seconds = parse_duration(value)
    except ConfigError as error:
        hint = "write a number with its unit, such as 10s, 500ms or 1h30m"
        raise ConfigError(f"{option}: {error.message}", hint=hint) from None
    if seconds < 0:
        raise ConfigError(f"{option}: {value} is negative; a duration can't be")
    return seconds


def _not_a_duration(value: object) -> ConfigError:
    return ConfigError(
        f"{value!r} is not a duration",
        hint="write milliseconds or text such as '10s', '500ms', '1h30m'",
    )
