"""State values come back as they were put, or are refused when they are put."""

from __future__ import annotations

import math
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from types import ModuleType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.state.codec import CODEC, DEPTH, StandIn, StateCodec
from engine.state.errors import UnreadableState, Unstorable
from tests.state.state_types import Colour, Level, Opaque, Point, Reading, Span


def same(one: Any, other: Any) -> bool:
    """Equality that tells 1 from True and 1.0, and knows NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and (
            one == other or (math.isnan(one) and math.isnan(other))
        )
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(*keys) and same(*values)
            for keys, values in zip(
                zip(one, other, strict=True),
                zip(one.values(), other.values(), strict=True),
                strict=True,
            )
        )
    if isinstance(one, (list, tuple, deque)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Reading):
        return same(vars(one), vars(other))
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, (datetime, time)):
        return (one, one.fold, one.utcoffset()) == (other, other.fold, other.utcoffset())
    return bool(one == other)


zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata"]).map(ZoneInfo),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 200), 1 << 200),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs", "L"])),
    st.binary(),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(timezones=st.sampled_from([None, UTC])),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.sampled_from([*Colour, *Level]),
    st.builds(Point, st.integers(), st.integers()),
)
keys = st.one_of(st.text(), st.integers(), st.tuples(st.text(), st.integers()), st.dates())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.text(), inner),
        st.dictionaries(keys, inner),
        st.sets(st.integers()),
        st.frozensets(st.text()),
        st.builds(lambda name, v: Reading(name, v), st.text(), st.lists(inner, max_size=2)),
    ),
    max_leaves=20,
)


@given(values)
def test_values_come_back_equal_and_of_the_same_types(value: Any) -> None:
    assert same(CODEC.decode(CODEC.encode(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        1 << 63,
        (1 << 64) - 1,
        1 << 64,
        -(1 << 63),
        -(1 << 63) - 1,
        {"a": [1 << 80, "\ud800"], "\udfff": ("x",)},
        math.nan,
        -0.0,
        bytearray(b"x"),
        deque([1, (2,)], maxlen=3),
        Counter("abca"),
        OrderedDict(b=1, a=(2,)),
        3 + 4j,
        msgspec.UNSET,
        Span(1, 2),
        [Span(1), {"point": Point(1, 2)}],
        {Point(1, 2): Colour.RED},
        Level.LOW,
        Decimal("1.10"),
        Decimal("sNaN"),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, seconds=7))),
        time(1, 2, 3, 4, tzinfo=ZoneInfo("Europe/Berlin")),
        date.min,
        timedelta.max,
        UUID(int=5),
    ],
    ids=repr,
)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert same(CODEC.decode(CODEC.encode(value)), value)


def test_a_zone_stays_a_zone_with_its_rules() -> None:
    winter = datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    restored = CODEC.decode(CODEC.encode(winter))
    assert restored.tzinfo is winter.tzinfo


def test_a_dataclass_is_filled_without_running_its_constructor() -> None:
    reading = Reading("a", [1.5])
    reading.made = 7
    assert CODEC.decode(CODEC.encode(reading)).made == 7


class Odd(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, _: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, _: datetime | None) -> str:
        return "odd"


@dataclass
class Special(dict[str, int]):
    """A dataclass that is a dict, too: half of it would be lost."""

    number: int = 0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: 0, "there is no way to store a function"),
        ({"a": [1, {2: Opaque(1)}]}, "(at a[1][2]): there is no way to store a Opaque"),
        ([Reading("x", [object()])], "(at [0].values[0])"),  # type: ignore[list-item]
        (defaultdict(int), "put dict(value)"),
        ({(1, Opaque): 2}, "key (1,"),
        (datetime(2024, 1, 1, tzinfo=Odd()), "time zone of type Odd"),
        (Special(), "Special"),
        (memoryview(b"x"), "memoryview"),
        (msgspec.Raw(b"\x01"), "Raw"),
        (Opaque, "type"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(value: Any, words: str) -> None:
    with pytest.raises(Unstorable) as error:
        CODEC.encode(value)
    assert words in error.value.message
    assert error.value.hint


def test_a_class_inside_a_function_is_refused() -> None:
    @dataclass
    class Local:
        x: int

    with pytest.raises(Unstorable, match="defined inside a function"):
        CODEC.encode(Local(1))


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = (value,) if level % 2 else [value]
    return value


def test_values_may_be_nested_to_a_fixed_depth() -> None:
    assert same(CODEC.decode(CODEC.encode(nested(DEPTH))), nested(DEPTH))
    with pytest.raises(Unstorable, match="nested deeper than 100"):
        CODEC.encode(nested(DEPTH + 1))


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Unstorable, match="holds itself"):
        CODEC.encode(loop)


# -- declared codecs ---------------------------------------------------------------------------


def test_other_types_are_stored_by_a_declared_codec() -> None:
    codec = StateCodec()
    codec.register(Opaque, "opaque", lambda o: {"n": (o.number,)}, lambda v: Opaque(*v["n"]))
    restored = codec.decode(codec.encode([Opaque(5)]))
    assert isinstance(restored[0], Opaque)
    assert restored[0].number == 5


def test_a_declared_name_means_one_type() -> None:
    codec = StateCodec()
    codec.register(Opaque, "opaque", lambda o: o.number, Opaque)
    codec.register(Opaque, "opaque", lambda o: o.number + 1, Opaque)  # of a newer version
    assert codec.decode(codec.encode(Opaque(1))).number == 2
    with pytest.raises(Unstorable, match="declared for Opaque"):
        codec.register(Odd, "opaque", lambda o: 1, lambda v: Odd())


def test_a_codec_that_fails_says_which() -> None:
    codec = StateCodec()
    codec.register(Opaque, "opaque", lambda o: 1 // 0, Opaque)
    with pytest.raises(Unstorable, match="codec 'opaque' failed: ZeroDivisionError"):
        codec.encode({"a": Opaque(1)})


def test_reading_needs_the_codec() -> None:
    codec = StateCodec()
    codec.register(Opaque, "opaque", lambda o: o.number, Opaque)
    data = codec.encode([Opaque(5)])
    with pytest.raises(UnreadableState, match="opaque, for which no state codec is declared"):
        StateCodec().decode(data)
    assert StateCodec().inspect(data) == [StandIn("opaque", 5)]


# -- classes that change or go -----------------------------------------------------------------


def module_with(name: str, text: str, codec: StateCodec, lasting: str = "") -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(text, vars(module))
    if lasting:
        codec.classes.alias(module, lasting)
    return module


def test_a_plugin_module_keeps_a_lasting_name_over_processes_and_versions() -> None:
    codec = StateCodec()
    text = "from dataclasses import dataclass\n@dataclass\nclass Box:\n    x: int\n    y: int = 5\n"
    old = module_with("plugin_1_box", text, codec, "plugins.functions.box")
    data = codec.encode(old.Box(1, 2))
    new = module_with("plugin_2_box", text + "    z: int = 9\n", codec, "plugins.functions.box")
    restored = codec.decode(data)
    assert type(restored) is new.Box
    assert (restored.x, restored.y, restored.z) == (1, 2, 9)
    assert codec.encode(old.Box(1, 2)) == data  # a running rule keeps the old one


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("x: int\n    y: int", "x: int", "has no field 'y' any more"),
        ("x: int", "x: int\n    y: int", "'y'"),
    ],
)
@pytest.mark.parametrize(
    "head",
    ["@dataclasses.dataclass\nclass Box:", "class Box(msgspec.Struct):"],
    ids=["dataclass", "struct"],
)
def test_a_class_that_no_longer_fits_is_told(
    head: str, before: str, after: str, words: str
) -> None:
    codec = StateCodec()
    imports = "import dataclasses, msgspec\n"
    old = module_with("shape_1", f"{imports}{head}\n    {before}\n", codec, "shape")
    arguments = [1, 2][: before.count(":")]
    data = codec.encode({"box": old.Box(*arguments)})
    module_with("shape_2", f"{imports}{head}\n    {after}\n", codec, "shape")
    with pytest.raises(UnreadableState, match="stored Box doesn't fit its class") as error:
        codec.decode(data)
    assert words in error.value.message


def test_reading_imports_nothing() -> None:
    data = msgspec.msgpack.encode(
        msgspec.msgpack.Ext(24, msgspec.msgpack.encode(["antigravity:Thing", {}]))
    )
    with pytest.raises(UnreadableState, match="antigravity, which isn't loaded"):
        CODEC.decode(data)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["os:system", "builtins:eval", "subprocess:Popen", "os:none.at"])
def test_a_name_never_means_other_code_than_records(name: str) -> None:
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(24, msgspec.msgpack.encode([name, {"a": 1}])))
    with pytest.raises(UnreadableState):
        CODEC.decode(data)


# -- damage ------------------------------------------------------------------------------------


@given(values, st.data())
def test_damaged_bytes_give_some_value_or_a_clean_error(value: Any, data: st.DataObject) -> None:
    good = bytearray(CODEC.encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))])
    for damaged in (bytes(good), cut):
        for read in (CODEC.decode, CODEC.inspect, CODEC.decode_items):
            with suppress(UnreadableState):
                read(damaged)


@given(st.binary(max_size=60))
def test_noise_gives_some_value_or_a_clean_error(noise: bytes) -> None:
    with suppress(UnreadableState):
        CODEC.decode(noise)


def test_an_unknown_kind_hints_at_a_newer_version() -> None:
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b""))
    with pytest.raises(UnreadableState, match="unknown kind"):
        CODEC.decode(data)


def test_who_only_looks_sees_names_and_members() -> None:
    data = CODEC.encode([Point(1, 2), Colour.RED, deque([1])])
    assert [repr(each) for each in CODEC.inspect(data)] == [
        "Point(x=1, y=2)",
        "Colour.RED",
        "deque([[1], None])",
    ]
