"""Lookup tables: what is asked, what is remembered, and what happens to errors."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Config, ConfigError, LookupSource, NotConnected, Rejected, Row, RowError, Use
from engine.clock import VirtualClock, settled
from engine.lookup.cache import LookupCache
from engine.lookup.link import Found, LookupLink
from engine.lookup.options import LookupOptions
from engine.lookup.table import LookupTable
from engine.sql.ast import FieldDef, ScalarType
from engine.sql.schema import Schema
from tests.lookup.support import START, BatchRows, PlainContext, Rows, link_to

DEVICES: list[Row] = [
    {"id": 1, "name": "one"},
    {"id": 2, "name": "two"},
    {"id": 2, "name": "zwei"},
]


def table_of(
    source: LookupSource[Any],
    clock: VirtualClock | None = None,
    *,
    cache: LookupCache | None = None,
    options: LookupOptions | None = None,
    schema: Schema | None = None,
    ctx: PlainContext | None = None,
    keys: Sequence[str] = ("id",),
) -> LookupTable:
    clock = clock or VirtualClock(START)
    link = link_to(source, clock, options, ctx)
    return LookupTable(link, keys, cache=cache, clock=clock, schema=schema)


def told(found: Sequence[Found]) -> list[Any]:
    """Return answers with errors as text."""
    return [str(answer) if isinstance(answer, RowError) else answer for answer in found]


def asked_by(source: Rows) -> list[Any]:
    """Return all keys that a source was asked for, in order."""
    return [key for call in source.calls for key in call]


@asynccontextmanager
async def waiting(table: LookupTable, keys: Sequence[Any]) -> AsyncIterator[list[Any]]:
    """Run a question beside the block; the list gets its answers in the end."""
    answers: list[Any] = []

    async def ask() -> None:
        answers.extend(told(await table.find([(key,) for key in keys])))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await settled()
        yield answers


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Rows, BatchRows])
async def test_each_key_gets_its_rows_and_each_different_key_is_asked_for_once(
    kind: type[Rows],
) -> None:
    source = kind(DEVICES)
    table = table_of(source)
    found = await table.find([(2,), (1,), (9,), (2.0,), (1,)])
    assert found == [DEVICES[1:], DEVICES[:1], [], DEVICES[1:], DEVICES[:1]]
    assert sorted(asked_by(source)) == [(1,), (2,), (9,)]
    assert table.statistics()[:3] == (5, 3, 0)


async def test_a_source_that_takes_many_keys_is_asked_once() -> None:
    source = BatchRows(DEVICES)
    await table_of(source).find([(1,), (2,), (1,)])
    assert source.calls == [[(1,), (2,)]]


async def test_null_and_nan_match_nothing_and_are_not_asked_for() -> None:
    source = BatchRows([{"id": None, "b": 1}])
    table = table_of(source, keys=("id", "b"))
    assert await table.find([(None, 1), (1, None), (float("nan"), 1)]) == [[], [], []]
    assert source.calls == []


async def test_text_and_number_are_different_keys() -> None:
    source = BatchRows(DEVICES)
    cache = LookupCache(None, keeps_missing=True, max_entries=10)
    table = table_of(source, cache=cache)
    assert await table.find([(1,), ("1",), (True,)]) == [DEVICES[:1], [], DEVICES[:1]]
    assert source.calls == [[(1,), ("1",), (True,)]]  # the source decides what equals what


async def test_a_key_may_be_a_list() -> None:
    source = BatchRows([{"id": [1, 2], "name": "x"}])
    assert await table_of(source).find([([1, 2],), ([1],)]) == [[{"id": [1, 2], "name": "x"}], []]


@given(st.lists(st.lists(st.integers(0, 6), max_size=8), max_size=6), st.integers(1, 4))
async def test_with_and_without_cache_and_batches_the_answers_are_the_same(
    questions: list[list[int]], size: int
) -> None:
    tables = [
        table_of(kind(DEVICES), cache=cache)
        for kind in (Rows, BatchRows)
        for cache in (None, LookupCache(None, keeps_missing=size > 2, max_entries=size))
    ]
    for question in questions:
        first, *others = [await table.find([(key,) for key in question]) for table in tables]
        assert first == [[row for row in DEVICES if row["id"] == key] for key in question]
        assert all(other == first for other in others)


# -- cache -----------------------------------------------------------------------------------------


async def test_the_cache_answers_until_its_time_is_up() -> None:
    clock, source = VirtualClock(START), BatchRows(DEVICES)
    cache = LookupCache(1000, keeps_missing=False, max_entries=10)
    table = table_of(source, clock, cache=cache)
    await table.find([(1,)])
    source.rows[0] = {"id": 1, "name": "uno"}
    await clock.advance_to(START + 999)
    assert await table.find([(1,)]) == [DEVICES[:1]]
    await clock.advance_to(START + 1000)
    assert await table.find([(1,)]) == [[{"id": 1, "name": "uno"}]]
    assert table.statistics() == (3, 2, 0, 1, 2, 0)


async def test_a_key_that_comes_twice_in_a_batch_is_one_miss() -> None:
    cache = LookupCache(None, keeps_missing=True, max_entries=10)
    table = table_of(BatchRows(DEVICES), cache=cache)
    await table.find([(1,), (1.0,), (9,)])
    assert table.statistics() == (3, 2, 0, 0, 2, 0)


async def test_a_missing_key_is_asked_for_again_unless_the_cache_keeps_it() -> None:
    for keeps, times in ((False, 2), (True, 1)):
        source = BatchRows()
        cache = LookupCache(None, keeps_missing=keeps, max_entries=10)
        table = table_of(source, cache=cache)
        assert await table.find([(1,)]) == await table.find([(1,)]) == [[]]
        assert len(source.calls) == times


async def test_an_error_is_not_remembered() -> None:
    source = BatchRows(DEVICES)
    source.failing[1] = Rejected("odd")
    table = table_of(source, cache=LookupCache(None, keeps_missing=True, max_entries=10))
    assert told(await table.find([(1,)])) == ["table t: odd"]
    source.failing.clear()
    assert await table.find([(1,)]) == [DEVICES[:1]]


# -- schema ----------------------------------------------------------------------------------------


async def test_declared_columns_are_converted_and_a_misfit_fails_its_key_alone() -> None:
    schema = Schema((FieldDef("id", ScalarType("BIGINT")), FieldDef("v", ScalarType("FLOAT"))))
    source = BatchRows([{"id": 1, "v": 2, "other": 3}, {"id": 2, "v": "x"}])
    table = table_of(source, schema=schema)
    first, second = told(await table.find([(1,), (2,)]))
    assert first == [{"id": 1, "v": 2.0}]
    assert type(first[0]["v"]) is float
    assert second.startswith("table t: column v: a float can't be made of")
    assert table.statistics().failed == 1


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Rows, BatchRows])
async def test_one_bad_key_fails_alone(kind: type[Rows]) -> None:
    source = kind([{"id": number} for number in range(20)])
    source.failing = {7: Rejected("not this one"), 13: RowError("nor that")}
    found = told(await table_of(source).find([(number,) for number in range(20)]))
    expected: list[Any] = [[{"id": number}] for number in range(20)]
    expected[7], expected[13] = "table t: not this one", "table t: nor that"
    assert found == expected
    assert len(source.calls) <= 20


async def test_a_defect_of_a_plugin_is_the_error_of_its_row_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Rows(DEVICES)
    source.failing = {1: ZeroDivisionError("oops"), 3: ZeroDivisionError("again")}
    found = told(await table_of(source).find([(1,), (2,), (3,)]))
    assert found[0].startswith("table t: ZeroDivisionError: oops at ")
    assert found[1] == DEVICES[1:]
    assert found[2].startswith("table t: ZeroDivisionError: again at ")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert caplog.records[0].exc_info is not None


async def test_answers_that_are_no_lists_are_errors() -> None:
    class Nothing(Rows):
        def find(self, keys: Sequence[str], values: Sequence[Any]) -> list[Row]:
            return None  # type: ignore[return-value]

    class TooFew(BatchRows):
        async def lookup_many(self, *args: Any) -> list[list[Row]]:
            return []

    expected = "table t: the lookup gave None, not a list of rows"
    assert told(await table_of(Nothing()).find([(1,)])) == [expected]
    expected = "table t: lookup_many gave 0 answers for 1 keys"
    assert told(await table_of(TooFew()).find([(1,), (2,)])) == [expected] * 2


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    class Slow(Rows):
        now = most = 0

        async def lookup(self, *args: Any) -> list[Row]:
            self.now += 1
            self.most = max(self.most, self.now)
            await self.ctx.clock.sleep_until(self.ctx.clock.now() + 100)
            self.now -= 1
            return []

    clock, source = VirtualClock(START), Slow()
    ctx = PlainContext(Path(), clock)
    table = table_of(source, clock, options=LookupOptions(concurrency=3), ctx=ctx)
    async with waiting(table, range(7)) as answers:
        await clock.advance_to(START + 299)
        assert not answers
        await clock.advance_to(START + 300)
    assert answers == [[]] * 7
    assert source.most == 3


# -- lost connections ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Rows, BatchRows])
async def test_rows_wait_for_a_source_that_is_not_connected(kind: type[Rows]) -> None:
    clock, source = VirtualClock(START), kind(DEVICES)
    ctx = PlainContext(Path(), clock)
    source.failing[1] = NotConnected("gone")
    async with waiting(table_of(source, clock, ctx=ctx), [1, 2]) as answers:
        await clock.advance_to(START + 5_000)
        assert not answers
        source.failing.clear()
        await clock.advance_to(START + 10_000)
    assert answers == [DEVICES[:1], DEVICES[1:]]
    assert source.openings == source.closings + 1 > 2
    assert ctx.reports[0] == (False, "gone")
    assert ctx.reports[-1] == (True, "")


async def test_only_the_keys_that_had_no_answer_are_asked_for_again() -> None:
    clock, source = VirtualClock(START), Rows(DEVICES)
    source.failing[1] = NotConnected("gone")
    async with waiting(table_of(source, clock), [1, 2]) as answers:
        source.failing.clear()
        await clock.advance_to(START + 1_000)
    assert answers == [DEVICES[:1], DEVICES[1:]]
    assert sorted(asked_by(source)) == [(1,), (1,), (2,)]


async def test_rows_fail_when_they_have_waited_long_enough_and_later_ones_at_once() -> None:
    clock, source = VirtualClock(START), BatchRows(DEVICES)
    source.failing[1] = NotConnected("gone")
    table = table_of(source, clock)
    async with waiting(table, [1]) as answers:
        await clock.advance_to(START + 9_999)
        assert not answers
        await clock.advance_to(START + 10_000)
    assert answers == ["table t: not connected: gone"]

    times = len(source.calls)
    assert told(await table.find([(1,)])) == ["table t: not connected: gone"]
    assert len(source.calls) == times + 1

    source.failing.clear()
    assert await table.find([(1,)]) == [DEVICES[:1]]
    source.failing[1] = NotConnected("gone again")  # a new loss is waited for again
    async with waiting(table, [1]) as answers:
        await clock.advance_to(START + 15_000)
        assert not answers
        source.failing.clear()
        await clock.advance_to(START + 20_000)
    assert answers == [DEVICES[:1]]


class Closed(Rows):
    """Can't be opened until it is told."""

    reason: Exception | None = NotConnected("no route")

    async def open(self) -> None:
        await super().open()
        if self.reason is not None:
            raise self.reason


