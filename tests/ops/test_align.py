from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ops.align import first_end
from engine.sql.names import UNIT_MILLIS

BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")


def millis(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("now", "interval", "unit", "expected"),
    [
        ("2023-11-14T22:00:08Z", 7_000, "SS", "2023-11-14T22:00:14Z"),
        ("2023-11-14T22:00:58Z", 7_000, "SS", "2023-11-14T22:01:03Z"),
        ("2023-11-14T22:01:30Z", 120_000, "SS", "2023-11-14T22:03:00Z"),
        ("2023-11-14T22:01:30Z", 120_000, "MI", "2023-11-14T22:02:00Z"),
        ("2023-11-14T22:30:00Z", 5 * 3_600_000, "HH", "2023-11-15T01:00:00Z"),
        ("2023-11-14T22:30:00Z", 86_400_000, "DD", "2023-11-15T00:00:00Z"),
        ("2023-11-14T22:30:00Z", 2 * 86_400_000, "DD", "2023-11-16T00:00:00Z"),
        ("2023-11-14T22:00:00.700Z", 500, "MS", "2023-11-14T22:00:01Z"),
        ("2023-11-14T22:00:00.700Z", 1_500, "MS", "2023-11-14T22:00:01.500Z"),
    ],
)
def test_windows_end_at_multiples_within_the_enclosing_unit(
    now: str, interval: int, unit: str, expected: str
) -> None:
    assert first_end(millis(now), interval, unit) == millis(expected)


@pytest.mark.parametrize("offset", [0, 1, 500, 999])
def test_the_end_is_later_than_now_where_the_reference_is_off_by_one(offset: int) -> None:
    now = millis("2023-11-14T22:00:10Z")
    assert first_end(now + offset, 10_000, "SS") == now + 10_000


def test_days_begin_at_local_midnight() -> None:
    now = millis("2023-11-14T22:30:00Z")  # 23:30 in Berlin, 04:00 of the next day in Kolkata
    assert first_end(now, 86_400_000, "DD", BERLIN) == millis("2023-11-15T00:00:00+01:00")
    assert first_end(now, 86_400_000, "DD", KOLKATA) == millis("2023-11-16T00:00:00+05:30")


def test_hours_are_counted_from_a_midnight_before_the_change_of_clocks() -> None:
    now = millis("2023-10-29T12:00:00+01:00")  # clocks went back at 03:00, so 13 h after midnight
    assert first_end(now, 6 * 3_600_000, "HH", BERLIN) == millis("2023-10-29T17:00:00+01:00")


def test_minutes_are_counted_from_an_hour_of_a_zone_with_half_hours() -> None:
    now = millis("2023-11-14T22:45:00+05:30")
    assert first_end(now, 25 * 60_000, "MI", KOLKATA) == millis("2023-11-14T22:50:00+05:30")


@pytest.mark.parametrize("now", [-10_001, 0, 10**17, -(10**17)])
def test_moments_that_no_calendar_has_are_aligned_all_the_same(now: int) -> None:
    assert 0 < first_end(now, 10_000, "SS", BERLIN) - now <= 10_000


@given(
    now=st.integers(-(10**13), 10**14),
    count=st.integers(1, 400),
    unit=st.sampled_from(sorted(UNIT_MILLIS)),
    zone=st.sampled_from([BERLIN, KOLKATA]),
)
def test_the_first_end_is_never_more_than_an_interval_away(
    now: int, count: int, unit: str, zone: ZoneInfo
) -> None:
    interval = count * UNIT_MILLIS[unit]
    assert 0 < first_end(now, interval, unit, zone) - now <= interval
