"""Every row that came in is accounted for, whatever became of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, NamedTuple

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Engine
from engine.batch import Row
from engine.run.rule import Rule
from engine.testing import START, Feed, Message, Outcome, run_case
from tests.laws.pipelines import Run, Setting
from tests.laws.queries import arrivals, conditions, join_queries, queries, timed_windows

STREAM = "CREATE STREAM {} () WITH (TIMESTAMP='ts')".replace("'", '"')
TABLE = 'CREATE TABLE t () WITH (RETAIN_SIZE="3")'
BROKEN = b'{"i": '


class Account(NamedTuple):
    """What became of a rule whose run is over."""

    outcome: Outcome
    rule: Rule
    sent: int
    """Messages that were given to it, where each holds one row or can't be read."""


def accounted(sql: str, feeds: dict[str, list[Message]], options: dict[str, Any]) -> Account:
    """Run a rule; its streams are ``demo``, ``other`` and the table ``t``."""
    engines: list[Engine] = []
    names = ["demo", *(["other"] if "JOIN other" in sql else [])]
    tables = [Feed(TABLE, feeds["t"])] if "JOIN t" in sql else []

    async def run() -> Outcome:
        return await run_case(
            sql,
            [Feed(STREAM.format(name), feeds[name]) for name in names],
            tables=tables,
            options=options,
            advance_to=60_000,
            prepare=engines.append,
        )

    if options.get("late") == "deadLetter":
        options = {**options, "deadLetter": {"nop": {}}}
    outcome = anyio.run(run)
    assert outcome.refused is None
    assert outcome.failure == ""
    used = [*names, *(["t"] if tables else [])]
    return Account(outcome, engines[0].rules["case"], sum(len(feeds[name]) for name in used))


@st.composite
def messages(draw: st.DrawFn) -> list[Message]:
    """Messages of a stream: rows with a time or something else in ``ts``, and broken ones."""
    found: list[Message] = []
    for at, row in draw(arrivals(most=12)):
        stamp = draw(st.sampled_from([at, at, at, at - 40, at + 40, "x", None]))
        dated: Row = {**row, "ts": START + stamp if isinstance(stamp, int) else stamp}
        broken = draw(st.integers(0, 9)) == 0
        found.append(Message(at, BROKEN if broken else json.dumps(dated).encode()))
    return found


feeds = st.fixed_dictionaries({name: messages() for name in ("demo", "other", "t")})
event_times = st.fixed_dictionaries(
    {
        "isEventTime": st.just(True),
        "lateTolerance": st.sampled_from([0, "50ms"]),
        "late": st.sampled_from(["drop", "emit", "deadLetter"]),
        "idleTimeout": st.sampled_from(["100ms", "1s"]),
        "maxAhead": st.sampled_from(["10ms", "1h"]),
    }
)
options: st.SearchStrategy[dict[str, Any]] = st.one_of(st.just({}), event_times)


def _rows_of_errors(outcome: Outcome) -> int:
    return sum("error" in row for row in outcome.rows)


@settings(max_examples=80, deadline=None)
@given(sql=st.one_of(queries, join_queries()), found=feeds, times=options, sends=st.booleans())
def test_every_row_is_in_exactly_one_place(
    sql: str, found: dict[str, list[Message]], times: dict[str, Any], sends: bool
) -> None:
    outcome, rule, sent = accounted(sql, found, {**times, "sendError": sends})
    balance = rule.metrics.balance()
    assert balance.holds, balance
    assert balance.received == sent
    assert balance.pending == 0
    assert balance.errors == sum(outcome.errors.values())
    late = 0 if times.get("late") == "emit" else rule.counts.get("late", 0)
    assert rule.metrics.dropped["query", "late"] == late
    errors = _rows_of_errors(outcome)
    assert errors == (balance.errors if sends else 0)
    assert balance.delivered == len(outcome.rows) - errors
    assert min(dataclasses.astuple(balance)) >= 0, balance


@settings(max_examples=25, deadline=None)
@given(
    window=timed_windows,
    where=conditions,
    kept=conditions,
    select=st.sampled_from(["i", "count(*) AS n", "k, sum(v) AS total"]),
    found=arrivals(wild=False),
)
def test_rows_that_fail_a_condition_are_filtered_and_all_others_windowed(
    window: str, where: str, kept: str, select: str, found: list[tuple[int, Row]]
) -> None:
    messages = [Message(at, json.dumps(row).encode()) for at, row in found]
    passing = Run(Setting(f"SELECT i FROM demo WHERE ({where}) AND ({kept})"))
    passing.feed([(at, "demo", [row]) for at, row in found])
    by = "k, " * select.startswith("k")
    sql = f"SELECT {select} FROM demo WHERE {where} GROUP BY {by}{window} FILTER (WHERE {kept})"
    outcome, rule, sent = accounted(sql, {"demo": messages}, {})
    balance = rule.metrics.balance()
    assert balance.windowed == len(passing.emissions)
    assert balance.filtered == sent - balance.errors - balance.windowed
    assert balance.surplus == balance.delivered == len(outcome.rows)
