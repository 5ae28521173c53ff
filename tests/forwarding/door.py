"""A sink whose other side comes and goes, and an engine whose time is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from engine import Engine
from engine.api import Batch, Config, NotConnected, Rejected, Sink, Template
from engine.clock import VirtualClock
from engine.registry import PluginKind
from engine.run.rule import Rule
from tests.conftest import eventually

START = 1_704_067_200_000


class DoorConfig(Config):
    topic: Template = Template("here")


class World:
    """What the sink of the rule finds: open or not, what it has got, what it refuses."""

    def __init__(self) -> None:
        self.is_open = True
        self.got: list[int] = []
        self.topics: list[str | None] = []
        self.rows: list[dict[str, Any]] = []
        self.refused: Callable[[int], bool] = lambda number: False
        self.capacity: int | None = None
        """How many more rows it takes before it is gone; None: any number."""


def door(world: World) -> type[Sink[DoorConfig]]:
    class Door(Sink[DoorConfig]):
        async def open(self) -> None:
            if not world.is_open:
                raise NotConnected("the door is shut")

        async def collect(self, batch: Batch) -> None:
            rows = batch.rows or []
            if not world.is_open:
                raise NotConnected("the door is shut")
            taken = len(rows) if world.capacity is None else min(world.capacity, len(rows))
            topics = batch.meta.column("topic")
            refused = [at for at, row in enumerate(rows[:taken]) if world.refused(row["n"])]
            for at, row in enumerate(rows[:taken]):
                if at not in refused:
                    world.got.append(row["n"])
                    world.rows.append(row)
                    world.topics.append(topics[at])
            if world.capacity is not None:
                world.capacity -= taken
            if taken < len(rows):
                world.is_open = False
                raise NotConnected("the door has shut", indexes=range(taken, len(rows)))
            if refused:
                raise Rejected("not wanted", indexes=refused)

    return Door


class Setting:
    """An engine with the stream ``demo`` and rules that end in a door."""

    def __init__(self, engine: Engine, clock: VirtualClock, world: World) -> None:
        self.engine = engine
        self.clock = clock
        self.world = world

    async def start(self, *, qos: int = 0, rule_id: str = "r", **properties: Any) -> Rule:
        return await self.engine.start(
            {
                "id": rule_id,
                "sql": "SELECT n FROM demo",
                "options": {"qos": qos},
                "actions": [{"door": {"enableCache": True, "sendSingle": True, **properties}}],
            }
        )

    async def push(self, *numbers: int) -> None:
        """Give rows to the rule, once it takes some."""
        with anyio.fail_after(5):
            while not await self.engine.push("demo", [{"n": number} for number in numbers]):
                await anyio.sleep(0.002)

    async def pass_time(self, seconds: float, steps: int = 20) -> None:
        """Let virtual time pass, and real threads do what they have to."""
        for _ in range(steps):
            await self.clock.advance_to(self.clock.now() + int(seconds * 1000 / steps))
            await anyio.sleep(0.003)

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        """Let time pass until a condition holds."""
        with anyio.fail_after(seconds):
            while not condition():
                await self.pass_time(0.2, steps=1)


@asynccontextmanager
async def setting(root: Path, world: World | None = None) -> AsyncIterator[Setting]:
    clock = VirtualClock(START)
    world = world or World()
    async with Engine(root, clock=clock, drain=0.5) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        engine.plugins.register(PluginKind.SINK, "door", door(world))
        yield Setting(engine, clock, world)


async def taken(rule: Rule, rows: int) -> None:
    """Return when the sink has got rows from the query, wherever they are then."""
    sink = rule.parts.sinks[0]  # type: ignore[union-attr]
    await eventually(lambda: sink.metrics.processed == rows)
