"""Flags: waited for by nobody or by many, set, cleared and pulsed."""

from __future__ import annotations

import anyio

from engine.clock import VirtualClock, settled
from engine.run.waiting import Flag, happens_within


async def test_a_flag_lets_all_go_on_who_wait_and_those_who_come_later() -> None:
    flag, passed = Flag(), []

    async def wait(name: str) -> None:
        await flag.wait()
        passed.append(name)

    async with anyio.create_task_group() as tasks:
        for name in ("a", "b"):
            tasks.start_soon(wait, name)
        await settled()
        assert not passed
        flag.set()
        await settled()
        assert passed == ["a", "b"]
        await wait("c")
        flag.clear()
        assert not flag.is_set()
        tasks.start_soon(wait, "d")
        await settled()
        assert passed == ["a", "b", "c"]
        flag.pulse()
        await settled()
        assert passed == ["a", "b", "c", "d"]
        assert not flag.is_set()


async def test_one_who_gives_up_waiting_keeps_nobody_from_it() -> None:
    flag, passed = Flag(), []

    async def wait() -> None:
        await flag.wait()
        passed.append(1)

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(wait)
            await settled()
            scope.cancel()
            await flag.wait()
        assert scope.cancelled_caught
        flag.set()
    assert passed == [1]


async def test_a_flag_that_is_set_in_time_has_happened() -> None:
    clock, flag, found = VirtualClock(), Flag(), []

    async def wait(seconds: float) -> None:
        found.append(await happens_within(clock, flag, seconds))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, 1)
        tasks.start_soon(wait, 5)
        await settled()
        await clock.advance_to(1_000)
        assert found == [False]
        flag.set()
    assert found == [False, True]
