"""Secrets among properties and in rows: which values are some, and how they are never shown."""

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
_URL_PASSWORD = re.compile(r"(?<=://)([^/@:\s\"']*):([^/@\s\"']+)@")
_GIVEN = re.compile(
    r"""
    (?P<option> [(,] \s* )? (?<! [\w-] ) (?P<key> \w [\w-]* ) (?! [\w-] )
    (?: \\* ["'`]? \s* (?P<sign> [=:]{1,2} ) \s* | \s+ )
    (?=
        (?P<quote> \\? ["'`] ) (?P<quoted> (?: \\\\\\?. | (?! (?P=quote) ) \\?. )* )
        | (?P<bare> [^\s,)"'`]+ )
    )
    """,
    re.VERBOSE | re.DOTALL,
)
"""A name and what it is given, in SQL or in JSON within, well-formed or not."""
_VISIBLE = re.compile(r"[^\r\n]")


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


def blanked_text(text: str) -> str:
    """Return SQL, also malformed one, with a ``*`` for each character of its secrets.

    Whatever else stands in it stays in its line and column. A value without quotes is a secret only
    where an option may stand: elsewhere it is a column that a query compares with another one.
    """
    parts, end = [], 0
    for found in _GIVEN.finditer(text):
        is_option = found["option"] is not None and found["sign"] is not None
        kind = "bare" if found["quote"] is None else "quoted"
        if is_secret(found["key"]) and (is_option or kind == "quoted"):
            start, stop = (max(end, place) for place in found.span(kind))
            parts += [text[end:start], _VISIBLE.sub("*", text[start:stop])]
            end = stop
    return _URL_PASSWORD.sub(_without_password, "".join([*parts, text[end:]]))


def _without_password(found: re.Match[str]) -> str:
    return f"{found[1]}:{'*' * len(found[2])}@"


def _hides(key: Any, value: Any, *, of_tokens: bool) -> bool:
    is_value = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return is_value and (is_secret(str(key)) or (of_tokens and key == "body"))
