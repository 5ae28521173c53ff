"""The tokens that sinks get: the same one means the same messages, and never anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Engine
from engine.api import Batch, Config, Emit, NotConnected, Row, Sink, Source, Token
from engine.clock import VirtualClock
from engine.registry import PluginKind
from engine.run.tokens import Start, Tokens
from tests.conftest import eventually

START = 1_704_067_200_000


class World:
    """What a sink has been given, with the tokens; and a log that gives batches of any sizes."""

    def __init__(self) -> None:
        self.given: list[tuple[Token | None, list[Any]]] = []
        self.taken: list[Any] = []
        self.seen: set[Token] = set()
        self.losing: list[Sequence[int] | None] = []
        """The indexes that are missing at each of the next attempts."""
        self.batches: list[list[int]] = []
        self.more = asyncio.Event()


def sink_of(world: World) -> type[Sink[Config]]:
    class Once(Sink[Config]):
        async def collect(self, batch: Batch, token: Token | None = None) -> None:
            rows = [row["n"] for row in batch.rows or ()]
            world.given.append((token, rows))
            if world.losing:
                missing = world.losing.pop(0)
                every = range(len(rows))
                there = set(every) - set(every if missing is None else missing)
                if token not in world.seen:
                    world.taken += [rows[index] for index in sorted(there)]
                raise NotConnected("gone", indexes=missing)
            if token is None or token not in world.seen:
                world.taken += rows
            if token is not None:
                world.seen.add(token)

    return Once


def log_of(world: World, *, can_seek: bool = True) -> type[Source[Config]]:
    class Log(Source[Config]):
        def __init__(self) -> None:
            self.offset = 0

        async def run(self, emit: Emit) -> None:
            done = number = 0
            while True:
                for batch in world.batches[number:]:
                    begin, done, number = done, done + len(batch), number + 1
                    if begin >= self.offset:
                        self.offset = done
                        await emit(Batch([{"n": number} for number in batch]))
                await world.more.wait()
                world.more.clear()

    class Seekable(Log):
        def position(self) -> Mapping[str, int]:
            return {"log": self.offset}

        async def seek(self, offsets: Mapping[str, int]) -> None:
            self.offset = offsets["log"]

    return Seekable if can_seek else Log


async def run(
    root: Path,
    world: World,
    *,
    can_seek: bool = True,
    actions: Any = None,
    later: Sequence[list[int]] = (),
    from_row: int = 0,
    **options: Any,
) -> None:
    """Run the rule over all batches, and end as after a crash: no checkpoint at the end.

    Batches that come ``later`` come after a checkpoint; ``from_row`` is where the last one has
    left off.
    """
    engine = Engine(root, clock=VirtualClock(START), drain=1)
    async with engine:
        engine.plugins.register(PluginKind.SOURCE, "log", log_of(world, can_seek=can_seek))
        engine.plugins.register(PluginKind.SINK, "once", sink_of(world))
        engine.define_stream("numbers", type="log")
        rule = await engine.start(
            {
                "id": "r",
                "sql": "SELECT n FROM numbers",
                "options": options,
                "actions": actions or [{"once": {"resendInterval": 1}}],
            }
        )
        clock = engine.clock
        assert isinstance(clock, VirtualClock)

        async def finish(rows: int) -> None:
            while rule.metrics.received < rows or rule.metrics.pending:
                await clock.advance_to(clock.now() + 5)
                await asyncio.sleep(0.001)

        with anyio.fail_after(10):
            read = sum(map(len, world.batches)) - from_row
            await finish(read)
            if later:
                await clock.advance_to(clock.now() + 61_000)
                await eventually(lambda: engine.checkpoints().newest("r"))
                world.batches += later
                world.more.set()
                await finish(read + sum(map(len, later)))
        if options.get("qos"):  # what a crash would have left of the file
            engine.checkpoints().save = lambda *_, **__: None  # type: ignore[method-assign]


def tokens(world: World) -> list[Token | None]:
    return [token for token, _ in world.given]


async def test_each_batch_has_its_token_and_so_has_the_rest_of_it(tmp_path: Path) -> None:
    world = World()
    world.batches = [[1, 2, 3], [4]]
    world.losing = [None, [1, 2], [1]]
    await run(tmp_path, world)
    assert [rows for _, rows in world.given] == [[1, 2, 3], [1, 2, 3], [2, 3], [3], [4]]
    first, again, rest, last, other = tokens(world)
    assert first is not None
    assert other is not None
    assert first == again == rest == last
    assert (first.rule_id, first.checkpoint, first.number) == ("r", 0, 0)
    assert other.number == 1
    assert world.taken == [1, 2, 3, 4]


@pytest.mark.parametrize("qos", [0, 1])
async def test_tokens_of_other_runs_differ_unless_the_source_can_be_rewound(
    tmp_path: Path, qos: int
) -> None:
    world = World()
    world.batches = [[1], [1]]
    for _ in range(2):
        await run(tmp_path, world, qos=qos, can_seek=False)
    assert len(set(tokens(world))) == 4
    assert world.taken == [1, 1, 1, 1]


async def test_after_a_crash_what_comes_again_has_its_token_again(tmp_path: Path) -> None:
    world = World()
    world.batches = [[1, 2], [2], [3]]
    await run(tmp_path, world, qos=1)
    before = tokens(world)
    await run(tmp_path, world, qos=1)
    assert tokens(world) == [*before, *before]
    assert world.taken == [1, 2, 2, 3]


async def test_tokens_count_from_the_last_checkpoint(tmp_path: Path) -> None:
    world = World()
    world.batches = [[1], [2]]
    await run(tmp_path, world, qos=1, checkpointInterval="1m", later=[[3], [4]])
    before = tokens(world)
    places = [(token.checkpoint, token.number) for token in before if token is not None]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1)]
    await run(tmp_path, world, qos=1, from_row=2)
    assert tokens(world) == [*before, *before[2:]]
    assert world.taken == [1, 2, 3, 4]


async def test_after_a_crash_other_batches_have_other_tokens(tmp_path: Path) -> None:
    world = World()
    world.batches = [[1], [1], [1]]
    await run(tmp_path, world, qos=1)
    world.batches = [[1], [1, 1], [1]]
    await run(tmp_path, world, qos=1)
    assert world.taken == [1, 1, 1, 1, 1, 1]  # twice, as none can be told for sure


async def test_two_sinks_of_a_rule_have_tokens_of_their_own(tmp_path: Path) -> None:
    world = World()
    world.batches = [[1]]
    await run(tmp_path, world, actions=[{"once": {}}, {"once": {}}])
    assert world.taken == [1, 1]


async def test_what_comes_from_the_cache_has_no_token(tmp_path: Path) -> None:
    world = World()
    world.batches = [[1], [2]]
    world.losing = [None]
    await run(tmp_path, world, actions=[{"once": {"enableCache": True, "resendInterval": 1}}])
    assert set(tokens(world)) == {None}  # all of it went through the cache
    assert world.taken == [1, 2]


@pytest.mark.parametrize("plain", [False, True])
async def test_a_token_may_be_asked_for_in_any_way(engine: Engine, plain: bool) -> None:
    found: list[Any] = []

    class Required(Sink[Config]):
        async def collect(self, batch: Batch, token: Token) -> None:  # type: ignore[override]
            found.append(token)

    class Plain(Sink[Config]):
        def collect(self, batch: Batch, *, token: Token | None) -> None:  # type: ignore[override]
            found.append(token)

    engine.plugins.register(PluginKind.SINK, "named", Plain if plain else Required)
    rule = await engine.start({"id": "r", "sql": "SELECT * FROM demo", "actions": [{"named": {}}]})
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    await eventually(lambda: len(found) == 1)
    assert isinstance(found[0], Token)


async def test_a_result_of_collect_is_told_once_and_ignored(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    class Returning(Sink[Config]):
        async def collect(self, batch: Batch) -> Any:
            return False

    engine.plugins.register(PluginKind.SINK, "returning", Returning)
    actions = [{"returning": {}}]
    rule = await engine.start({"id": "r", "sql": "SELECT * FROM demo", "actions": actions})
    await eventually(lambda: rule.status.state == "running")
    for count in (1, 2):
        await engine.push("demo", [{"a": 1}])
        await eventually(lambda count=count: rule.metrics.delivered == count)
    assert caplog.text.count("collect() returns False, which says nothing") == 1


contents = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=3), max_size=6)


def named(start: Start, batches: list[list[int]]) -> list[Token]:
    made = Tokens("sink[s]", ())
    return [made.next(Batch([{"n": n} for n in batch]), start) for batch in batches]


@given(first=contents, second=contents, other=st.booleans())
def test_equal_tokens_mean_that_all_since_the_start_was_the_same(
    first: list[list[int]], second: list[list[int]], other: bool
) -> None:
    starts = Start("r", 3, 1000), Start("r", 3, 2000 if other else 1000)
    ours, theirs = named(starts[0], first), named(starts[1], second)
    for index, (one, another) in enumerate(zip(ours, theirs, strict=False)):
        is_same = first[: index + 1] == second[: index + 1] and not other
        assert (one == another) == is_same
    assert len(set(ours)) == len(ours)


def test_rows_that_cant_be_written_down_are_told_from_all_others() -> None:
    rows: list[Row] = [{"n": object()}]
    start = Start("r")
    assert Tokens("s", ()).next(Batch(rows), start) != Tokens("s", ()).next(Batch(rows), start)
