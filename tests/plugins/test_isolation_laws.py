"""Rules of any number share nothing of their plugins, except an instance that is exported."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind
from tests.conftest import eventually
from tests.plugins.folder import PluginRoot

TRACK = """\
from engine.api import Function

class _Track(Function):
    def __init__(self):
        self.seen = []

    def exec(self, ctx, value):
        self.seen.append(value)
        ctx.put_state("sum", ctx.get_state("sum", 0) + value)
        return [ctx.incr_counter("calls"), ctx.get_state("sum"), len(self.seen)]

"""


class Results(Sink[Config]):
    """What each rule has given, in the attribute of the class."""

    rows: dict[str, list[Any]]

    async def collect(self, batch: Batch) -> None:
        found = self.rows.setdefault(self.ctx.rule_id, [])
        found += [(row["one"], row["two"]) for row in batch.rows or ()]


async def run(export: str, divisors: list[int], batches: list[list[int]]) -> dict[str, list[Any]]:
    """Run a rule for each divisor, which has two uses of the function; return what each gave."""
    Results.rows = {}
    with tempfile.TemporaryDirectory() as folder:
        PluginRoot(Path(folder)).write("functions", "track.py", TRACK + export)
        async with Engine(folder, drain=5) as engine:
            engine.plugins.register(PluginKind.SINK, "results", Results)
            engine.define_stream("demo", type="memory", datasource="demo")
            for number, divisor in enumerate(divisors):
                sql = f"SELECT track(n) AS one, track(-n) AS two FROM demo WHERE n % {divisor} = 0"
                rule = {"id": f"r{number}", "sql": sql, "actions": [{"results": {}}]}
                started = await engine.start(rule)
                await eventually(lambda rule=started: rule.status.state == "running")
            pushing = [engine.push("demo", [{"n": n} for n in batch]) for batch in batches]
            await asyncio.gather(*pushing)
    return Results.rows


divisors = st.lists(st.integers(1, 3), min_size=1, max_size=5)
batches = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), max_size=4)


@settings(max_examples=15)
@given(divisors, batches)
def test_isolated_instances_know_their_own_calls_only(
    divisors: list[int], batches: list[list[int]]
) -> None:
    given = asyncio.run(run("Track = _Track if True else None", divisors, batches))
    for number, divisor in enumerate(divisors):
        rows = [n for batch in batches for n in batch if n % divisor == 0]
        sums = [sum(rows[: index + 1]) for index in range(len(rows))]
        expected = [([i, s, i], [i, -s, i]) for i, s in enumerate(sums, 1)]
        assert given.get(f"r{number}", []) == expected


@settings(max_examples=15)
@given(divisors, batches)
def test_a_shared_instance_has_common_attributes_and_state_for_each_use(
    divisors: list[int], batches: list[list[int]]
) -> None:
    given = asyncio.run(run("Track = _Track()", divisors, batches))
    calls = []
    for number, divisor in enumerate(divisors):
        rows = [n for batch in batches for n in batch if n % divisor == 0]
        found = given.get(f"r{number}", [])
        assert [one[0] for one, _ in found] == [*range(1, len(rows) + 1)]
        assert [one[1] for one, _ in found] == [sum(rows[: i + 1]) for i in range(len(rows))]
        assert [two[1] for _, two in found] == [-sum(rows[: i + 1]) for i in range(len(rows))]
        calls += [use[2] for pair in found for use in pair]
    assert sorted(calls) == [*range(1, len(calls) + 1)]
