"""``restartStrategy``: how a failed rule comes back, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from engine import Engine
from engine.api import Batch, Config, ConfigError, Source
from engine.clock import VirtualClock, settled
from engine.registry import PluginKind
from tests.conftest import Rows
from tests.life.support import MINUTE, SECOND, START, rule, started


class Runs:
    """A source that fails when told, and the times at which it was run."""

    def __init__(self, engine: Engine, clock: VirtualClock) -> None:
        self.times: list[float] = []
        self.failing = anyio.Event()
        self.is_failing = True
        self.is_refused = False
        runs = self

        class Shaky(Source[Config]):
            def validate(self) -> None:
                if runs.is_refused:
                    raise ConfigError("not now")

            async def run(self, emit: Any) -> None:
                runs.times.append((clock.now() - START) / SECOND)
                await emit(Batch([{"n": len(runs.times)}]))
                if not runs.is_failing:
                    await runs.failing.wait()
                raise RuntimeError("boom")

        engine.plugins.register(PluginKind.SOURCE, "shaky", Shaky)
        engine.define_stream("s", type="shaky")


@pytest.fixture
def runs(engine: Engine, clock: VirtualClock, collected: Rows) -> Runs:
    return Runs(engine, clock)


def strategy(**values: Any) -> dict[str, Any]:
    return rule("SELECT n FROM s", restartStrategy={"jitterFactor": 0, **values})


async def test_without_attempts_a_failure_is_final(
    engine: Engine, runs: Runs, clock: VirtualClock
) -> None:
    made = await started(engine, strategy())
    await clock.advance_to(START + 60 * MINUTE)
    assert runs.times == [0]
    assert made.status.state == "stopped by error"
    assert made.status.message.startswith("RuntimeError: boom at ")


@pytest.mark.parametrize(
    ("values", "times"),
    [
        ({"attempts": 3}, [0, 1, 3, 7]),
        ({"attempts": 3, "delay": "500ms", "multiplier": 3}, [0, 0.5, 2, 6.5]),
        ({"attempts": 5, "delay": "10s", "maxDelay": "25s"}, [0, 10, 30, 55, 80, 105]),
        ({"attempts": 2, "delay": 2000, "multiplier": 1}, [0, 2, 4]),
    ],
)
async def test_delays_grow_by_the_multiplier_up_to_the_longest(
    engine: Engine, runs: Runs, clock: VirtualClock, values: dict[str, Any], times: list[float]
) -> None:
    made = await started(engine, strategy(**values))
    assert made.status.state == "backing off"
    assert made.status.message.startswith("RuntimeError: boom at ")
    await clock.advance_to(START + 60 * MINUTE)
    assert runs.times == times
    assert made.status.state == "stopped by error"
    assert made.metrics.balance().holds


async def test_jitter_shortens_delays_by_up_to_its_factor(
    engine: Engine, runs: Runs, clock: VirtualClock
) -> None:
    values = {"attempts": 40, "delay": "10s", "multiplier": 1, "jitterFactor": 0.5}
    await started(engine, strategy(**values))
    await clock.advance_to(START + 60 * MINUTE)
    delays = [after - before for before, after in zip(runs.times, runs.times[1:], strict=False)]
    assert len(delays) == 40
    assert all(5 <= delay <= 10 for delay in delays)
    assert len(set(delays)) > 20
    assert min(delays) < 6
    assert max(delays) > 9


@pytest.mark.parametrize(("lasting", "is_forgotten"), [(30, False), (31, True)])
async def test_failures_before_a_healthy_run_are_forgotten(
    engine: Engine, runs: Runs, clock: VirtualClock, lasting: int, is_forgotten: bool
) -> None:
    """A run that is up for longer than ``maxDelay`` is no part of a row of failures."""
    made = await started(engine, strategy(attempts=2))
    runs.is_failing = False  # from the second run on: after 1 s
    await clock.advance_to(START + SECOND)
    assert made.status.state == "running"
    await clock.advance_to(START + (1 + lasting) * SECOND)
    runs.is_failing = True
    runs.failing.set()
    await settled()
    await clock.advance_to(START + 60 * MINUTE)
    failed_at = 1 + lasting
    later = [failed_at + 1, failed_at + 3] if is_forgotten else [failed_at + 2]
    assert runs.times == [0, 1, *later]


async def test_a_stop_ends_the_waiting(engine: Engine, runs: Runs, clock: VirtualClock) -> None:
    made = await started(engine, strategy(attempts=5, delay="1h"))
    with anyio.fail_after(3):
        await engine.stop("r")
    assert made.status.state == "stopped"
    await clock.advance_to(START + 120 * MINUTE)
    assert runs.times == [0]


async def test_a_start_does_not_end_the_waiting(
    engine: Engine, runs: Runs, clock: VirtualClock
) -> None:
    await started(engine, strategy(attempts=5, delay="1h"))
    await engine.start("r")
    await settled()
    assert runs.times == [0]
    await engine.restart("r")
    await settled()
    assert runs.times == [0, 0]


async def test_a_rule_that_cannot_be_made_for_a_while_is_an_attempt_as_well(
    engine: Engine, runs: Runs, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = await started(engine, strategy(attempts=3))
    runs.is_refused = True
    await clock.advance_to(START + SECOND)
    assert made.status.state == "backing off"
    assert "not now" in made.status.message
    assert made.metrics.last_error.endswith("not now")
    runs.is_refused = False
    await clock.advance_to(START + 3 * SECOND)
    assert runs.times == [0, 3]
    runs.is_refused = True
    await clock.advance_to(START + 60 * MINUTE)
    assert made.status.state == "stopped by error"
    assert runs.times == [0, 3]
    assert caplog.records[-1].getMessage().endswith("not now")
    assert caplog.records[-1].levelname == "ERROR"
