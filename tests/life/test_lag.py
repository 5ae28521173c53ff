"""How far a rule is behind its source: asked of sources that know, and never in the way."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Mapping
from typing import Any

import anyio
import msgspec
import pytest

from engine import Engine
from engine.api import Batch, Config, Emit, NotConnected, Offset, Source
from engine.clock import VirtualClock, settled
from engine.registry import PluginKind
from engine.run import lag
from tests.conftest import Rows, eventually
from tests.life.support import SECOND, START, rule, started

LOOK = 5 * SECOND


class Log:
    """The other side of the sources ``log``: numbered messages in two partitions."""

    def __init__(self) -> None:
        self.sizes = {"a": 0, "b": 0}
        self.error: Exception | None = None
        self.asked: list[int] = []
        """When a head was asked for."""
        self.may_read = {"a": 0, "b": 0}
        """Up to where sources read."""
        self.changed = anyio.Event()

    def read(self, **upto: int) -> None:
        self.may_read |= upto
        self.changed.set()


def source_of(log: Log) -> type[Source[Config]]:
    class Reading(Source[Config]):
        def __init__(self) -> None:
            self._offsets: dict[str, int] = {}

        async def run(self, emit: Emit) -> None:
            while True:
                log.changed = anyio.Event()
                for name, upto in log.may_read.items():
                    while (at := self._offsets.get(name, 0)) < upto:
                        self._offsets[name] = at + 1
                        await emit(Batch([{"n": at}]))
                await log.changed.wait()

        def position(self) -> Mapping[str, int]:
            return self._offsets

        async def seek(self, offsets: Mapping[str, int]) -> None:
            self._offsets = dict(offsets)

        async def partitions(self) -> list[str]:
            return list(log.sizes)

        async def head(self) -> Mapping[str, Offset]:
            log.asked.append(self.ctx.clock.now())
            if log.error is not None:
                raise log.error
            return log.sizes

    return Reading


@pytest.fixture
def log(engine: Engine) -> Log:
    log = Log()
    engine.plugins.register(PluginKind.SOURCE, "log", source_of(log))
    engine.define_stream("s", type="log")
    return log


def lag_of(engine: Engine, rule_id: str = "r") -> dict[str, Any]:
    """Return what the flat status of a rule says of the partitions of its stream ``s``."""
    flat = engine.status(rule_id).flat()
    names = ("lag", "position", "head")
    return {name: flat[key] for name in names if (key := f"source_s_0_{name}") in flat}


def partitions_of(engine: Engine) -> Any:
    """Return what clients get of the partitions of the first source."""
    return msgspec.json.decode(msgspec.json.encode(engine.status("r")))["operators"][0][
        "partitions"
    ]


async def test_the_difference_of_numbers_is_shown_by_partition_and_in_sum(
    engine: Engine, log: Log, collected: Rows, clock: VirtualClock
) -> None:
    log.sizes = {"a": 10, "b": 3}
    await started(engine, rule("SELECT n FROM s"))
    log.read(a=4)
    await clock.advance_to(START + LOOK)
    assert partitions_of(engine) == [
        {"partition": "a", "position": 4, "head": 10, "lag": 6},
        {"partition": "b", "position": None, "head": 3, "lag": None},
    ]
    assert lag_of(engine) == {"lag": 6}
    log.read(a=10, b=1)
    await clock.advance_to(START + 2 * LOOK)
    assert lag_of(engine) == {"lag": 2}
    assert len(collected) == 11


async def test_partitions_that_are_gone_are_not_shown(
    engine: Engine, log: Log, collected: Rows, clock: VirtualClock
) -> None:
    log.sizes = {"a": 1, "b": 3}
    await started(engine, rule("SELECT n FROM s"))
    log.read(a=1, b=1)
    await settled()
    log.sizes = {"b": 3}
    await clock.advance_to(START + LOOK)
    assert [each["partition"] for each in partitions_of(engine)] == ["b"]


async def test_a_source_is_asked_every_five_seconds_while_its_rule_runs(
    engine: Engine, log: Log, collected: Rows, clock: VirtualClock
) -> None:
    await started(engine, rule("SELECT n FROM s"))
    for number in range(100):
        log.read(a=number)
        await settled()
        engine.status("r")
    assert log.asked == [START]
    await clock.advance_to(START + 3 * LOOK + SECOND)
    assert log.asked == [START + number * LOOK for number in range(4)]
    assert lag_of(engine)
    await engine.stop("r")
    await clock.advance_to(START + 9 * LOOK)
    assert len(log.asked) == 4
    assert lag_of(engine) == {}


async def test_what_was_read_after_the_head_was_told_is_no_negative_lag(
    engine: Engine, log: Log, collected: Rows, clock: VirtualClock
) -> None:
    log.sizes = {"a": 2}
    await started(engine, rule("SELECT n FROM s"))
    log.read(a=5)
    await clock.advance_to(START + LOOK)
    assert lag_of(engine) == {"lag": 0}


async def test_a_rule_that_goes_on_from_a_checkpoint_knows_its_lag_at_once(
    engine: Engine, log: Log, collected: Rows
) -> None:
    log.sizes = {"a": 10}
    await started(engine, rule("SELECT n FROM s", qos=1))
    assert lag_of(engine) == {"position": '{"a":null}', "head": '{"a":10}'}
    log.read(a=7)
    await settled()
    await engine.restart("r")
    await settled()
    assert lag_of(engine) == {"lag": 3}


async def test_offsets_that_are_texts_are_shown_as_they_are(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    class Book(Source[Config]):
        async def run(self, emit: Emit) -> None:
            await emit(Batch([{"n": 1}]))
            await anyio.sleep_forever()

        def position(self) -> Mapping[str, str]:
            return {"0": "5-0"}

        async def seek(self, offsets: Mapping[str, str]) -> None: ...

        async def head(self) -> Mapping[str, str]:
            return {"0": "5-2"}

    engine.plugins.register(PluginKind.SOURCE, "book", Book)
    engine.define_stream("s", type="book")
    await started(engine, rule("SELECT n FROM s"))
    await clock.advance_to(START + LOOK)
    assert partitions_of(engine) == [
        {"partition": "0", "position": "5-0", "head": "5-2", "lag": None}
    ]
    assert lag_of(engine) == {"position": '{"0":"5-0"}', "head": '{"0":"5-2"}'}


async def test_a_failure_is_told_once_and_an_old_lag_is_not_shown(
    engine: Engine,
    log: Log,
    collected: Rows,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = await started(engine, rule("SELECT n FROM s"))
    log.read(a=1)
    ticks = (START + LOOK * number for number in itertools.count(1))
    await clock.advance_to(next(ticks))
    assert lag_of(engine)
    for _ in range(2):  # a new failure after all was well is told again
        log.error = NotConnected("nobody there")
        caplog.clear()
        for _ in range(3):
            await clock.advance_to(next(ticks))
        assert [line for line in caplog.messages if "nobody there" in line] == [
            "the lag of source[s] is not known: nobody there"
        ]
        assert lag_of(engine) == {}
        log.error = None
        await clock.advance_to(next(ticks))
        assert lag_of(engine)
    assert made.status.state == "running"


@pytest.mark.parametrize(
    ("heads", "names", "told"),
    [
        ([1], ["a"], r"head\(\) gives \[1\]\n.*return a dict with an offset"),
        ({"a": 1.5}, ["a"], r"head\(\) gives \{'a': 1.5\}"),
        ({"a": 1}, "a", r"partitions\(\) gives 'a'\n.*return a list of the names"),
        ({"a": 1}, [1], r"partitions\(\) gives \[1\]"),
    ],
)
async def test_answers_that_are_none_are_told(
    engine: Engine,
    collected: Rows,
    caplog: pytest.LogCaptureFixture,
    heads: Any,
    names: Any,
    told: str,
) -> None:
    class Odd(Source[Config]):
        async def run(self, emit: Emit) -> None:
            await emit(Batch([{"n": 1}]))
            await anyio.sleep_forever()

        async def head(self) -> Any:
            return heads

        async def partitions(self) -> Any:
            return names

    engine.plugins.register(PluginKind.SOURCE, "odd", Odd)
    engine.define_stream("s", type="odd")
    made = await started(engine, rule("SELECT n FROM s"))
    assert (made.status.state, len(collected)) == ("running", 1)
    message = next(line for line in caplog.messages if "is not known" in line)
    assert re.search(told, message)


async def test_a_head_that_hangs_holds_up_nothing(
    engine: Engine,
    log: Log,
    collected: Rows,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(lag, "_LONGEST", 0.05)
    cancelled = anyio.Event()

    class Hanging(source_of(log)):  # type: ignore[misc]
        async def head(self) -> Any:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

    engine.plugins.register(PluginKind.SOURCE, "hanging", Hanging)
    engine.define_stream("s", type="hanging", replace=True)
    await engine.start(rule("SELECT n FROM s"))
    log.read(a=3)
    await eventually(lambda: len(collected) == 3)
    await eventually(lambda: "head() takes longer than 0.05 s" in caplog.text)
    assert cancelled.is_set()
    monkeypatch.setattr(lag, "_LONGEST", 60)
    await engine.restart("r")
    with anyio.fail_after(3):
        await engine.stop("r")
    assert "running" not in caplog.text  # as the tasks that plugins leave behind


async def test_the_rules_of_a_shared_stream_show_the_same_lag(
    engine: Engine, log: Log, collected: Rows, clock: VirtualClock
) -> None:
    engine.define_stream("s", type="log", shared=True, replace=True)
    log.sizes = {"a": 10}
    for rule_id in ("x", "y"):
        await started(engine, rule("SELECT n FROM s", id=rule_id))
    log.read(a=4)
    await clock.advance_to(START + LOOK)
    assert lag_of(engine, "x") == lag_of(engine, "y") == {"lag": 6}
    assert log.asked == [START, START + LOOK]


async def test_a_source_is_asked_again_after_it_was_opened_again(
    engine: Engine, log: Log, collected: Rows, clock: VirtualClock
) -> None:
    class Shaky(source_of(log)):  # type: ignore[misc]
        async def run(self, emit: Emit) -> None:
            if not collected:
                await emit(Batch([{"n": 1}]))
                raise NotConnected("cut")
            await super().run(emit)

    engine.plugins.register(PluginKind.SOURCE, "shaky", Shaky)
    engine.define_stream("s", type="shaky", replace=True)
    log.sizes = {"a": 5}
    await started(engine, rule("SELECT n FROM s"))
    assert lag_of(engine) == {}
    await clock.advance_to(START + LOOK)
    log.read(a=2)
    await clock.advance_to(START + 3 * LOOK)
    assert lag_of(engine) == {"lag": 3}


async def test_one_instance_for_all_rules_is_asked_for_each_in_its_thread(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    class LogConfig(Config):
        size: int = 0

    class Plain(Source[LogConfig]):
        blocking = True

        async def run(self, emit: Emit) -> None:
            await emit(Batch([{"n": 1}]))
            await anyio.sleep_forever()

        def position(self) -> Mapping[str, int]:
            return {"": 1}

        async def seek(self, offsets: Mapping[str, int]) -> None: ...

        def head(self) -> Mapping[str, int]:
            assert threading.current_thread() is not threading.main_thread()
            return {"": self.config.size}

    engine.plugins.register(PluginKind.SOURCE, "plain", Plain())
    for name, size in (("s", 3), ("t", 8)):
        engine.define_stream(name, type="plain", size=size)
        await started(engine, rule(f"SELECT n FROM {name}", id=name))
    await clock.advance_to(START + LOOK)

    def lags() -> list[Any]:
        return [engine.status(name).flat().get(f"source_{name}_0_lag") for name in ("s", "t")]

    await eventually(lambda: lags() == [2, 7])
