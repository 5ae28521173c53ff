"""Date and time functions, as in the function catalogue, sections 5, 19, 20 and 21."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from engine.errors import EngineError
from engine.functions.time_pattern import time_pattern
from engine.functions.timestamp import parse, to_epoch_ms
from engine.testing import START
from tests.functions.calls import Failed, example_holds, examples, outcome_of, value_of

LEAP_DAY = 1_709_214_356_789  # 2024-02-29T13:45:56.789Z
PARTS = (
    *("year", "quarter", "month", "week", "day_of_month", "day", "day_of_week", "day_of_year"),
    *("hour", "minute", "second", "microsecond", "day_name", "month_name", "last_day"),
)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize("example", examples("datetime"))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize(
    "call",
    [
        *(f"{name}(a)" for name in PARTS),
        "now(null)",
        "cur_time(null)",
        "format_time(a, 'yyyy')",
        "format_time(z, a)",
        "to_timestamp(a)",
        "from_days(a)",
        "from_unix_time(a)",
        "date_calc(a, '1h')",
        "date_calc(z, null)",
        "date_diff(a, z)",
        "date_diff(z, a)",
        "date_trunc('day', a)",
        "date_trunc(a, z)",
    ],
)
async def test_null_gives_null(call: str) -> None:
    assert await outcome_of(call, z=0) is None


@pytest.mark.parametrize("empty", [[], {}])
@pytest.mark.parametrize(
    "call",
    [
        "format_time(a, 'yyyy')",
        "format_time(z, a)",
        "to_timestamp(a)",
        "from_days(a)",
        "from_unix_time(a)",
        "date_trunc(a, z)",
    ],
)
async def test_an_empty_container_counts_as_null(call: str, empty: Any) -> None:
    assert await outcome_of(call, a=empty, z=0) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("year", 2024),
        ("quarter", 1),
        ("month", 2),
        ("week", 9),
        ("day_of_month", 29),
        ("day", 29),
        ("day_of_week", 4),
        ("day_of_year", 60),
        ("hour", 13),
        ("minute", 45),
        ("second", 56),
        ("microsecond", 789_000),
        ("day_name", "Thursday"),
        ("month_name", "February"),
        ("last_day", "2024-02-29"),
    ],
)
@pytest.mark.parametrize(
    "time",
    [LEAP_DAY, LEAP_DAY + 0.9, "2024-02-29T13:45:56.789Z", utc(2024, 2, 29, 13, 45, 56, 789000)],
)
async def test_parts_of_a_time(name: str, value: Any, time: Any) -> None:
    assert await value_of(f"{name}(t)", t=time) == value


@pytest.mark.parametrize("wrong", ["not a date", "", True, [1], {"x": 1}, b"2024", 1e300])
@pytest.mark.parametrize("name", PARTS)
async def test_what_is_no_time_is_an_error(name: str, wrong: Any) -> None:
    assert await outcome_of(f"{name}(a)", a=wrong) is Failed


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("day_of_week('2024-03-03')", 0),
        ("day_of_week('2024-03-02') + 1", 7),
        ("day_of_week(before)", 3),
        ("week('2021-01-03')", 53),
        ("week('2024-12-30')", 1),
        ("quarter('2024-12-31')", 4),
        ("microsecond(before)", 999_000),
        ("last_day('2023-02-01')", "2023-02-28"),
        ("day_of_year('2024-12-31')", 366),
        ("hour('2023-11-05T07:08:09+08:00')", 7),
        ("hour()", EngineError),
        ("hour(1, 2)", EngineError),
        ("hour(true)", EngineError),
        ("hour(0)", EngineError),
        ("hour(1.5)", EngineError),
        ("date_diff(before, false)", EngineError),
        ("date_diff('2024-02-29', 1)", EngineError),
        ("format_time(true, 'HH')", EngineError),
        ("year(0 + 253402300800000)", Failed),
        ("year(0 - 62135596800001)", Failed),
        ("year(0 - 62135596800000)", 1),
    ],
)
async def test_edges_of_parts(call: str, value: Any) -> None:
    assert await outcome_of(call, before=-1) == value


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024", utc(2024, 1, 1)),
        ("2024-03", utc(2024, 3, 1)),
        ("2024-02-29", utc(2024, 2, 29)),
        ("2024-2-9 3:4:5", utc(2024, 2, 9, 3, 4, 5)),
        ("2024/02/29 13:45:56", utc(2024, 2, 29, 13, 45, 56)),
        ("2024.02.29", utc(2024, 2, 29)),
        ("20240229", utc(2024, 2, 29)),
        ("20240229T134556Z", utc(2024, 2, 29, 13, 45, 56)),
        ("2024-W09-4", utc(2024, 2, 29)),
        ("2024-02-29T13", utc(2024, 2, 29, 13)),
        ("2024-02-29T13:45Z", utc(2024, 2, 29, 13, 45)),
        ("2024-02-29 13:45:56Z", utc(2024, 2, 29, 13, 45, 56)),
        ("2024-02-29 13:45:56 +0000 UTC", utc(2024, 2, 29, 13, 45, 56)),
        ("2024-02-29T13:45:56.5", utc(2024, 2, 29, 13, 45, 56, 500_000)),
        ("2024-02-29T13:45:56,123456789Z", utc(2024, 2, 29, 13, 45, 56, 123_456)),
        ("2024-02-29T13:45:56+05:30", utc(2024, 2, 29, 8, 15, 56)),
        ("2024-02-29T13:45:56-07", utc(2024, 2, 29, 20, 45, 56)),
        ("Thu, 29 Feb 2024 13:45:56 GMT", utc(2024, 2, 29, 13, 45, 56)),
        ("29 Feb 24 13:45 -0100", utc(2024, 2, 29, 14, 45)),
        ("Thursday, 29-Feb-24 13:45:56 UTC", utc(2024, 2, 29, 13, 45, 56)),
        ("Thu Feb 29 13:45:56 2024", utc(2024, 2, 29, 13, 45, 56)),
    ],
)
def test_text_that_is_a_time(text: str, moment: datetime) -> None:
    assert parse(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("", " 2024-02-29", "12", "1-2", "13:14:15", "3:04PM", "1/2/2006", "31/12/2006"),
        *("1709214356", "1709214356789", "20060102150405", "2023-02-29", "2024-13-01"),
        *("2024-02-29T24:00:00", "2024-02-29T13:45:56+99:00", "2024-02-29T13:45:56+24:00"),
        *("2024-02/29", "2024-W60-1", "Thu, 31 Feb 2024 13:45:56 GMT", "٢٠٢٤-01-01", "2024\n"),
        *("9" * 100_000, "2024-01-01T" + "0" * 100_000),
    ],
)
def test_text_that_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse(text)


def test_milliseconds_are_exact() -> None:
    assert to_epoch_ms(utc(1969, 12, 31, 23, 59, 59, 999_999)) == -1


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("now()", "2024-01-01 00:00:00"),
        ("now(0)", "2024-01-01 00:00:00"),
        ("now(3)", "2024-01-01 00:00:00.000"),
        ("now(6)", "2024-01-01 00:00:00.000000"),
        ("now(2)", "2024-01-01 00:00:00.00"),
        ("now(p)", EngineError),
        ("cur_time(1 + 1)", EngineError),
        ("now(7)", EngineError),
        ("now(-1)", EngineError),
        ("now(1.5)", EngineError),
        ("current_timestamp()", "2024-01-01 00:00:00"),
        ("local_time()", "2024-01-01 00:00:00"),
        ("local_timestamp()", "2024-01-01 00:00:00"),
        ("cur_time()", "00:00:00"),
        ("current_time(1)", "00:00:00.0"),
        ("cur_date()", "2024-01-01"),
        ("current_date()", "2024-01-01"),
        ("tstamp()", START),
    ],
)
async def test_the_clock(call: str, value: Any) -> None:
    assert await outcome_of(call, p=2) == value


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("YYYY-MM-dd", "2024-02-09"),
        ("yyyy/yy/YY", "2024/24/24"),
        ("M d H h m s", "2 9 3 3 4 5"),
        ("MM dd HH hh mm ss", "02 09 03 03 04 05"),
        ("MMM MMMM EEE EEEE G", "Feb February Fri Friday AD"),
        ("h a", "3 AM"),
        ("ss.SSS", "05.678"),
        ("ssSSS", "05.678"),
        ("ss,SS", "05,67"),
        ("SSSSSSSSS", "678901000"),
        ("z Z X XX XXX", "UTC +0000 +00 +0000 +00:00"),
        ("yyyy'T'HH", "2024T03"),
        ("'at' HH", "at 03"),
        ("HH 'o''clock'", "03 oclock"),
        ("''HH", "'03"),
        ("HH'mm", "03mm"),
        (r"\d\\\d", r"d\d"),
        ("'2006 01 Jan PM'", "2006 01 Jan PM"),
        ("plain", "plAMin"),
        ("kKwDFnQuL", "kKwDFnQuL"),
        ("年M月", "年2月"),
        ("", ""),
        ("yyy", Failed),
        ("MMMMM", Failed),
        ("ddd", Failed),
        ("EE", Failed),
        ("HHH", Failed),
        ("XXXX", Failed),
        ("SSSSSSSSSS", Failed),
        ("HH'", Failed),
        ("HH\\", Failed),
    ],
)
async def test_patterns_write(pattern: str, text: Any) -> None:
    time = utc(2024, 2, 9, 3, 4, 5, 678_901)
    assert await outcome_of("format_time(t, p)", t=time, p=pattern) == text


def test_patterns_write_other_zones() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    west = timezone(-timedelta(hours=7), "MST")
    assert time_pattern("z Z X XXX").format(utc(2024, 1, 1).astimezone(east)) == (
        "+0530 +0530 +05 +05:30"
    )
    assert (
        time_pattern("h a z XX").format(utc(2024, 1, 1, 19).astimezone(west)) == "12 PM MST -0700"
    )


@pytest.mark.parametrize(
    ("text", "pattern", "moment"),
    [
        ("09.02.2024", "dd.MM.yyyy", utc(2024, 2, 9)),
        ("9/2/69", "d/M/yy", utc(1969, 2, 9)),
        ("9/2/68", "d/M/yy", utc(2068, 2, 9)),
        ("feb 9 2024", "MMM d yyyy", utc(2024, 2, 9)),
        ("Friday, February 9 2024", "EEEE, MMMM d yyyy", utc(2024, 2, 9)),
        ("2024-02-09 12:30 am", "yyyy-MM-dd hh:mm a", utc(2024, 2, 9, 0, 30)),
        ("2024-02-09 12:30 PM", "yyyy-MM-dd hh:mm a", utc(2024, 2, 9, 12, 30)),
        ("13:45:56.789", "HH:mm:ssSSS", utc(1970, 1, 1, 13, 45, 56, 789_000)),
        ("2024-02-09+0130", "yyyy-MM-ddZ", utc(2024, 2, 8, 22, 30)),
        ("2024-02-09 -07:00", "yyyy-MM-dd XXX", utc(2024, 2, 9, 7)),
        ("2024-02-09Z", "yyyy-MM-ddX", utc(2024, 2, 9)),
        ("2024", "", utc(2024, 1, 1)),
        (1000, "yyyy", utc(1970, 1, 1, 0, 0, 1)),
        ("2024-2-30", "yyyy-M-d", Failed),
        ("13 AM", "hh a", Failed),
        ("2024-02-09x", "yyyy-MM-dd", Failed),
        ("2024", "yyyyy", Failed),
        ("1 1", "d d", Failed),
        ("+9900", "Z", Failed),
        ("abc", "", Failed),
    ],
)
async def test_patterns_read(text: Any, pattern: str, moment: Any) -> None:
    assert await outcome_of("to_timestamp(t, p)", t=text, p=pattern) == moment


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("from_days(1)", "1970-01-01"),
        ("from_days(20000)", "2024-10-03"),
        ("from_days(0)", "1969-12-31"),
        ("from_days(106753)", "2262-04-12"),
        ("from_days(1e9)", Failed),
        ("from_days(1.5)", EngineError),
        ("from_days(f)", Failed),
        ("from_unix_time(0)", "1970-01-01 00:00:00"),
        ("from_unix_time(-1)", "1969-12-31 23:59:59"),
        ("from_unix_time(253402300799)", "9999-12-31 23:59:59"),
        ("from_unix_time(253402300800)", Failed),
        ("from_unix_time('1')", EngineError),
    ],
)
async def test_numbers_as_times(call: str, value: Any) -> None:
    assert await outcome_of(call, f=1.5) == value


@pytest.mark.parametrize(
    ("time", "duration", "result"),
    [
        ("2019-01-01", "1h", utc(2019, 1, 1, 1)),
        ("2024-03-01", "-36h", utc(2024, 2, 28, 12)),
        ("2024-03-01", "+2m", utc(2024, 3, 1, 0, 2)),
        ("2024-03-01", "--2m", utc(2024, 3, 1, 0, 2)),
        ("2024-03-01", "-+2m", utc(2024, 2, 29, 23, 58)),
        ("2024-03-01", "0", utc(2024, 3, 1)),
        ("2024-03-01", "1.5h", utc(2024, 3, 1, 1, 30)),
        ("2024-03-01", "1h30m10s100ms", utc(2024, 3, 1, 1, 30, 10, 100_000)),
        ("2024-03-01", "999ms1000us1000ns", utc(2024, 3, 1, 0, 0, 1, 1)),
        ("2024-03-01", "-1d", utc(2024, 2, 29)),
        ("2024-03-01", "2w", utc(2024, 3, 15)),
        ("2024-01-31", "1mo", utc(2024, 2, 29)),
        ("2024-02-29", "1y", utc(2025, 2, 28)),
        ("2024-03-31", "-1mo1h", utc(2024, 2, 28, 23)),
        ("2024-03-01", "", EngineError),
        ("2024-03-01", "1", EngineError),
        ("2024-03-01", "1 h", EngineError),
        ("2024-03-01", "h", EngineError),
        ("2024-03-01", "1.5mo", EngineError),
        ("2024-03-01", "9999y", Failed),
        ("2024-03-01", "9" * 99 + "h", EngineError),
        ("2024-03-01", "1" * 100_000, EngineError),
        ("x", "1h", Failed),
        (0, "1s", utc(1970, 1, 1, 0, 0, 1)),
        ([], "1s", Failed),
    ],
)
async def test_date_calc(time: Any, duration: str, result: Any) -> None:
    assert await outcome_of(f"date_calc(t, '{duration}')", t=time) == result


async def test_a_duration_is_a_literal() -> None:
    assert await outcome_of("date_calc(t, d)", t=0, d="1h") is EngineError
    assert await outcome_of("date_calc(t, concat('1', 'h'))", t=0) is EngineError
    assert await outcome_of("date_calc(t, 5)", t=0) is EngineError


async def test_days_go_by_the_calendar_and_hours_by_the_clock() -> None:
    before = "convert_tz('2024-03-30T11:00:00Z', 'Europe/Berlin')"  # noon, the day before summer
    assert await value_of(f"hour(date_calc({before}, '1d'))") == 12
    assert await value_of(f"hour(date_calc({before}, '24h'))") == 13


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("date_diff(five, seven)", 2),
        ("date_diff(seven, five) / 2", -1),
        ("date_diff('2024-03-01', '2024-02-28', 'day')", -2),
        ("date_diff('2024-02-28', '2024-03-01 23:59', 'DAYS')", 2),
        ("date_diff('2024-01-31', '2024-02-29', 'months')", 1),
        ("date_diff('2024-01-31', '2024-02-28', 'months')", 0),
        ("date_diff('2024-02-29', '2023-11-29', 'quarter')", -1),
        ("date_diff('2020-02-29', '2024-02-28', 'year')", 3),
        ("date_diff('2024-01-01T00:00:00+08:00', '2024-01-01T00:00:00Z', 'hour')", 8),
        ("date_diff(five, seven, 'fortnight')", EngineError),
        ("date_diff(five, seven, u)", Failed),
        ("date_diff('x', five)", Failed),
        (
            "date_trunc('millisecond', '2024-05-15 13:45:56.7891')",
            utc(2024, 5, 15, 13, 45, 56, 789_000),
        ),
        ("date_trunc('second', '2024-05-15 13:45:56.789')", utc(2024, 5, 15, 13, 45, 56)),
        ("date_trunc('minute', '2024-05-15 13:45:56')", utc(2024, 5, 15, 13, 45)),
        ("date_trunc('day', '2024-05-15 13:45:56')", utc(2024, 5, 15)),
        ("date_trunc('week', '2024-05-15 13:45:56')", utc(2024, 5, 13)),
        ("date_trunc('month', '2024-05-15')", utc(2024, 5, 1)),
        ("date_trunc('Quarter', '2024-06-15')", utc(2024, 4, 1)),
        ("date_trunc('years', '2024-05-15')", utc(2024, 1, 1)),
        ("date_trunc(u, five)", Failed),
        ("format_time(five, 'yyy')", EngineError),
        ("to_timestamp('x', 'yyy')", EngineError),
        ("date_calc(five, '1x')", EngineError),
    ],
)
async def test_differences_and_truncation(call: str, value: Any) -> None:
    assert await outcome_of(call, u="fortnight", five=5, seven=7) == value