async def test_a_source_that_is_down_at_the_start_is_no_error() -> None:
    clock, source = VirtualClock(START), Closed(DEVICES)
    link = link_to(source, clock)
    await link.open()
    assert (source.openings, source.closings) == (1, 1)
    table = LookupTable(link, ["id"], cache=None, clock=clock)
    async with waiting(table, [1]) as answers:
        source.reason = None
        await clock.advance_to(START + 1_000)
    assert answers == [DEVICES[:1]]
    await link.close()
    assert source.openings == source.closings


async def test_a_source_that_can_not_work_says_so_when_it_is_opened() -> None:
    source = Closed()
    source.reason = ConfigError("there is no table t")
    link = link_to(source, VirtualClock(START))
    with pytest.raises(ConfigError, match="there is no table"):
        await link.open()
    assert source.closings == 1
    table = LookupTable(link, ["id"], cache=None, clock=VirtualClock(START))
    assert told(await table.find([(1,)])) == ["table t: there is no table t"]


async def test_a_loss_that_others_have_mended_closes_nothing() -> None:
    """Of two rules that see the same loss, one is told so late that the source is open again."""
    clock = VirtualClock(START)

    class Switched(Rows):
        async def lookup(self, fields: Any, keys: Any, values: Sequence[Any]) -> list[Row]:
            (wait,) = values
            lost = self.openings == 1
            await clock.sleep_until(clock.now() + wait)
            if lost:
                raise NotConnected("cut off")
            assert self.closings == 1
            return DEVICES

    source = Switched()
    link = link_to(source, clock)
    tables = [LookupTable(link, ["id"], cache=None, clock=clock) for _ in range(3)]
    async with waiting(tables[0], [10]) as first, waiting(tables[1], [20]) as second:
        await clock.advance_to(START + 15)  # the first wants to close it and waits for the second
        async with waiting(tables[2], [1000]) as third:
            await clock.advance_to(START + 9_000)
    assert first == second == third == [DEVICES]
    assert (source.openings, source.closings) == (2, 1)


