"""A sink that isn't there gets its messages later: in order, bounded, each accounted for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from tests.conftest import eventually
from tests.forwarding.door import World, setting, taken

NOTHING: dict[tuple[str, str], int] = {}


async def test_after_a_minute_without_its_sink_a_rule_has_lost_nothing(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        rule = await here.start(resendInterval="1s")
        await here.push(*range(10))
        await eventually(lambda: here.world.got == list(range(10)))
        here.world.is_open = False
        for second in range(60):
            await here.push(*range(10 + second * 100, 110 + second * 100))
            await here.pass_time(1, steps=2)
        await taken(rule, 6_010)  # the source was not held up
        assert len(here.world.got) == 10
        assert rule.metrics.balance().pending == 6_000
        assert rule.status.connections
        here.world.is_open = True
        await here.until(lambda: len(here.world.got) == 6_010)
        assert here.world.got == list(range(6_010))
        await here.push(7_000)
        await eventually(lambda: here.world.got[-1] == 7_000)
        await here.engine.stop("r")
        assert rule.metrics.delivered == 6_011
        assert dict(rule.metrics.dropped) == NOTHING
        assert rule.metrics.balance().holds


async def test_what_memory_cannot_hold_is_on_the_disk_and_gone_once_sent(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        rule = await here.start(memoryCacheThreshold=256, bufferPageSize=256)
        for first in range(0, 3_000, 100):
            await here.push(*range(first, first + 100))
        await taken(rule, 3_000)
        folder = tmp_path / "data" / "cache" / "r" / "door_0"
        assert sum(file.stat().st_size for file in folder.glob("*.seg")) > 2_000 * 10
        here.world.is_open = True
        await here.until(lambda: len(here.world.got) == 3_000)
        assert here.world.got == list(range(3_000))
        await here.until(lambda: rule.metrics.balance().pending == 0)
        await here.engine.stop("r")
        assert sum(file.stat().st_size for file in folder.glob("*.seg")) < 1_000


async def test_beyond_the_bound_of_the_disk_the_oldest_are_dropped_and_counted(
    tmp_path: Path,
) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        rule = await here.start(memoryCacheThreshold=128, bufferPageSize=64, maxDiskCache=512)
        for first in range(0, 5_000, 50):
            await here.push(*range(first, first + 50))
        await taken(rule, 5_000)
        here.world.is_open = True
        await here.until(lambda: rule.metrics.balance().pending == 0)
        kept = len(here.world.got)
        assert 512 <= kept <= 512 + 128 + 64
        assert here.world.got == list(range(5_000 - kept, 5_000))
        (((place, reason), dropped),) = rule.metrics.dropped.items()
        assert (place, reason.split()[0], dropped) == ("sink[door_0]", "cache", 5_000 - kept)
        assert rule.metrics.balance().holds


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_cache_that_is_deleted_under_way_is_counted_and_begins_anew(
    tmp_path: Path, qos: int
) -> None:
    world = World()
    async with setting(tmp_path, world) as here:
        world.is_open = False
        rule = await here.start(memoryCacheThreshold=64, bufferPageSize=64, qos=qos)
        for first in range(0, 1_000, 50):
            await here.push(*range(first, first + 50))
        await taken(rule, 1_000)
        shutil.rmtree(tmp_path / "data" / "cache")
        for first in range(1_000, 1_500, 50):
            await here.push(*range(first, first + 50))
        await taken(rule, 1_500)
        await here.engine.stop("r")
        balance = rule.metrics.balance()
        lost = rule.metrics.dropped["sink[door_0]", "cache removed"]
        assert (balance.received, balance.cached + lost) == (1_500, 1_500)
        assert 1_000 - 128 <= lost <= 1_000
        assert balance.holds
    async with setting(tmp_path, world) as here:
        world.is_open = True
        await here.start(qos=qos)
        await here.until(lambda: len(world.got) == balance.cached)
        assert world.got == list(range(lost, 1_500))


@pytest.mark.parametrize("qos", [0, 1])
async def test_what_is_left_at_the_end_goes_out_first_in_the_next_run(
    tmp_path: Path, qos: int
) -> None:
    world = World()
    async with setting(tmp_path, world) as here:
        world.is_open = False
        rule = await here.start(qos=qos)
        await here.push(*range(500))
        await taken(rule, 500)
        await here.engine.stop("r")
        balance = rule.metrics.balance()
        assert (balance.received, balance.cached, balance.pending) == (500, 500, 0)
        assert balance.holds
    async with setting(tmp_path, world) as here:
        rule = await here.start(qos=qos)
        await here.push(*range(500, 600))
        await taken(rule, 100)
        world.is_open = True
        await here.until(lambda: len(world.got) == 600)
        assert world.got == list(range(600))
        await here.engine.stop("r")
        balance = rule.metrics.balance()
        assert (balance.recovered, balance.received, balance.delivered) == (500, 100, 600)
        assert balance.holds


async def test_a_rule_may_drop_what_is_left_at_its_end(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        rule = await here.start(cleanCacheAtStop=True)
        await here.push(*range(50))
        await taken(rule, 50)
        await here.engine.stop("r")
        assert rule.metrics.dropped == {("sink[door_0]", "cache deleted at stop"): 50}
        assert rule.metrics.balance().holds
        here.world.is_open = True
        await here.engine.restart("r")
        await here.push(99)
        await eventually(lambda: here.world.got == [99])


async def test_a_rule_that_is_deleted_takes_its_cache_with_it(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        rule = await here.start()
        await here.push(*range(50))
        await taken(rule, 50)
        await here.engine.stop("r")
        assert (tmp_path / "data" / "cache" / "r").is_dir()
        await here.engine.delete("r")
        assert not (tmp_path / "data" / "cache" / "r").exists()


async def test_a_sink_takes_part_of_a_page_before_it_is_gone_again(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        rule = await here.start()
        await here.push(*range(300))
        await taken(rule, 300)
        for capacity in (1, 99, 57):
            here.world.capacity, here.world.is_open = capacity, True
            before = len(here.world.got)
            await here.until(lambda: not here.world.is_open)
            assert len(here.world.got) == before + capacity
        here.world.capacity, here.world.is_open = None, True
        await here.until(lambda: len(here.world.got) == 300)
        assert here.world.got == list(range(300))
        await here.until(lambda: rule.metrics.delivered == 300)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_stop_in_the_middle_of_a_page_repeats_nothing(tmp_path: Path, qos: int) -> None:
    async with setting(tmp_path) as here:
        world = here.world
        world.is_open = False
        rule = await here.start(qos=qos, bufferPageSize=8, memoryCacheThreshold=16)
        await here.push(*range(30))
        for more in (3, 2):  # twice, so that what was left of a page is left in part again
            world.capacity, world.is_open = more, True
            await here.until(lambda: not world.is_open)
            await here.engine.stop("r")
            assert rule.metrics.balance().holds
            await here.engine.start("r")
            rule = here.engine.rules["r"]
        world.capacity, world.is_open = None, True
        await here.until(lambda: len(world.got) == 30)
        await here.engine.stop("r")
        assert world.got == list(range(30))
        assert rule.metrics.balance().holds


async def test_what_the_sink_refuses_later_is_given_up_alone(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        here.world.refused = lambda number: number % 10 == 3
        rule = await here.start()
        await here.push(*range(100))
        await taken(rule, 100)
        here.world.is_open = True
        await here.until(lambda: rule.metrics.balance().pending == 0)
        assert here.world.got == [number for number in range(100) if number % 10 != 3]
        assert rule.metrics.dropped == {("sink[door_0]", "rejected"): 10}
        assert rule.metrics.balance().holds


@pytest.mark.parametrize("priority", [-1, 0, 1])
async def test_new_results_may_pass_those_that_wait(tmp_path: Path, priority: int) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        rule = await here.start(
            resendAlterQueue=True, resendPriority=priority, resendIndicatorField="again"
        )
        await here.push(*range(1_000))
        await taken(rule, 1_000)
        here.world.is_open = True
        await here.push(*range(1_000, 1_100))
        await here.until(lambda: len(here.world.got) == 1_100)
        assert sorted(here.world.got) == list(range(1_100))
        again = {row["n"] for row in here.world.rows if row.get("again")}
        assert set(range(1_000)) <= again
        resent = [number for number in here.world.got if number in again]
        assert resent == sorted(resent)
        await here.until(lambda: rule.metrics.balance().pending == 0)
        assert rule.metrics.balance().holds


@pytest.mark.parametrize(
    ("destination", "topics"),
    [("late", ["late"] * 3), ("late/{{.n}}", ["late/0", "late/1", "late/2"])],
)
async def test_what_waited_may_go_somewhere_else(
    tmp_path: Path, destination: str, topics: list[str]
) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        rule = await here.start(resendDestination=destination, topic="now/{{.n}}")
        await here.push(0, 1, 2)
        await taken(rule, 3)
        here.world.is_open = True
        await here.until(lambda: len(here.world.got) == 3)
        await here.until(lambda: rule.metrics.balance().pending == 0)
        await here.push(3)
        await eventually(lambda: len(here.world.got) == 4)
        assert here.world.topics == [*topics, "now/3"]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"memoryCacheThreshold": 100}, "memoryCacheThreshold (100) must be a multiple"),
        ({"bufferPageSize": 0}, "bufferPageSize must be at least 1"),
        ({"resendInterval": "soon"}, "resendInterval"),
        ({"resendPriority": 2, "resendAlterQueue": True}, "resendPriority"),
        ({"resendDestination": "{{.n"}, "resendDestination"),
    ],
)
async def test_options_that_cant_work_are_refused(
    tmp_path: Path, properties: dict[str, Any], message: str
) -> None:
    async with setting(tmp_path) as here:
        with pytest.raises(ConfigError) as caught:
            await here.start(**properties)
        assert message in str(caught.value)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 200)),
        st.tuples(st.just("shut"), st.integers(0, 300)),
        st.tuples(st.just("open"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 3)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@example(events=[("shut", 1), ("push", 2), ("restart", 0)], qos=0, page=8)
@example(events=[("shut", 1), ("push", 9), ("wait", 1), ("restart", 0)], qos=1, page=8)
@given(events=EVENTS, qos=st.sampled_from([0, 1]), page=st.sampled_from([1, 8, 64]))
async def test_whatever_happens_each_row_arrives_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]], qos: int, page: int
) -> None:
    pushed = 0
    async with setting(tmp_path_factory.mktemp("story")) as here:
        world = here.world
        rule = await here.start(qos=qos, bufferPageSize=page, memoryCacheThreshold=64)
        for what, number in events:
            if what == "push":
                await here.push(*range(pushed, pushed + number))
                pushed += number
            elif what == "shut":
                world.capacity = number
                world.is_open = number > 0
            elif what == "open":
                world.capacity, world.is_open = None, True
            elif what == "wait":
                await here.pass_time(number, steps=3)
            else:
                await here.engine.restart("r")
                rule = here.engine.rules["r"]
        world.capacity, world.is_open = None, True
        await here.until(lambda: len(world.got) >= pushed)
        await here.engine.stop("r")
        assert world.got == list(range(pushed))
        assert rule.metrics.balance().holds
        assert rule.metrics.balance().pending == 0
