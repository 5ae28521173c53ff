"""What is counted as an error or dropped is counted by reasons, of which there are few."""

from __future__ import annotations

from engine import Engine
from engine.api import Batch, Config, Emit, RowError, Source
from engine.registry import PluginKind
from engine.run.metrics import MOST_REASONS
from engine.run.rule import Rule


async def run_to_its_end(engine: Engine, failures: list[RowError]) -> Rule:
    class Failing(Source[Config]):
        async def run(self, emit: Emit) -> None:
            await emit(Batch([], failures=failures))

    engine.plugins.register(PluginKind.SOURCE, "failing", Failing)
    engine.define_stream("f", type="failing")
    rule = await engine.start({"id": "r", "sql": "SELECT * FROM f", "actions": [{"nop": {}}]})
    await rule.finished.wait()
    assert rule.metrics.balance().holds
    return rule


async def test_errors_are_counted_by_their_kind_or_by_how_they_begin(engine: Engine) -> None:
    failures = [
        RowError("a, b: much more"),
        RowError("a, b: something else"),
        RowError("http://host/1: gone", kind="gone"),
        RowError("http://host/2: gone", kind="gone"),
    ]
    rule = await run_to_its_end(engine, failures)
    assert rule.metrics.errors == {("decode", "a, b"): 2, ("decode", "gone"): 2}
    assert rule.metrics.last_error == "decode: http://host/2: gone"


async def test_reasons_beyond_those_that_can_be_kept_are_counted_together(engine: Engine) -> None:
    failures = [RowError(f"{number} is wrong") for number in range(3 * MOST_REASONS)]
    rule = await run_to_its_end(engine, [*failures, RowError("0 is wrong")])
    errors = rule.metrics.errors
    assert errors.total() == len(failures) + 1
    assert errors["decode", "0 is wrong"] == 2
    assert errors["decode", "other reasons"] == 2 * MOST_REASONS
    assert len(errors) == MOST_REASONS + 1
