"""Rules that feed each other through memory topics: what would come back is refused."""

from __future__ import annotations

import gc
import json
import tempfile
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import ConfigError, Engine, EngineError
from engine.clock import VirtualClock, settled
from engine.config.load import load
from engine.config.rule import RuleSet
from engine.topics import matches
from tests.conftest import Rows

FILTERS = {"a": "a", "b": "b", "c": "c", "deep": "a/+", "all": "#"}
"""Streams by name, with the filters that they read."""
TOPICS = ("a", "b", "c", "a/x", "a/{{.n}}", "d")


def passing(rule_id: str, stream: str, *topics: str) -> dict[str, Any]:
    """A rule that hands rows on from a stream to topics."""
    actions = [{"memory": {"topic": topic}} for topic in topics]
    return {"id": rule_id, "sql": f"SELECT * FROM {stream}", "actions": actions}


def engine_with_streams(root: str) -> Engine:
    engine = Engine(root, clock=VirtualClock())
    for name, topic_filter in FILTERS.items():
        engine.define_stream(name, type="memory", datasource=topic_filter)
    return engine


async def test_a_way_back_is_told(tmp_path: Any) -> None:
    async with engine_with_streams(str(tmp_path)) as engine:
        with pytest.raises(ConfigError, match="x → topic a → x"):
            await engine.start(passing("x", "a", "d", "a"))
        await engine.start(passing("one", "a", "b"))
        await engine.start(passing("two", "b", "a/{{.n}}"))
        way = r"three → topic a → one → topic b → two → topic a/\{\{\.n\}\} → three"
        with pytest.raises(ConfigError, match=way):
            await engine.start(passing("three", "deep", "a"))
        assert set(engine.rules) == {"one", "two"}


async def test_only_rules_that_run_stand_in_the_way(tmp_path: Any) -> None:
    async with engine_with_streams(str(tmp_path)) as engine:
        await engine.start(passing("there", "a", "b"))
        back = passing("back", "b", "a")
        with pytest.raises(ConfigError, match="come back"):
            await engine.start(back)
        await engine.update(passing("there", "a", "c"))
        await engine.start(back)
        with pytest.raises(EngineError, match="come back"):
            await engine.update(passing("there", "a", "b"))
        await engine.stop("back")
        await engine.update(passing("there", "a", "b"))
        await engine.delete("there")
        gc.collect()
        await engine.start("back")
        await settled()
        assert engine.rules["back"].status.state == "running"


rules_of_a_chain = st.lists(
    st.tuples(st.sampled_from(sorted(FILTERS)), st.sampled_from(TOPICS), st.booleans()),
    min_size=1,
    max_size=7,
)


async def test_an_update_that_would_come_back_leaves_the_rule_running(tmp_path: Any) -> None:
    async with engine_with_streams(str(tmp_path)) as engine:
        there = await engine.start(passing("there", "a", "c"))
        await engine.start(passing("back", "b", "a"))
        await settled()
        since = engine.status("there").since
        with pytest.raises(ConfigError, match="come back"):
            await engine.update(passing("there", "a", "b"))
        assert engine.rules["there"] is there
        assert (engine.status("there").state, engine.status("there").since) == ("running", since)


async def test_files_are_checked_as_a_whole_before_a_rule_is_stopped(tmp_path: Any) -> None:
    def files(*rules: dict[str, Any]) -> RuleSet:
        source = tmp_path / "rules.json"
        streams = {name: {"type": "memory", "datasource": at} for name, at in FILTERS.items()}
        source.write_text(json.dumps({"streams": streams, "rules": rules}))
        return load(source)

    async with Engine(tmp_path, clock=VirtualClock()) as engine:
        await engine.apply(files(passing("one", "a", "b"), passing("two", "b", "c")))
        await settled()
        one = engine.rules["one"]
        with pytest.raises(ConfigError, match="come back"):
            await engine.apply(files(passing("one", "a", "c"), passing("two", "c", "a")))
        with pytest.raises(ConfigError, match="come back"):
            await engine.apply(
                files(passing("one", "a", "b"), passing("two", "c", "d"), passing("new", "b", "a"))
            )
        assert engine.rules["one"] is one
        assert engine.status("one").state == "running"
        turned = files(passing("one", "b", "a"), passing("two", "c", "b"))
        assert set((await engine.apply(turned)).replaced) == {"one", "two"}


@settings(max_examples=40)
@given(rules_of_a_chain)
def test_a_rule_is_refused_exactly_if_its_results_can_come_back(
    rules: list[tuple[str, str, bool]],
) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as root:
            async with engine_with_streams(root) as engine:
                running: list[tuple[str, str]] = []
                for number, (stream, topic, stops) in enumerate(rules):
                    rule = passing(f"r{number}", stream, topic)
                    if comes_back(stream, topic, running):
                        with pytest.raises(ConfigError, match="come back"):
                            await engine.start(rule)
                        continue
                    await engine.start(rule)
                    if stops:
                        await engine.stop(f"r{number}")
                    else:
                        running.append((stream, topic))

    anyio.run(run)


def comes_back(stream: str, topic: str, running: list[tuple[str, str]]) -> bool:
    """Tell whether rows on a topic reach the rule that reads a stream, by trying all ways."""
    reached, more = {topic}, True
    while more:
        fed = {further for reads, further in running if any(takes(reads, each) for each in reached)}
        more = not fed <= reached
        reached |= fed
    return any(takes(stream, each) for each in reached)


def takes(stream: str, topic: str) -> bool:
    """Tell whether a stream takes a topic; a template is one of which nothing is known."""
    return matches(FILTERS[stream], topic.replace("{{.n}}", "\0"))


async def test_a_computed_topic_that_leads_back_costs_its_messages_only(
    engine: Engine, collected: Rows
) -> None:
    for name in "abc":
        engine.define_stream(name, type="memory", datasource=name)
    for rule_id, stream in (("one", "a"), ("two", "b")):
        definition = passing(rule_id, stream, "{{.next}}")
        definition["actions"][0]["memory"]["sendSingle"] = True
        await engine.start(definition)
    await engine.start({"id": "end", "sql": "SELECT n FROM c", "actions": [{"collect": {}}]})
    await settled()
    await engine.push("a", [{"n": n, "next": topic} for n, topic in enumerate("acbbc")])
    await settled()
    one, two = engine.rules["one"].metrics, engine.rules["two"].metrics
    assert [row["n"] for row in collected] == [1, 4]
    assert (one.received, one.delivered, one.errors.total() + one.dropped.total()) == (5, 4, 1)
    assert "one → topic a → one" in one.last_error
    assert two.received == 2
    assert "come back without end: two → topic b → two" in two.last_error
    await engine.push("b", [{"n": 9, "next": "a"}])
    await settled()
    assert "two → topic a → one → topic b → two" in two.last_error
    await engine.stop("one")
    await engine.push("b", [{"n": 10, "next": "a"}])
    await settled()
    assert all(metrics.balance().holds for metrics in (one, two))