async def test_closing_waits_for_questions_under_way() -> None:
    clock = VirtualClock(START)

    class Slow(Rows):
        async def lookup(self, *args: Any) -> list[Row]:
            await clock.sleep_until(START + 100)
            assert not self.closings
            return DEVICES

    source = Slow()
    link = link_to(source, clock)
    table = LookupTable(link, ["id"], cache=None, clock=clock)
    async with waiting(table, [1]) as answers, anyio.create_task_group() as tasks:
        tasks.start_soon(link.close)
        await settled()
        await clock.advance_to(START + 100)
    assert answers == [DEVICES]
    assert source.closings == 1


async def test_a_cancelled_question_does_not_hold_the_source() -> None:
    class Stuck(Rows):
        async def lookup(self, *args: Any) -> list[Row]:
            await anyio.sleep_forever()
            return []

    source = Stuck()
    link = link_to(source, VirtualClock(START))
    table = LookupTable(link, ["id"], cache=None, clock=VirtualClock(START))
    with anyio.move_on_after(0.01):
        await table.find([(1,)])
    with anyio.fail_after(1):
        await link.close()
    assert source.closings == 1


async def test_an_instance_that_rules_share_sees_the_configuration_of_its_table() -> None:
    class Named(Config):
        names: tuple[str, ...]

    class Shared(LookupSource[Named]):
        async def lookup(self, *args: Any) -> list[Row]:
            return [{"name": name} for name in self.config.names]

    source, clock, ctx = Shared(), VirtualClock(START), PlainContext(Path())
    for name in ("a", "b"):
        link = LookupLink(name, source, Use(Named(names=(name,)), ctx), clock)
        table = LookupTable(link, ["id"], cache=None, clock=clock)
        assert await table.find([(1,)]) == [[{"name": name}]]
