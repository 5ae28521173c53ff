"""What waits in a cache goes where it was meant to go, whatever becomes of the rule's actions."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import field

from engine import Engine
from engine.api import Batch, Config, NotConnected, Sink
from engine.registry import PluginKind
from engine.run.rule import Rule
from tests.conftest import eventually

Action = dict[str, Any]


class PostConfig(Config):
    server: str
    topic: str = "somewhere"
    password: str = ""
    qos: int = 0
    headers: dict[str, str] = field(default_factory=dict)


class Post:
    """What has arrived, by topic; nothing does while it is closed."""

    def __init__(self) -> None:
        self.is_open = False
        self.got: dict[str, list[int]] = {}


def post_sink(post: Post) -> type[Sink[PostConfig]]:
    class PostSink(Sink[PostConfig]):
        async def open(self) -> None:
            if not post.is_open:
                raise NotConnected("closed")

        async def collect(self, batch: Batch) -> None:
            await self.open()
            rows = [row["n"] for row in batch.rows or []]
            post.got.setdefault(self.config.topic, []).extend(rows)

    return PostSink


def to(topic: str, **more: Any) -> Action:
    properties = {"server": "tcp://one", "topic": topic, "enableCache": True, "sendSingle": True}
    return {"post": {**properties, **more}}


def rule_of(actions: list[Action], **options: Any) -> dict[str, Any]:
    return {"id": "r", "sql": "SELECT n FROM demo", "actions": actions, "options": options}


@asynccontextmanager
async def running(root: Path, post: Post, *actions: Action) -> AsyncIterator[tuple[Engine, Rule]]:
    async with Engine(root, drain=0.2) as engine:
        engine.plugins.register(PluginKind.SINK, "post", post_sink(post))
        engine.define_stream("demo", type="memory", datasource="demo")
        rule = await engine.start(rule_of(list(actions)))
        yield engine, rule


async def push(engine: Engine, rule: Rule, *numbers: int) -> None:
    """Give rows to the rule, once it takes some, and wait until its sinks have them."""
    with anyio.fail_after(5):
        while not await engine.push("demo", [{"n": number} for number in numbers]):
            await anyio.sleep(0.002)
    sinks = rule.parts.sinks  # type: ignore[union-attr]
    await eventually(lambda: all(sink.metrics.processed == len(numbers) for sink in sinks))


async def leave(root: Path, numbers: list[int], *actions: Action) -> None:
    """Run a rule that can't send anything, so that all is left in its caches."""
    async with running(root, Post(), *actions) as (engine, rule):
        await push(engine, rule, *numbers)


async def arrived(root: Path, *actions: Action) -> dict[str, list[int]]:
    """Run a rule with others of its actions; return what arrives of what was left."""
    post = Post()
    post.is_open = True
    async with running(root, post, *actions) as (_, rule):
        recovered = rule.metrics.recovered
        await eventually(lambda: rule.metrics.pending == 0)
        assert rule.metrics.delivered == recovered
    return post.got


A, B = to("a"), to("b")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([A, B], [A, B], {"a": [1, 2], "b": [1, 2]}),
        ([A, B], [B, A], {"a": [1, 2], "b": [1, 2]}),
        ([A, B], [B], {"b": [1, 2]}),
        ([A], [{"nop": {}}, A], {"a": [1, 2]}),
        ([A, B], [to("c"), B, A], {"a": [1, 2], "b": [1, 2]}),
        ([A], [B], {}),
        ([A], [to("a", server="tcp://two")], {}),
        ([A], [to("a", headers={"tenant": "x"})], {}),
        ([A], [to("a", password="new", qos=1, resendInterval="1s")], {"a": [1, 2]}),
        ([A], [to("a", headers={"Authorization": "new"}, bufferPageSize=16)], {"a": [1, 2]}),
        ([to("a", server="tcp://u:old@one")], [to("a", server="tcp://u:new@one")], {"a": [1, 2]}),
    ],
)
async def test_what_waits_finds_its_own_destination_or_none(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    before: list[Action],
    after: list[Action],
    expected: dict[str, list[int]],
) -> None:
    await leave(tmp_path, [1, 2], *before)
    caplog.set_level(logging.WARNING)
    assert await arrived(tmp_path, *after) == expected
    left = [path.parent.name for path in (tmp_path / "data/cache/r").rglob("*.seg")]
    assert len(left) == len(before) - len(expected)
    assert caplog.text.count(str(tmp_path / "data/cache/r")) == len(left)


async def test_what_was_left_for_an_old_destination_waits_until_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await leave(tmp_path, [1, 2], A)
    await leave(tmp_path, [3], B)
    assert "post_0 sends to another place now" in caplog.text
    assert await arrived(tmp_path, A) == {"a": [1, 2]}
    assert await arrived(tmp_path, B) == {"b": [3]}
    assert not [*(tmp_path / "data/cache").rglob("*.seg")]
    caplog.clear()
    assert await arrived(tmp_path, to("c")) == {}
    assert "data/cache" not in caplog.text


async def test_an_update_while_the_engine_runs_sends_nothing_elsewhere(tmp_path: Path) -> None:
    post = Post()
    async with running(tmp_path, post, A, B) as (engine, rule):
        await push(engine, rule, 1, 2)
        await engine.update(rule_of([to("c"), B]))
        post.is_open = True
        await eventually(lambda: post.got == {"b": [1, 2]})
        await engine.update(rule_of([B, to("c"), A]))
        await eventually(lambda: post.got == {"a": [1, 2], "b": [1, 2]})
        await engine.stop("r")
        await engine.delete("r")
        assert not (tmp_path / "data/cache/r").exists()


async def test_letters_and_rows_for_one_place_are_kept_apart(tmp_path: Path) -> None:
    world = {"deadLetter": A}
    async with Engine(tmp_path, drain=0.2) as engine:
        engine.plugins.register(PluginKind.SINK, "post", post_sink(Post()))
        engine.define_stream("demo", type="memory", datasource="demo")
        rule = await engine.start(rule_of([{"nop": {}}, A], **world))
        await push(engine, rule, 1)
    async with Engine(tmp_path, drain=0.2) as engine:
        post = Post()
        post.is_open = True
        engine.plugins.register(PluginKind.SINK, "post", post_sink(post))
        engine.define_stream("demo", type="memory", datasource="demo")
        rule = await engine.start(rule_of([A], **world))
        await eventually(lambda: post.got == {"a": [1]})
        await eventually(lambda: rule.metrics.delivered == 1)


async def test_a_cache_of_an_older_version_belongs_to_the_sink_of_its_name(
    tmp_path: Path,
) -> None:
    await leave(tmp_path, [1, 2], A, B)
    for owner in (tmp_path / "data/cache/r").glob("*/owner"):
        owner.unlink()
    assert await arrived(tmp_path, A, B) == {"a": [1, 2], "b": [1, 2]}


async def test_a_file_that_says_nothing_sensible_sends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await leave(tmp_path, [1, 2], A)
    (tmp_path / "data/cache/r/post_0/owner").write_bytes(b"\xff\x00")
    assert await arrived(tmp_path, A) == {}
    assert "data/cache/r/post_0" in caplog.text
