import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.duration import parse_duration, parse_option
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1500, 1.5),
        ("10s", 10),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250us", 0.00025),
        ("-2s", -2),
        ("2000", 2),
        (" 3s ", 3),
    ],
)
def test_a_duration_is_milliseconds_or_text_with_units(value: str | int, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "s", "10 parsecs", "1h nonsense", "--1s", True])
def test_what_is_not_a_duration_is_refused_with_a_hint(value: str | bool) -> None:
    with pytest.raises(ConfigError, match=r"not a duration.*\n.*hint"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("3", "--drain: 3 has no unit\n  hint: write 3s for seconds, or 3ms"),
        ("-1s", "--drain: -1s is negative; a duration can't be"),
        ("soon", "--drain: 'soon' is not a duration\n  hint: write a number with its unit"),
    ],
)
def test_a_duration_on_a_command_line_needs_its_unit(text: str, problem: str) -> None:
    assert parse_option("--drain", " 1m30s ") == 90
    assert parse_option("--drain", "0") == 0
    with pytest.raises(ConfigError) as raised:
        parse_option("--drain", text)
    assert str(raised.value).startswith(problem)


@given(st.integers(0, 10**9), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours: int, minutes: int, millis: int) -> None:
    text = f"{hours}h{minutes}m{millis}ms"
    assert parse_duration(text) == pytest.approx(hours * 3600 + minutes * 60 + millis / 1000)
