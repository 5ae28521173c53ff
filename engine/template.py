"""Property values with ``{{.field}}`` in them, computed for each message."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from engine.errors import ConfigError, RowError
from engine.sql.text import to_text

_PART = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"\s*-?\s*((?:\.[A-Za-z_]\w*)+|\.)\s*-?\s*")

Render = Callable[[Any], str]
"""Takes a row (or the only row of a list) and returns text; raises ``RowError``."""


def is_template(text: str) -> bool:
    """Tell whether a property is computed for each message."""
    return "{{" in text


def compile_template(text: str) -> Render:
    """Return a function that fills in the fields of a row.

    A missing or null field is an error of that row: a message to a made-up topic helps nobody.

    Raises:
        ConfigError: the template has anything but ``{{.name}}`` and ``{{.name.name}}``.
    """
    pieces: list[str | tuple[str, ...]] = []
    end = 0
    for part in _PART.finditer(text):
        pieces.append(text[end : part.start()])
        pieces.append(_path(part[1], text))
        end = part.end()
    pieces.append(text[end:])
    if "{{" in pieces[-1]:
        raise ConfigError(f"{text!r}: '{{{{' without '}}}}'")

    def render(row: Any) -> str:
        return "".join(
            piece if isinstance(piece, str) else _lookup(row, piece, text) for piece in pieces
        )

    return render


def _path(expression: str, text: str) -> tuple[str, ...]:
    found = _PATH.fullmatch(expression)
    if found is None:
        raise ConfigError(
            f"{text!r}: {{{{{expression}}}}} is not supported",
            hint="write {{.field}} or {{.field.inner}}",
        )
    return tuple(name for name in found[1].split(".") if name)


def _lookup(row: Any, path: tuple[str, ...], text: str) -> str:
    value = row[0] if isinstance(row, list) and len(row) == 1 else row
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        raise RowError(f"template {text!r}: there is no {'.'.join(path)}")
    return to_text(value)
