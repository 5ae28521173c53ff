"""Sources for tests that do as they are told, and a context for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio

from engine.api import Config, Context, LookupSource, Row, Use
from engine.clock import Clock, VirtualClock
from engine.lookup.link import LookupLink
from engine.lookup.options import LookupOptions
from engine.run.resources import ResourcePool
from engine.state.scope import StateScope

T = TypeVar("T")
START = 1_700_000_000_000


class PlainContext(Context):
    """What a plugin sees, without a rule around it."""

    def __init__(
        self, root: Path, clock: Clock | None = None, resources: ResourcePool | None = None
    ) -> None:
        self.rule_id = "table:t"
        self.op_id = "lookup[t]"
        self.instance_id = 0
        self.logger = logging.LoggerAdapter(logging.getLogger("engine.plugin"), {})
        self.root_path = root
        self.clock = clock or VirtualClock(START)
        self.started_at = self.clock.now()
        self.state = StateScope()
        self.reports: list[tuple[bool, str]] = []
        self._resources = resources

    def shared(
        self, key: Hashable, make: Callable[[], AbstractAsyncContextManager[T]]
    ) -> AbstractAsyncContextManager[T]:
        assert self._resources is not None
        return self._resources.use(key, make)

    def report_connection(self, connected: bool, message: str = "") -> None:
        self.reports.append((connected, message))


@asynccontextmanager
async def context(root: Path) -> AsyncIterator[PlainContext]:
    """Yield a context whose resources live as long as the block.

    A task of their own has them, because a fixture may end in another task than it began in.
    """
    made: list[PlainContext] = []
    ready, leaving = anyio.Event(), anyio.Event()

    async def host() -> None:
        async with anyio.create_task_group() as tasks:
            made.append(PlainContext(root, resources=ResourcePool(tasks)))
            ready.set()
            await leaving.wait()

    task = asyncio.create_task(host())
    await ready.wait()
    yield made[0]
    leaving.set()
    await task


async def opened(source: LookupSource[Any], config: Config, ctx: Context) -> None:
    """Bring a source to life as the engine does for an isolated instance."""
    source.config = config
    source.ctx = ctx
    source.validate()
    await source.open()


class Rows(LookupSource[Config]):
    """Has given rows; raises what ``failing`` says for a key, and writes down what happens."""

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.rows = list(rows)
        self.failing: dict[Any, Exception] = {}
        self.calls: list[list[Any]] = []
        """The values of each question, one list for each."""
        self.openings = 0
        self.closings = 0

    async def open(self) -> None:
        self.openings += 1

    async def close(self) -> None:
        self.closings += 1

    def find(self, keys: Sequence[str], values: Sequence[Any]) -> list[Row]:
        for value, error in self.failing.items():
            if value in values:
                raise error
        wanted = list(values)
        return [row for row in self.rows if [row.get(key) for key in keys] == wanted]

    async def lookup(
        self, fields: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[Row]:
        self.calls.append([tuple(values)])
        return self.find(keys, values)


class BatchRows(Rows):
    """The same with one question for many keys."""

    async def lookup_many(
        self, fields: Sequence[str], keys: Sequence[str], rows_of_values: Sequence[Sequence[Any]]
    ) -> list[list[Row]]:
        self.calls.append([tuple(values) for values in rows_of_values])
        return [self.find(keys, values) for values in rows_of_values]


def link_to(
    source: LookupSource[Any],
    clock: Clock,
    options: LookupOptions | None = None,
    ctx: PlainContext | None = None,
) -> LookupLink:
    """Return the link of a table called ``t``."""
    use = Use(Config(), ctx or PlainContext(Path(), clock))
    return LookupLink("t", source, use, clock, options)
