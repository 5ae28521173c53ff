"""An alarm rings when the clock has reached the time that was last set, and only then."""

from __future__ import annotations

import anyio

from engine.clock import VirtualClock
from engine.run.alarm import Alarm


async def test_an_alarm_rings_at_the_time_that_was_last_set() -> None:
    clock, rung = VirtualClock(), []
    async with anyio.create_task_group() as tasks:
        alarm = Alarm(clock, rung.append, tasks, "alarm")
        alarm.set(100)
        await clock.advance_to(99)
        assert rung == []
        await clock.advance_to(100)
        assert rung == [100]
        await clock.advance_to(500)
        assert rung == [100]
        alarm.set(900)
        await clock.advance_to(600)
        alarm.set(700)  # sooner
        alarm.set(800)  # later again
        await clock.advance_to(850)
        assert rung == [100, 800]
        alarm.set(1000)
        await clock.advance_to(900)
        alarm.set(None)
        await clock.advance_to(2000)
        assert rung == [100, 800]
        alarm.set(1500)  # in the past already: at once
        await clock.advance_to(2001)
        assert rung == [100, 800, 1500]
        alarm.set(2500)
        alarm.end()
        alarm.set(2500)
    await clock.advance_to(3000)
    assert rung == [100, 800, 1500]
