"""Schedules as spans of time: cron, lengths, ranges, time zones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import ConfigError
from engine.config.rules import rule_from
from engine.run.cron import parse_cron
from engine.run.schedule import Schedule, Span, local_zone, run_length, schedule_of

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = 60_000
HOUR = 60 * MINUTE


def at(text: str, zone: Any = UTC) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def schedule(now: str = "2024-01-01T00:00", **options: Any) -> Schedule:
    rule = rule_from(
        {"id": "r", "sql": "SELECT a FROM s", "actions": [{"nop": {}}], "options": options}
    )
    made = schedule_of(rule, UTC, at(now))
    assert made is not None
    return made


# -- cron --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 6 * * *", "2024-01-01T06:00", "2024-01-02T06:00"),
        ("0 6 * * *", "2024-01-01T05:59:59.999", "2024-01-01T06:00"),
        ("*/15 9-17 * * MON-FRI", "2024-01-05T17:50", "2024-01-08T09:00"),
        ("0 0 1 1 ?", "2024-01-01T00:00", "2025-01-01T00:00"),
        ("0 0 29 2 *", "2024-03-01T00:00", "2028-02-29T00:00"),
        ("@hourly", "2024-01-01T00:00", "2024-01-01T01:00"),
        ("@weekly", "2024-01-01T00:00", "2024-01-07T00:00"),
        ("@every 90m", "2024-01-01T02:00", "2024-01-01T03:00"),
        ("TZ=Asia/Tokyo 0 6 * * *", "2024-01-01T00:00", "2024-01-01T21:00"),
        ("CRON_TZ=Asia/Tokyo @daily", "2024-01-01T00:00", "2024-01-01T15:00"),
    ],
)
def test_a_cron_expression_has_a_next_tick(expression: str, after: str, expected: str) -> None:
    ticks = parse_cron(expression, UTC, at("2024-01-01T00:00"))
    assert ticks.after(at(after)) == at(expected)
    assert ticks.until(at(expected)) == at(expected)


def test_clocks_that_go_forward_and_back() -> None:
    ticks = parse_cron("30 2 * * *", BERLIN, 0)
    assert ticks.after(at("2024-03-30T12:00", BERLIN)) == at("2024-03-31T03:00", BERLIN)
    first = ticks.after(at("2024-10-26T12:00", BERLIN))
    assert first == at("2024-10-27T00:30")  # 02:30 summer time
    assert ticks.after(first) == at("2024-10-28T02:30", BERLIN)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("61 * * * *", "Bad minute"),
        ("* * * *", "has 4 fields, cron needs 5"),
        ("0 0 0 * * *", "has 6 fields"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("@often", "unknown schedule '@often'"),
        ("@every soon", "'soon' is not a duration"),
        ("@every 10ms", "too often"),
        ("TZ=Mars/Base 0 6 * * *", "unknown time zone 'Mars/Base'"),
        ("TZ=../../etc 0 6 * * *", "unknown time zone"),
    ],
)
def test_a_bad_expression_is_refused_with_its_place(expression: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"rule r: cron: .*{message}"):
        schedule(cron=expression)


# -- spans -------------------------------------------------------------------------------------


def test_with_a_length_a_run_is_due_from_each_tick_for_that_long() -> None:
    made = schedule("2024-01-01T06:20", cron="0 6 * * *", duration="30m")
    assert made.current(at("2024-01-01T06:20")) == Span(
        at("2024-01-01T06:00"), at("2024-01-01T06:30")
    )
    assert made.current(at("2024-01-01T06:30")) is None
    assert made.next_begin(at("2024-01-01T06:20")) == at("2024-01-02T06:00")
    assert made.next_change(at("2024-01-01T06:20")) == at("2024-01-01T06:30")


def test_ticks_alone_count_from_when_the_rule_was_started() -> None:
    made = schedule("2024-01-01T06:20", cron="0 6 * * *")
    assert made.current(at("2024-01-01T06:20")) is None
    assert made.current(at("2024-01-02T07:00")) == Span(at("2024-01-02T06:00"), None)


def test_the_bounds_of_a_range_are_exclusive() -> None:
    made = schedule(
        cronDatetimeRange=[{"begin": "2024-01-01 08:00:00", "end": "2024-01-01 09:00:00"}]
    )
    begin, end = at("2024-01-01T08:00"), at("2024-01-01T09:00")
    assert made.current(begin) is None
    assert made.current(begin + 1) == made.current(end - 1) == Span(begin + 1, end)
    assert made.current(end) is None
    assert made.next_begin(end) is None


def test_ranges_cut_what_cron_begins() -> None:
    day = {"begin": "2024-01-02 06:10:00", "end": "2024-01-02 06:20:00"}
    late = {
        "beginTimestamp": at("2024-01-05T12:00"),
        "endTimestamp": at("2024-01-06T06:05"),
    }
    made = schedule(cron="0 6 * * *", duration="30m", cronDatetimeRange=[day, late])
    assert made.next_begin(at("2024-01-01T00:00")) == at("2024-01-02T06:10") + 1
    assert made.current(at("2024-01-02T06:15")) == Span(
        at("2024-01-02T06:10") + 1, at("2024-01-02T06:20")
    )
    assert made.next_begin(at("2024-01-02T06:15")) == at("2024-01-06T06:00")
    assert made.current(at("2024-01-06T06:04")) == Span(
        at("2024-01-06T06:00"), at("2024-01-06T06:05")
    )
    assert made.next_begin(at("2024-01-06T06:05")) is None


def test_a_range_that_ends_before_it_begins_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="the end isn't after the begin"):
        schedule(cronDatetimeRange=[{"begin": "2024-01-02 06:10:00", "end": "2024-01-01 06:10:00"}])


@given(
    period=st.integers(2, 9),
    length=st.none() | st.integers(1, 12),
    bounds=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=3),
    armed=st.integers(0, 20),
)
def test_the_next_begin_is_the_first_instant_of_a_span(
    period: int, length: int | None, bounds: list[tuple[int, int]], armed: int
) -> None:
    """Looking at every minute finds the same begins and ends as asking for the next one."""
    ticks = parse_cron(f"@every {period}m", UTC, armed * MINUTE)
    ranges = [Span(begin * MINUTE, (begin + size) * MINUTE) for begin, size in bounds]
    made = Schedule(ticks, None if length is None else length * MINUTE, ranges, armed * MINUTE)
    now = 0
    for minute in range(1, 60):
        then = minute * MINUTE
        span = made.current(then)
        begins = span is not None and span.begin == then
        asked = made.next_begin(then - MINUTE)
        assert (asked == then) is begins
        if made.current(then) != made.current(then - MINUTE):
            assert made.next_change(now) is not None
            assert made.next_change(then - MINUTE) == then
            now = then


def test_only_without_cron_does_duration_end_a_run_by_itself() -> None:
    plain = {"id": "r", "sql": "SELECT a FROM s", "actions": [{"nop": {}}]}
    assert run_length(rule_from({**plain, "options": {"duration": "10s"}})) == 10_000
    with_cron = {"duration": "10s", "cron": "* * * * *"}
    assert run_length(rule_from({**plain, "options": with_cron})) is None
    assert run_length(rule_from(plain)) is None
    assert schedule_of(rule_from({**plain, "options": {"duration": "10s"}}), UTC, 0) is None


def test_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert local_zone() == ZoneInfo("Asia/Tokyo")
    monkeypatch.setenv("TZ", "No/Where")
    assert local_zone() is UTC
