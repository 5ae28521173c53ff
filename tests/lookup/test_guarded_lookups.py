"""Lookup sources that hang, lie or end the program: the rows say so, and the engine goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

import engine.guard as guard
from engine import Engine
from engine.api import Config, LookupSource, Row, RowError
from engine.clock import SystemClock
from engine.lookup.link import Found
from engine.lookup.options import LookupOptions
from engine.registry import PluginKind
from tests.conftest import Rows as Collected
from tests.conftest import eventually
from tests.lookup.support import BatchRows, Rows, link_to

ONCE = LookupOptions(retry_for=0.0)  # type: ignore[arg-type]


async def ask(source: LookupSource[Any], *keys: int) -> list[Found]:
    """Open the table, ask it, close it."""
    link = link_to(source, SystemClock(), ONCE)
    try:
        with anyio.fail_after(10):
            return await link.ask((), ("id",), [(key,) for key in keys])
    finally:
        await link.close()


def told(found: Sequence[Found]) -> list[Any]:
    return [str(one) if isinstance(one, RowError) else one for one in found]


class Hanging(Rows):
    lookup_timeout = open_timeout = 0.05
    hangs_in = "lookup"

    async def _may_hang(self, where: str) -> None:
        if self.hangs_in == where:
            await anyio.sleep_forever()

    async def open(self) -> None:
        await super().open()
        await self._may_hang("open")

    async def lookup(self, fields: Any, keys: Any, values: Any) -> list[Row]:
        await self._may_hang("lookup")
        return await super().lookup(fields, keys, values)

    async def close(self) -> None:
        await super().close()
        await self._may_hang("close")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short patience."""
    monkeypatch.setattr(guard, "GRACE", 0.05)
    monkeypatch.setattr(guard, "_CLOSING", 0.05)


@pytest.mark.parametrize("where", ["open", "lookup"])
async def test_what_hangs_counts_as_not_connected(short: None, where: str) -> None:
    source = Hanging([{"id": 1}])
    source.hangs_in = where
    (message,) = told(await ask(source, 1))
    assert message.startswith("table t: not connected: table t: ")
    assert message.endswith("takes longer than 0.05 s")
    assert source.closings == source.openings == 1


async def test_many_keys_hang_as_long_as_one(short: None) -> None:
    found = told(await ask(Hanging(), *range(8)))
    assert len(found) == 8
    assert all("takes longer than 0.05 s" in one for one in found)


async def test_a_close_that_hangs_is_given_up(
    short: None, caplog: pytest.LogCaptureFixture
) -> None:
    source = Hanging([{"id": 1}])
    source.hangs_in = "close"
    assert await ask(source, 1) == [[{"id": 1}]]
    assert "table t: close failed: table t: close() takes longer" in caplog.text


async def test_a_lookup_that_ignores_its_cancellation_is_left_alone(
    short: None, caplog: pytest.LogCaptureFixture
) -> None:
    enough = asyncio.Event()

    class Stubborn(Rows):
        lookup_timeout = 0.05

        async def lookup(self, *_: Any) -> list[Row]:
            while not enough.is_set():
                try:
                    await enough.wait()
                except asyncio.CancelledError:
                    continue
            return []

    (message,) = told(await ask(Stubborn(), 1))
    assert "takes longer than 0.05 s" in message
    assert "table t: the lookup doesn't end although it was cancelled" in caplog.text
    enough.set()
    await eventually(lambda: guard.left_alone() == 0)


@pytest.mark.parametrize("kind", [Rows, BatchRows])
@pytest.mark.parametrize(
    ("raised", "message"),
    [(SystemExit(3), "SystemExit: 3"), (asyncio.CancelledError(), "has cancelled itself")],
)
async def test_a_lookup_cant_end_the_program(
    kind: type[Rows], raised: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = kind([{"id": 1}])
    source.failing = {2: raised}
    found = told(await ask(source, 1, 2))
    assert found[0] == [{"id": 1}]
    assert message in found[1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "the lookup gave None, not a list of rows"),
        ({"id": 1}, "the lookup gave dict, not a list of rows"),
        (({"id": 1},), "the lookup gave tuple, not a list of rows"),
        ([1], "the lookup gave a list of int, not of rows"),
        ([None], "the lookup gave a list of None, not of rows"),
    ],
)
async def test_an_answer_of_the_wrong_type_is_an_error_of_its_row(
    answer: Any, message: str
) -> None:
    class Wrong(Rows):
        async def lookup(self, *_: Any) -> Any:
            return answer

    class WrongMany(Rows):
        async def lookup_many(self, fields: Any, keys: Any, rows_of_values: Any) -> Any:
            return [answer for _ in rows_of_values]

    for source in (Wrong(), WrongMany()):
        assert told(await ask(source, 1)) == [f"table t: {message}"]


@pytest.mark.parametrize(
    ("answer", "gave"), [(None, "None"), (7, "int"), ([], "0 answers"), ([[], [], []], "3 answers")]
)
async def test_an_answer_for_many_must_have_one_for_each(answer: Any, gave: str) -> None:
    class Wrong(Rows):
        async def lookup_many(self, *_: Any) -> Any:
            return answer

    assert told(await ask(Wrong(), 1)) == [f"table t: lookup_many gave {gave} for 1 keys"]


async def test_a_rule_with_a_lookup_that_hangs_can_be_stopped_and_others_run(
    engine: Engine, collected: Collected
) -> None:
    class Slow(LookupSource[Config]):
        async def lookup(self, *_: Any) -> list[Row]:
            await anyio.sleep_forever()
            return []

    engine.plugins.register(PluginKind.SOURCE, "slow", Slow)
    engine.define("CREATE TABLE t (id bigint) WITH (TYPE='slow', KIND='lookup', KEY='id')")
    sql = "SELECT demo.id FROM demo INNER JOIN t ON demo.id = t.id"
    rule = await engine.start({"id": "r", "sql": sql, "actions": [{"collect": {}}]})
    good = {"id": "good", "sql": "SELECT id FROM demo", "actions": [{"collect": {}}]}
    await engine.start(good)
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"id": 1}])
    await eventually(lambda: collected == [{"id": 1}])
    with anyio.fail_after(5):
        await engine.stop("r", drain=0.05)
    assert rule.metrics.balance().holds


async def test_tasks_that_a_lookup_source_leaves_behind_are_ended(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[asyncio.Task[Any]] = []

    class Leaky(Rows):
        async def lookup(self, *_: Any) -> list[Row]:
            left.append(asyncio.create_task(asyncio.sleep(3600)))
            return []

    with caplog.at_level(logging.WARNING):
        assert await ask(Leaky(), 1) == [[]]
    assert left[0].cancelled()
    assert "table t has left 1 of its tasks running" in caplog.text
