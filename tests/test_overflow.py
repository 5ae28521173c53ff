"""What happens when rows come faster than a rule takes them."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from engine import Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind
from engine.run.rule import Rule
from tests.conftest import eventually

SLOW = {"slow": {"bufferLength": 1}}


class Slow:
    """A sink that takes nothing before ``release``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.release = anyio.Event()
        self.seen: list[int] = []

    async def take(self, batch: Batch) -> None:
        await self.release.wait()
        self.seen += [row["n"] for row in batch.rows or ()]

    async def occupy(self, rule: Rule, stream: str, *numbers: int) -> None:
        """Fill the hands of the sink, its queue, and the hands of the query with a row each."""
        assert len(numbers) == 3
        for number in numbers:
            await self.engine.push(stream, [{"n": number}])
            await eventually(lambda: rule.metrics.queued == 0)


@pytest.fixture
def slow(engine: Engine) -> Slow:
    slow = Slow(engine)

    class SlowSink(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await slow.take(batch)

    engine.plugins.register(PluginKind.SINK, "slow", SlowSink)
    return slow


def rule(sql: str, **options: Any) -> dict[str, Any]:
    return {"id": "r", "sql": sql, "actions": [SLOW], "options": options}


async def running(engine: Engine, definition: dict[str, Any]) -> Rule:
    started = await engine.start(definition)
    await eventually(lambda: started.status.state == "running")
    return started


@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"), [("dropOldest", [0, 4], 3), ("dropNewest", [0, 1], 3)]
)
async def test_a_full_queue_drops_by_policy_and_counts(
    engine: Engine, slow: Slow, overflow: str, kept: list[int], dropped: int
) -> None:
    options = {"overflow": overflow, "bufferLength": 1}
    started = await running(engine, rule("SELECT n FROM demo", **options))
    await slow.occupy(started, "demo", 0, 100, 200)
    for n in range(1, 5):
        await engine.push("demo", [{"n": n}])
    slow.release.set()
    await engine.stop("r")
    assert slow.seen == [kept[0], 100, 200, kept[1]]
    assert started.metrics.dropped == {("queue", "full"): dropped}
    assert started.metrics.balance().holds


@pytest.mark.parametrize(
    ("stream", "options", "kept"),
    [
        ("dropOldest", {}, [0, 3]),
        ("dropNewest", {}, [0, 1]),
        ("dropNewest", {"overflow": "dropOldest"}, [0, 3]),
        ("block", {"disableBufferFullDiscard": False}, [0, 3]),
    ],
)
async def test_a_stream_says_what_a_full_queue_does_unless_the_rule_does(
    engine: Engine, slow: Slow, stream: str, options: dict[str, object], kept: list[int]
) -> None:
    engine.define_stream("own", type="memory", datasource="own", overflow=stream)
    started = await running(engine, rule("SELECT n FROM own", bufferLength=1, **options))
    await slow.occupy(started, "own", 0, 100, 200)
    for n in range(1, 4):
        await engine.push("own", [{"n": n}])
    slow.release.set()
    await engine.stop("r")
    assert slow.seen == [kept[0], 100, 200, kept[1]]
    assert started.metrics.dropped == {("queue", "full"): 2}
    assert started.metrics.balance().holds


async def test_a_stream_that_drops_takes_no_room_from_one_that_blocks(
    engine: Engine, slow: Slow
) -> None:
    engine.define_stream("alarms", type="memory", datasource="alarms")
    engine.define_stream("telemetry", type="memory", datasource="telemetry", overflow="dropOldest")
    sql = """SELECT alarms.n FROM alarms LEFT JOIN telemetry ON alarms.n = telemetry.n
        GROUP BY COUNTWINDOW(1)"""
    started = await running(engine, rule(sql, bufferLength=2))
    await slow.occupy(started, "alarms", 0, 1, 2)
    for n in (3, 4):
        await engine.push("alarms", [{"n": n}])
        for _ in range(50):
            await engine.push("telemetry", [{"n": n}])
    with anyio.move_on_after(0.05) as too_many:
        await engine.push("alarms", [{"n": 5}])  # waits for room, and comes in all the same
    assert too_many.cancelled_caught
    slow.release.set()
    await engine.stop("r")
    assert slow.seen == [0, 1, 2, 3, 4, 5]
    assert started.metrics.dropped == {("queue", "full"): 98}
    assert started.metrics.balance().holds


async def test_a_blocking_queue_holds_the_source_back(engine: Engine, slow: Slow) -> None:
    started = await running(engine, rule("SELECT n FROM demo", bufferLength=1))
    pushed = 0
    with anyio.move_on_after(0.2):
        for n in range(100):
            await engine.push("demo", [{"n": n}])
            pushed += 1
    assert pushed < 6
    slow.release.set()
    await engine.stop("r")
    assert started.metrics.delivered == started.metrics.received
    assert not started.metrics.dropped
