"""A rule says how the lookup tables that it joins are doing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine import Engine
from engine.api import Config, LookupSource, NotConnected, Row
from engine.clock import VirtualClock, settled
from engine.registry import PluginKind
from tests.lookup.support import START

SQL = "SELECT demo.id, t.name FROM demo INNER JOIN t ON demo.id = t.id"


class Names(LookupSource[Config]):
    """Knows the name of 1, unless it is away; raises for 0."""

    is_away: ClassVar[bool] = False

    async def lookup(
        self, fields: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[Row]:
        if Names.is_away:
            raise NotConnected("nobody there")
        if values[0] == 0:
            raise ValueError("zero")
        return [{"id": 1, "name": "one"}] if values[0] == 1 else []


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
async def engine(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Engine]:
    Names.is_away = False
    async with Engine(tmp_path, clock=clock, drain=0) as engine:
        engine.plugins.register(PluginKind.SOURCE, "names", Names)
        engine.define_stream("demo", type="memory", datasource="demo")
        engine.define('CREATE TABLE t () WITH (TYPE="names", KIND="lookup")')
        await start(engine, "a")
        yield engine


async def start(engine: Engine, rule_id: str) -> None:
    await engine.start({"id": rule_id, "sql": SQL, "actions": [{"nop": {}}]})
    await settled()


def of_table(engine: Engine, name: str) -> Any:
    return engine.status("a").flat()[f"source_t_0_{name}"]


async def test_a_table_is_an_operator_of_the_rule(engine: Engine) -> None:
    await engine.push("demo", [{"id": 1}, {"id": 2}, {"id": 0}])
    await settled()
    counts = ("records_in_total", "records_out_total", "exceptions_total", "connection_status")
    assert [of_table(engine, name) for name in counts] == [3, 2, 1, 1]
    topology = engine.topology("a")
    assert topology.sources == ("source_demo", "source_t")
    assert topology.edges["source_t"] == ("op_3_project",)


async def test_all_rules_say_that_a_table_is_lost_and_found(
    engine: Engine, clock: VirtualClock
) -> None:
    Names.is_away = True
    await engine.push("demo", [{"id": 1}])
    await settled()
    await start(engine, "b")
    for rule_id in ("a", "b"):
        status = engine.rules[rule_id].status
        assert (status.state, status.message) == ("connecting", "source[t]: nobody there")
    assert of_table(engine, "connection_last_disconnected_message") == "nobody there"
    Names.is_away = False
    await clock.advance_to(START + 60_000)
    assert {rule.status.state for rule in engine.rules.values()} == {"running"}
    assert of_table(engine, "connection_status") == 1


async def test_a_stopped_rule_hears_nothing_more(engine: Engine, clock: VirtualClock) -> None:
    await start(engine, "b")
    await engine.stop("a")
    Names.is_away = True
    await engine.push("demo", [{"id": 1}])
    await settled()
    assert engine.rules["b"].status.state == "connecting"
    assert "source[t]" not in engine.rules["a"].status.connections


async def test_a_table_that_is_joined_twice_counts_as_one(engine: Engine) -> None:
    sql = (
        "SELECT demo.id FROM demo LEFT JOIN t AS x ON demo.id = x.id "
        "LEFT JOIN t AS y ON demo.id = y.id"
    )
    await engine.start({"id": "twice", "sql": sql, "actions": [{"nop": {}}]})
    await settled()
    await engine.push("demo", [{"id": 1}])
    await settled()
    assert engine.status("twice").flat()["source_t_0_records_in_total"] == 2
