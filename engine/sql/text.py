"""How values read as text (function catalogue, section 1.4, with section 21, item 14)."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

_LARGEST_PLAIN = 1e21
"""From here on, numbers are written with an exponent."""


def to_text(value: Any) -> str:
    """Return a value as string functions see it.

    Integral floats have no point, times their zone, and null is "" (``<nil>`` inside of others).
    """
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime):
        return _time_text(value)
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(_inner_text, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_inner_text(value[key])}' for key in sorted(value))}]"
    return str(value)


def _inner_text(value: Any) -> str:
    return "<nil>" if value is None else to_text(value)


def _float_text(value: float) -> str:
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    return str(int(value)) if value.is_integer() and abs(value) < _LARGEST_PLAIN else repr(value)


def _time_text(moment: datetime) -> str:
    """Return a time with its offset and the name of its zone: 2024-02-29 13:45:56.7 +0000 UTC."""
    text, _, fraction = moment.replace(tzinfo=None).isoformat(" ").partition(".")
    offset = f"{moment:%z}"[:5] or "+0000"
    name = moment.tzname() or "UTC"
    if name != "UTC" and name.startswith("UTC"):  # an offset without a name
        name = offset
    return f"{text}{'.' if fraction else ''}{fraction.rstrip('0')} {offset} {name}"
