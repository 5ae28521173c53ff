"""Rows as they may be seen in traces: as text, without secrets, never long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.config.secrets import masked, masked_text

LONGEST = 2048
"""Characters of an excerpt."""
_LONGEST_TEXT = 256
_MOST_ITEMS = 16
_MOST_KEYS = 64
_DEEPEST = 6
_INTEGERS = range(-(1 << 63), 1 << 64)
"""Those that JSON is written with."""


def excerpt(value: Any) -> str:
    """Return a row, a list of rows or a JSON message as JSON.

    Secrets are ``***``, long texts, lists and objects are cut, and so is the whole.
    """
    if isinstance(value, bytes):
        value = _decoded(value)
    text = msgspec.json.encode(masked(_shortened(value, _DEEPEST))).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def _decoded(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return payload


def _shortened(value: Any, depth: int) -> Any:
    """Return a copy of a value that can be written as JSON and has a bounded size."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if value in _INTEGERS else str(value)
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(value)} bytes)"
    if isinstance(value, msgspec.Struct):  # a row of which only some columns were decoded
        fields = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        columns = {name: getattr(value, field) for name, field in fields}
        value = {name: item for name, item in columns.items() if item is not msgspec.UNSET}
    if not isinstance(value, (Mapping, list, tuple)):
        return _cut(str(value))
    if depth == 0:
        return f"({len(value)} items)"
    if isinstance(value, Mapping):
        return {
            _cut(str(key)): _shortened(item, depth - 1)
            for key, item in list(value.items())[:_MOST_KEYS]
        }
    items = [_shortened(item, depth - 1) for item in value[:_MOST_ITEMS]]
    return items if len(value) <= _MOST_ITEMS else [*items, f"({len(value)} items)"]


def _cut(text: str) -> str:
    # masked first, for a password may stand where the cut is
    shown = masked_text(text[:LONGEST])
    if len(shown) <= _LONGEST_TEXT:
        return shown
    return f"{shown[:_LONGEST_TEXT]}… ({len(text)} characters)"
