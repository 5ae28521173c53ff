"""Rules that keep to a schedule, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from engine import ConfigError, Engine
from engine.api import Batch, Config, Source
from engine.clock import VirtualClock, settled
from engine.registry import PluginKind
from tests.life.support import HOUR, MINUTE, SECOND, START, Journal, marked, started

WAITING = "stopped: waiting for next schedule."
DAY = 24 * HOUR


async def test_cron_and_duration_start_and_stop_a_rule(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    made = await started(engine, marked(cron="0 6 * * *", duration="30m"))
    assert made.status.state == WAITING
    assert engine.status("r").next_start == START + 6 * HOUR
    assert engine.status("r").flat()["nextStartTimestamp"] == START + 6 * HOUR
    for day in range(3):
        await clock.advance_to(START + day * DAY + 6 * HOUR)
        assert made.status.state == "running"
        await engine.push("demo", [{"n": day}])
        await clock.advance_to(START + day * DAY + 6 * HOUR + 30 * MINUTE)
        assert made.status.state == WAITING
        assert engine.status("r").next_start == START + (day + 1) * DAY + 6 * HOUR
    assert journal.events == [
        event for day in range(3) for event in ("open", f"row {day}", "close")
    ]
    assert engine.status("r").last_stop == START + 2 * DAY + 6 * HOUR + 30 * MINUTE


async def test_a_rule_that_is_started_within_its_slot_runs_for_the_rest_of_it(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    await clock.advance_to(START + 6 * HOUR + 20 * MINUTE)
    made = await started(engine, marked(cron="0 6 * * *", duration="30m"))
    assert made.status.state == "running"
    await clock.advance_to(START + 6 * HOUR + 30 * MINUTE)
    assert made.status.state == WAITING


async def test_a_manual_stop_wins_over_the_schedule(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    made = await started(engine, marked(cron="0 6 * * *", duration="30m"))
    await engine.stop("r")
    assert made.status.state == "stopped"
    assert engine.status("r").next_start == 0
    await clock.advance_to(START + 2 * DAY)
    assert journal.events == []
    await engine.start("r")
    assert made.status.state == WAITING
    await clock.advance_to(START + 2 * DAY + 6 * HOUR)
    await engine.stop("r")
    await clock.advance_to(START + 4 * DAY)
    assert journal.events == ["open", "close"]


async def test_starting_a_waiting_rule_changes_nothing(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    made = await started(engine, marked(cron="0 6 * * *", duration="30m"))
    await engine.start("r")
    await settled()
    assert (made.status.state, journal.events) == (WAITING, [])


async def test_duration_alone_ends_each_run(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    made = await started(engine, marked(duration="10m"))
    await clock.advance_to(START + 10 * MINUTE)
    assert (made.status.state, made.status.message) == ("stopped", "duration terminated")
    await engine.start("r")
    await settled()
    await clock.advance_to(START + 20 * MINUTE - 1)
    assert made.status.state == "running"
    await clock.advance_to(START + 20 * MINUTE)
    assert (made.status.state, made.status.message) == ("stopped", "duration terminated")
    assert journal.events == ["open", "close"] * 2


async def test_a_rule_stopped_before_its_duration_is_over_stays_so(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    made = await started(engine, marked(duration="10m"))
    await clock.advance_to(START + 5 * MINUTE)
    await engine.restart("r")
    await settled()
    await clock.advance_to(START + 10 * MINUTE)
    assert made.status.state == "running"  # the time of the first run is of no account
    await clock.advance_to(START + 15 * MINUTE)
    assert made.status.message == "duration terminated"


async def test_cron_alone_begins_runs_that_end_with_their_source(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    class Nightly(Source[Config]):
        async def run(self, emit: Any) -> None:
            await emit(Batch([{"n": 1}]))

    engine.plugins.register(PluginKind.SOURCE, "nightly", Nightly)
    engine.define_stream("s", type="nightly")
    made = await started(engine, marked(sql="SELECT n FROM s", cron="@every 1h"))
    for hour in range(1, 4):
        await clock.advance_to(START + hour * HOUR)
        assert (made.status.state, made.status.message) == (WAITING, "done")
    assert journal.events == ["open", "row 1", "close"] * 3


async def test_a_tick_while_the_rule_runs_does_nothing(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    await started(engine, marked(cron="*/5 * * * *", duration="5m"))
    await clock.advance_to(START + HOUR)
    assert journal.events == ["open"]


async def test_a_rule_runs_within_its_ranges_only(
    engine: Engine, journal: Journal, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    ranges = [
        {"begin": "2024-01-01 01:00:00", "end": "2024-01-01 02:00:00"},
        {"beginTimestamp": START + 3 * HOUR, "endTimestamp": START + 4 * HOUR},
    ]
    made = await started(engine, marked(cronDatetimeRange=ranges))
    states = []
    for half in range(9):
        await clock.advance_to(START + half * HOUR // 2 + SECOND)
        states.append(str(made.status.state))
    off, on = WAITING, "running"
    assert states == [off, off, on, on, off, off, on, on, "stopped"]
    assert made.status.message == "no scheduled time is left"
    assert "rule=r runs no more by its schedule: no scheduled time is left" in caplog.messages
    await engine.quiet()


async def test_a_scheduled_rule_that_failed_gets_its_next_chance(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    journal.fails = lambda mark: clock.now() < START + 7 * HOUR
    made = await started(engine, marked(cron="0 * * * *", duration="10m"))
    await clock.advance_to(START + 6 * HOUR)
    assert made.status.state == "stopped by error"
    assert engine.status("r").next_start == START + 7 * HOUR
    await clock.advance_to(START + 7 * HOUR)
    assert made.status.state == "running"


async def test_a_failed_scheduled_rule_can_be_started_by_hand(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    journal.fails = lambda mark: clock.now() < START + MINUTE
    made = await started(engine, marked(cron="0 * * * *", duration="10m"))
    assert made.status.state == "stopped by error"
    await clock.advance_to(START + MINUTE)
    await engine.start("r")
    await settled()
    assert made.status.state == "running"
    await clock.advance_to(START + 10 * MINUTE)
    assert made.status.state == WAITING


async def test_a_schedule_can_be_replaced(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    await started(engine, marked(cron="0 6 * * *", duration="30m"))
    await engine.update(marked(cron="0 3 * * *", duration="30m"))
    await clock.advance_to(START + 3 * HOUR + MINUTE)
    assert journal.taken() == ["open"]
    await clock.advance_to(START + 6 * HOUR)
    assert journal.taken() == ["close"]
    await clock.advance_to(START + 6 * HOUR + MINUTE)
    assert journal.taken() == []


async def test_a_deleted_rule_is_not_started_by_its_schedule(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    await started(engine, marked(cron="0 6 * * *", duration="30m"))
    await engine.delete("r")
    await clock.advance_to(START + 2 * DAY)
    assert journal.events == []


async def test_a_bad_schedule_is_refused_at_the_start(engine: Engine, journal: Journal) -> None:
    with pytest.raises(ConfigError, match=r"rule r: cron: .6 o'clock. has 2 fields"):
        await engine.create(marked(cron="6 o'clock"))
    assert not engine.rules


async def test_a_waiting_rule_is_checked_when_it_is_defined(
    engine: Engine, journal: Journal
) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        await engine.start({**marked(cron="0 6 * * *"), "actions": [{"journal": {"nark": "x"}}]})
    assert not engine.rules
