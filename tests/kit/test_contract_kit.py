"""The author's kit passes what keeps the contract and finds what doesn't."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.api import (
    AggregateFunction,
    Batch,
    Config,
    ConfigError,
    Context,
    Duration,
    Emit,
    Function,
    LookupSource,
    NotConnected,
    Offset,
    Row,
    RowError,
    Sink,
    Source,
    Token,
)
from engine.testing import ContractBroken, check_function, check_lookup, check_sink, check_source


def problems(check: Any, *args: Any, **more: Any) -> str:
    with pytest.raises(ContractBroken) as caught:
        check(*args, **more)
    return str(caught.value)


# -- sources -----------------------------------------------------------------------------------


class TicksConfig(Config):
    interval: Duration = Duration(60)


class Ticks(Source[TicksConfig]):
    """Keeps the contract, with all that is optional."""

    def validate(self) -> None:
        if self.config.interval <= 0:
            raise ConfigError("interval must be positive")

    async def open(self) -> None:
        self._next = 0

    async def run(self, emit: Emit) -> None:
        while True:
            self._next += 1
            self.ctx.put_state("last", self._next)
            await emit(Batch([{"n": self._next - 1}]))
            await self.ctx.clock.sleep_until(self.ctx.clock.now() + 60_000)

    def position(self) -> Mapping[str, Offset]:
        return {"": self._next}

    async def seek(self, offsets: Mapping[str, Offset]) -> None:
        self._next = int(offsets[""])


class Partitioned(Ticks):
    """Keeps the contract, with partitions and acknowledgements, in plain methods."""

    def partitions(self) -> list[str]:
        return ["", "other"]

    def head(self) -> Mapping[str, Offset]:
        return {"": self._next, "other": "0"}

    def ack(self, offsets: Mapping[str, Offset]) -> None:
        assert offsets == {"": self._next}


def test_a_source_with_partitions_passes() -> None:
    check_source(Partitioned)


def test_a_good_source_passes_though_its_interval_is_long() -> None:
    begun = time.monotonic()
    seen = check_source(Ticks, properties={"interval": "1m"}, rows=3, wrong=[{"interval": 0}])
    assert seen.rows == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert time.monotonic() - begun < 5


class Threaded(Source[Config]):
    """A source in a thread."""

    def open(self) -> None:  # type: ignore[override]
        self._stop = threading.Event()

    def run(self, emit: Any) -> None:  # type: ignore[override]
        while not self._stop.wait(0.001):
            emit(Batch(payloads=[b"{}"]))

    def close(self) -> None:  # type: ignore[override]
        stop = getattr(self, "_stop", None)
        if stop is not None:
            stop.set()


def test_a_good_source_in_a_thread_passes() -> None:
    assert check_source(Threaded).payloads == [b"{}"]


class NeedsOpen(Ticks):
    async def open(self) -> None:
        await super().open()
        self.handle = [1]

    async def close(self) -> None:
        self.handle.clear()


class Unawaited(Ticks):
    async def run(self, emit: Any) -> None:
        for _ in range(3):
            emit(Batch([{"a": 1}])).close()


class Impatient(Ticks):
    async def run(self, emit: Any) -> None:
        tasks = [asyncio.ensure_future(emit(Batch([{"a": n}]))) for n in range(5)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()


class Swallowing(Ticks):
    async def run(self, emit: Emit) -> None:
        for _ in range(4):
            try:
                await super().run(emit)
            except asyncio.CancelledError:
                await asyncio.sleep(0.5)


class Leaking(Ticks):
    async def open(self) -> None:
        await super().open()
        task = asyncio.get_running_loop().create_task(asyncio.sleep(3600), name="forgotten")
        vars(self).setdefault("tasks", []).append(task)


class LeakingThread(Ticks):
    async def open(self) -> None:
        await super().open()
        threading.Thread(target=time.sleep, args=(2,), name="forgotten", daemon=True).start()


class Liar(Ticks):
    async def run(self, emit: Any) -> None:
        await emit([{"a": 1}])


class WrongRows(Ticks):
    async def run(self, emit: Any) -> None:
        await emit(Batch([[1]]))  # type: ignore[list-item]


class Once(Ticks):
    is_used = False

    async def open(self) -> None:
        if self.is_used:
            raise RuntimeError("used up")
        self.is_used = True
        await super().open()


class Forgetful(Ticks):
    async def seek(self, offsets: Mapping[str, Offset]) -> None:
        self._next = 0


class Hanging(Ticks):
    async def open(self) -> None:
        await asyncio.sleep(3600)


class Careless(Ticks):
    def validate(self) -> None:
        return None


class Lenient(Config, forbid_unknown_fields=False):
    pass


class TakesAnything(Source[Lenient]):
    async def run(self, emit: Emit) -> None:
        await emit(Batch([{"a": 1}]))


class InPlace(Ticks):
    async def run(self, emit: Emit) -> None:
        seen: list[int] = []
        self.ctx.put_state("seen", seen)
        seen.append(1)
        await super().run(emit)


class WrongPartitions(Partitioned):
    def partitions(self) -> Any:
        return ["a", "a"]


class WrongHead(Partitioned):
    def head(self) -> Any:
        return {"": None}


class OtherHead(Partitioned):
    def head(self) -> Any:
        return {"elsewhere": 1}


class WrongPosition(Partitioned):
    def position(self) -> Any:
        return [1]


class FailingAck(Partitioned):
    def ack(self, offsets: Any) -> None:
        raise KeyError("unknown")


class HangingAck(Ticks):
    async def ack(self, offsets: Any) -> None:
        await asyncio.sleep(3600)


class Quitting(Ticks):
    async def open(self) -> None:
        raise SystemExit(3)


class LeavingUnnamed(Ticks):
    async def open(self) -> None:
        self._task = asyncio.create_task(poll_forever())


async def poll_forever() -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (Quitting, f"SystemExit: 3 at {__file__}:"),
        (LeavingUnnamed, "leaves tasks behind: poll_forever"),
        (WrongPartitions, "partitions() gives ['a', 'a'], no list of different texts"),
        (WrongHead, "head() gives {'': None}, no dict with a number or text for each partition"),
        (OtherHead, "head() names elsewhere, which partitions() doesn't have"),
        (WrongPosition, "position() gives [1], no dict"),
        (FailingAck, "ack() fails: KeyError: 'unknown'"),
        (HangingAck, "ack() takes longer than 0.3 s"),
        (NeedsOpen, "close() without an open() before it fails: AttributeError"),
        (Unawaited, "emit(batch) is called, but not awaited"),
        (Impatient, "it emits while an emit before hasn't returned"),
        (Swallowing, "something swallows the cancellation"),
        (Leaking, "leaves tasks behind: forgotten"),
        (LeakingThread, "leaves threads behind: forgotten"),
        (Liar, "emit() gets a list, not a Batch"),
        (WrongRows, "a row is [1], no dict"),
        (Once, "opened a second time: open() and run() fails: RuntimeError: used up"),
        (Forgetful, "it doesn't go on behind the batch"),
        (Hanging, "open() and run() takes longer than 0.3 s"),
        (Careless, "aren't refused: raise ConfigError in validate()"),
        (TakesAnything, "properties that the plugin doesn't know aren't refused"),
        (InPlace, "put a value again when it has changed in place"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_a_source_does_wrong_is_found(source: type[Any], problem: str) -> None:
    wrong = [{"interval": 0}] if source is Careless else []
    rows = 1 if source in (TakesAnything, Unawaited, Liar, WrongRows) else 2
    assert problem in problems(check_source, source, rows=rows, wrong=wrong, seconds=0.3)


# -- sinks -------------------------------------------------------------------------------------


class BoxConfig(Config):
    name: str


class Box(Sink[BoxConfig]):
    """Keeps the contract; what it gets is in ``arrived``."""

    arrived: list[Any] = []  # noqa: RUF012  # shared by all, like another process

    async def open(self) -> None:
        self._seen: set[Token] = set()

    async def collect(self, batch: Batch, token: Token | None = None) -> None:
        await asyncio.sleep(0)
        if token is None or token not in self._seen:
            self.arrived += batch.rows or []
        if token is not None:
            self._seen.add(token)


class Late(Box):
    async def collect(self, batch: Batch, token: Token | None = None) -> None:
        asyncio.get_running_loop().call_later(0.05, self.arrived.extend, batch.rows or [])


class Repeating(Box):
    async def collect(self, batch: Batch, token: Token | None = None) -> None:
        self.arrived += batch.rows or []


class NotEmpty(Box):
    async def collect(self, batch: Batch, token: Token | None = None) -> None:
        self.arrived.append((batch.rows or [])[0])
        self.arrived += (batch.rows or [])[1:]


def received() -> list[Any]:
    return Box.arrived


def test_a_good_sink_passes() -> None:
    check_sink(Box, properties={"name": "a"}, received=received, wrong=[{}, {"name": [1]}])


@pytest.mark.parametrize(
    ("sink", "problem"),
    [
        (Late, "0 of 2 rows have arrived when collect() has returned"),
        (Repeating, "4 of 2 rows have arrived after the same batch came twice with one token"),
        (NotEmpty, "collect() of an empty batch fails: IndexError"),
    ],
)
def test_what_a_sink_does_wrong_is_found(sink: type[Any], problem: str) -> None:
    assert problem in problems(check_sink, sink, properties={"name": "a"}, received=received)


@pytest.mark.parametrize("name", ["nop", "log", "print"])
def test_bundled_sinks_pass(name: str, tmp_path: Path) -> None:
    check_sink(name, tmp_path)


def test_the_bundled_file_sink_passes(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    check_sink(
        "file",
        tmp_path,
        {"path": "out.txt"},
        received=lambda: path.read_bytes().splitlines() if path.exists() else [],
        wrong=[{}, {"path": "x", "fileType": "mine"}],
    )


def test_the_bundled_random_source_passes(tmp_path: Path) -> None:
    seen = check_source("random", tmp_path, {"pattern": {"a": 5}}, rows=3, wrong=[{"seed": 0}])
    assert seen.rows == [{"a": 5}] * 3


# -- lookups -----------------------------------------------------------------------------------


class Zones(LookupSource[Config]):
    async def lookup(self, fields: Any, keys: Any, values: Any) -> list[Row]:
        await asyncio.sleep(0)
        return [{"id": values[0], "name": "hall"}] if values[0] == 1 else []


class Uneven(Zones):
    async def lookup_many(self, fields: Any, keys: Any, rows_of_values: Any) -> list[list[Row]]:
        return []


def test_lookups_are_checked() -> None:
    keys = [{"id": 1}, {"id": 2}]
    assert check_lookup(Zones, keys=keys) == [[{"id": 1, "name": "hall"}], []]
    assert "lookup_many() gives []" in problems(check_lookup, Uneven, keys=keys)
    assert "it finds" in problems(check_lookup, Zones, keys=keys, expected=[[], []])


# -- functions ---------------------------------------------------------------------------------


class Halved(Function):
    """Keeps the contract."""

    stateless = True

    def validate(self, args: Any) -> None:
        if isinstance(args[0], str):
            raise ConfigError("give a number")

    def exec(self, ctx: Context, value: float | None) -> float | None:
        if isinstance(value, str):
            raise RowError("give a number")
        return None if value is None else value / 2

    def exec_batch(self, ctx: Context, values: Any) -> Any:
        return [self.exec(ctx, value) for value in values]


def test_a_good_function_passes() -> None:
    seen = check_function(Halved, calls=[(4,), (None,)], wrong=[("x",)])
    assert seen.results == [2, None]


class NullShy(Halved):
    def exec(self, ctx: Context, value: float | None) -> float | None:
        return value / 2  # type: ignore[operator]


class Counting(Halved):
    def exec(self, ctx: Context, value: float | None) -> float | None:
        return ctx.incr_counter("n")


class Changing(Halved):
    def exec(self, ctx: Context, value: Any) -> Any:
        return value.pop() if isinstance(value, list) else None


class Odd(Halved):
    def exec_batch(self, ctx: Context, values: Any) -> Any:
        return [0 for _ in values]


class Strange(Halved):
    def exec(self, ctx: Context, value: Any) -> Any:
        return object()


class Waiting(Halved):
    def exec(self, ctx: Context, value: Any) -> Any:
        loop = asyncio.new_event_loop()
        try:
            return loop.create_future()
        finally:
            loop.close()


class Forbidding(Halved):
    def validate(self, args: Any) -> None:
        if args[0] is ...:
            raise ConfigError("literals only")


@pytest.mark.parametrize(
    ("function", "args", "problem"),
    [
        (NullShy, 1, "exec(None) raises TypeError"),
        (Counting, 1, "it is stateless, but puts something into its state"),
        (Changing, [1, 2], "changes its arguments; copy them first"),
        (Odd, 4, "exec_batch() gives [0], exec() row by row [2.0]"),
        (Strange, 4, "is no plain data"),
        (Waiting, 4, "it returns something to await"),
        (Forbidding, 4, "validate(...) refuses a good call"),
        (Halved, 4, "validate(5) doesn't refuse the call"),
    ],
)
def test_what_a_function_does_wrong_is_found(function: type[Any], args: Any, problem: str) -> None:
    wrong = [(5,)] if function is Halved else []
    assert problem in problems(check_function, function, calls=[(args,)], wrong=wrong)


class Total(AggregateFunction):
    """Keeps the contract."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def add(self, value: float | None) -> None:
        self.values.append(value or 0)

    def remove(self, value: float | None) -> None:
        del self.values[0]

    def merge(self, newer: Any) -> None:
        self.values += newer.values

    def result(self) -> Any:
        return sum(self.values)


class Replacing(Total):
    def merge(self, newer: Any) -> None:
        self.values = newer.values


class RemovesNewest(Total):
    def remove(self, value: float | None) -> None:
        del self.values[-1]


class Unstored(Total):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def snapshot(self) -> Any:
        return vars(self)


class Draining(Total):
    def result(self) -> Any:
        total = sum(self.values)
        self.values = []
        return total


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (Replacing, "all rows together 6"),
        (RemovesNewest, "without its first 1 rows it gives 3, the other rows alone 5"),
        (Unstored, "override snapshot and restore"),
        (Draining, "result() gives something else when it is called again"),
    ],
)
def test_what_an_aggregate_does_wrong_is_found(function: type[Any], problem: str) -> None:
    assert problem in problems(check_function, function, calls=[(1,), (2,), (3,)])


def test_a_good_aggregate_passes() -> None:
    assert check_function(Total, calls=[(1,), (2,), (3,)]).results == [1, 3, 6]


def test_what_isnt_connected_is_said() -> None:
    class Gone(Ticks):
        async def open(self) -> None:
            raise NotConnected("nobody there")

    assert "NotConnected: nobody there" in problems(check_source, Gone)
