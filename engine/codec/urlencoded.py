"""Form data as in URLs: ``a=1&b=two%20words``; a name that stands there twice has a list."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote_plus, unquote_to_bytes

from engine.batch import Row
from engine.codec.contract import Encoder
from engine.codec.textual import TextualDecoder, text_of
from engine.sql.kinds import kind_of
from engine.sql.schema import Schema

_BROKEN = re.compile(r"%(?![\da-fA-F]{2})")


class UrlencodedDecoder(TextualDecoder):
    """All values are texts, or lists of texts."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema, _read)


class UrlencodedEncoder(Encoder):
    """A row to one line of form data, sorted by name; each element of a list has its own place."""

    def __init__(self) -> None:
        super().__init__("urlencoded form data", _write)


def _read(text: str) -> list[Row]:
    if not text:
        raise ValueError("empty payload")
    row: dict[str, Any] = {}
    for pair in text.strip().split("&"):
        if not pair:
            continue
        if ";" in pair:
            raise ValueError("malformed form data: ';' between values")
        name, _, value = map(_decoded, pair.partition("="))
        if name not in row:
            row[name] = value
        elif isinstance(row[name], list):
            row[name].append(value)
        else:
            row[name] = [row[name], value]
    return [row]


def _decoded(text: str) -> str:
    if _BROKEN.search(text):
        raise ValueError("malformed form data: '%' without two hexadecimal digits")
    return unquote_to_bytes(text.replace("+", " ")).decode()


def _write(item: Any) -> bytes:
    row = item[0] if isinstance(item, list) and len(item) == 1 else item
    if isinstance(row, list):
        raise ValueError(f"{len(row)} rows at once; give the sink sendSingle: true")
    if not isinstance(row, dict):
        raise ValueError(f"expected a row, found {kind_of(row)}")
    return "&".join(
        f"{quote_plus(name)}={quote_plus(text_of(value))}"
        for name in sorted(row)
        for value in (row[name] if isinstance(row[name], list) else [row[name]])
    ).encode()
