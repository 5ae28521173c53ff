"""Secrets in definitions: never shown, and kept when what was shown comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.config.interpolate import MASK

_SECRET = re.compile(
    r"pass(word|wd|phrase)?$|pwd$|secret|credential|token$|authorization$|"
    r"(api|aes|private|access|encryption|shared|subscription)_?-?key(raw)?$",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(r"path$|file$|url$", re.IGNORECASE)
_IN_STATEMENT = re.compile(r'((\w[\w-]*)\\?"\s*:\s*(\\?"))((?:(?!\3).)*)(?=\3)', re.DOTALL)
_URL_PASSWORD = re.compile(r"(?<=://)([^/@:\s\"']*):([^/@\s\"']+)@")


def is_secret(key: str) -> bool:
    """Tell whether the value under a key is a secret.

    Narrower than what logs leave out: ``key`` of a table or ``keyField`` of a sink are no secrets,
    and forms need them. Paths of files with secrets in them aren't, either.
    """
    return _SECRET.search(key) is not None and _NOT_SECRET.search(key) is None


def masked(value: Any, *, of_tokens: bool = False) -> Any:
    """Return a copy with ``***`` for secrets and for passwords in URLs, at any depth.

    ``of_tokens``: it is the description of how a token is got, where bodies are secrets, too.
    """
    if isinstance(value, Mapping):
        return {
            key: MASK
            if item not in (None, "") and _hides(key, item, of_tokens=of_tokens)
            else masked(item, of_tokens=of_tokens or key == "oAuth")
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [masked(item, of_tokens=of_tokens) for item in value]
    if isinstance(value, str):
        return masked_text(value)
    return value


def masked_text(text: str) -> str:
    """Return a text without the passwords in its URLs."""
    if "://" not in text:
        return text
    return _URL_PASSWORD.sub(rf"\1:{MASK}@", text)


def masked_statement(sql: str) -> str:
    """Return a CREATE statement without the secrets in the JSON text of its EXTRA."""
    return _IN_STATEMENT.sub(
        lambda found: f"{found[1]}{MASK}" if is_secret(found[2]) else found[0],
        masked_text(sql),
    )


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


def _hides(key: Any, value: Any, *, of_tokens: bool) -> bool:
    is_value = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return is_value and (is_secret(str(key)) or (of_tokens and key == "body"))
