"""The properties of a plugin as lines for people."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.api import Config, Duration, Template
from engine.plugin.outline import outline
from engine.plugin.schema import config_schema


class Inner(msgspec.Struct, frozen=True):
    depth: int = 1


class Settings(Config):
    path: str
    every: Duration = Duration(2)
    topic: Template
    mode: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    limit: int | None = None
    inner: Inner = Inner()
    anything: Any = None
    ratio: float | str = 1.5


def test_each_property_has_its_kind_and_its_default() -> None:
    assert dict(map(_parts, outline(config_schema(Settings)))) == {
        "path": "text, required",
        "every": "a duration such as '1m30s', or milliseconds; default 2000",
        "topic": "text that may hold {{.field}}, required",
        "mode": '"a" or "b"; default "a"',
        "names": "a list of text; default []",
        "limit": "a whole number",
        "inner": "a mapping",
        "depth": "a whole number; default 1",
        "anything": "anything",
        "ratio": "a number or text; default 1.5",
    }


def _parts(line: str) -> tuple[str, str]:
    name, _, text = line.strip().partition("  ")
    return name, text.strip()
