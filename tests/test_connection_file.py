"""Connections in eKuiper's file for them are there for every rule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine import ConfigError, Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind

CONNECTIONS = """
told:
  here: {word: hello}
  there: {word: bye, xOperation: create}
  gone: {word: never, xOperation: delete}
mqtt:
"""


class ToldConfig(Config):
    word: str = "nothing"


class Told(Sink[ToldConfig]):
    """Takes what it is told from a connection."""

    async def collect(self, batch: Batch) -> None:
        raise AssertionError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "etc" / "connections" / "connection.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(CONNECTIONS)
    return file


@pytest.fixture
async def engine(tmp_path: Path, file: Path) -> AsyncIterator[Engine]:
    async with Engine(tmp_path) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        engine.plugins.register(PluginKind.SINK, "told", Told)
        yield engine


async def word(engine: Engine, connection: str) -> Any:
    """Return what a sink with a connection is told."""
    action = {"told": {"connectionSelector": connection}}
    rule = await engine.start({"id": connection, "sql": "SELECT * FROM demo", "actions": [action]})
    assert rule.parts is not None
    config: Any = rule.parts.sinks[0].config
    return config.word


async def test_rules_choose_connections_of_the_file(engine: Engine, file: Path) -> None:
    assert await word(engine, "here") == "hello"
    assert await word(engine, "there") == "bye"
    assert sorted(engine.properties.connections()) == ["here", "there"]
    with pytest.raises(ConfigError, match=r"unknown connection 'gone'(.|\n)*connection\.yaml"):
        await word(engine, "gone")
    file.unlink()
    with pytest.raises(ConfigError, match="unknown connection 'here'"):
        await engine.start(
            {
                "id": "late",
                "sql": "SELECT * FROM demo",
                "actions": [{"told": {"connectionSelector": "here"}}],
            }
        )


async def test_a_rule_file_has_the_last_word(engine: Engine, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("connections:\n  here: {type: told, word: mine}\n")
    engine.load(rules)
    assert await word(engine, "here") == "mine"
    assert await word(engine, "there") == "bye"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "mapping of sections"),
        ("told: 5", "told: expected a mapping of properties by name"),
        ("told: {a: 5}", "told.a"),
    ],
)
async def test_a_wrong_file_is_named(engine: Engine, file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"connection\.yaml:[\d:]* .*{message}"):
        await word(engine, "here")
