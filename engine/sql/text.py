"""How values read as text (function catalogue, section 1.4, with section 21, item 14)."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def to_text(value: Any) -> str:
    """Return a value as string functions see it: integral floats without a point, null as ""."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(to_text, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{to_text(value[key])}' for key in sorted(value))}]"
    return str(value)
