"""Secrets in definitions: kept when what was shown comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.config.interpolate import MASK
from engine.config.secrets import is_secret, masked_text
from engine.config.secrets import masked as masked

_IN_STATEMENT = re.compile(r'((\w[\w-]*)\\?"\s*:\s*(\\?"))((?:(?!\3).)*)(?=\3)', re.DOTALL)


def masked_statement(sql: str) -> str:
    """Return a CREATE statement without the secrets in the JSON text of its EXTRA."""
    return _IN_STATEMENT.sub(
        lambda found: f"{found[1]}{MASK}" if is_secret(found[2]) else found[0],
        masked_text(sql),
    )


def masked_json(text: str) -> str:
    """Return JSON without secrets, word for word if there are none."""
    value = msgspec.json.decode(text)
    hidden = masked(value)
    return text if hidden == value else msgspec.json.encode(hidden).decode()


def restored(value: Any, old: Any) -> Any:
    """Return a value whose ``***`` are the secrets that ``old`` has in those places.

    Clients read a definition, change something and send it back; what they never saw stays.
    """
    if isinstance(value, Mapping):
        before = old if isinstance(old, Mapping) else {}
        return {key: restored(item, before.get(key)) for key, item in value.items()}
    if isinstance(value, list):
        before_items = old if isinstance(old, list) else []
        return [
            restored(item, before_items[index] if index < len(before_items) else None)
            for index, item in enumerate(value)
        ]
    if value == MASK and isinstance(old, (str, int, float)):
        return old
    if isinstance(value, str) and MASK in value and isinstance(old, str):
        return old if masked_text(old) == value else value
    return value
