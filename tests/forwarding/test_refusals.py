"""Of the messages of a batch each is refused for itself, with the reason that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Engine
from engine.api import Batch, Config, NotConnected, Rejected, Sink
from engine.registry import PluginKind
from engine.run.rule import Rule
from tests.conftest import Rows, eventually
from tests.http_server import Asked, Reply, Server
from tests.mosquitto import Mosquitto

EMPTY, WILDCARD = "the topic is empty", "the topic holds a wildcard"


async def reasons(
    engine: Engine, letters: Rows, sink: dict[str, dict[str, Any]], rows: Rows
) -> tuple[dict[Any, str], Rule]:
    """Run a rule over one batch; return the errors of the letters, by the number of the row."""
    for properties in sink.values():
        properties.update(sendSingle=True)
    rule = await engine.start(
        {
            "id": "r",
            "sql": "SELECT * FROM demo",
            "actions": [sink],
            "options": {"deadLetter": {"collect": {}}},
        }
    )
    with anyio.fail_after(5):
        while not await engine.push("demo", rows):
            await anyio.sleep(0.002)
    await eventually(lambda: rule.metrics.received and not rule.metrics.pending)
    await engine.stop("r")
    assert rule.metrics.balance().holds
    assert rule.metrics.dropped.total() == len(letters)
    return {number_of(letter): letter["error"] for letter in letters}, rule


def number_of(letter: dict[str, Any]) -> Any:
    row = letter.get("row")
    return letter["payload"] if row is None else row["n"]


def payload(number: int, **more: Any) -> str:
    others = "".join(f',"{name}":"{value}"' for name, value in more.items())
    return f'{{"n":{number}{others}}}'


async def test_topics_of_mqtt(engine: Engine, collected: Rows, tmp_path: Path) -> None:
    topics = ["", "a/+", "fine", "b/#", ""]
    with Mosquitto(tmp_path) as broker:
        sink = {"mqtt": {"server": broker.url, "topic": "{{.t}}"}}
        rows: Rows = [{"n": n, "t": topic} for n, topic in enumerate(topics)]
        found, rule = await reasons(engine, collected, sink, rows)
    whys = [EMPTY, WILDCARD, "", WILDCARD, EMPTY]
    assert found == {
        payload(n, t=topic): why
        for n, (topic, why) in enumerate(zip(topics, whys, strict=True))
        if why
    }
    assert rule.metrics.delivered == 1


async def test_topics_inside_the_engine(engine: Engine, collected: Rows) -> None:
    got: Rows = []

    class Taking(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            got.extend(batch.rows or ())

    engine.plugins.register(PluginKind.SINK, "taking", Taking)
    engine.define_stream("all", type="memory", datasource="#")
    await engine.start({"id": "all", "sql": "SELECT n FROM all", "actions": [{"taking": {}}]})
    topics = ["", "x/1", "x/+", "x/2", "#", "nobody"]
    rows: Rows = [{"n": n, "t": topic} for n, topic in enumerate(topics)]
    found, rule = await reasons(engine, collected, {"memory": {"topic": "{{.t}}"}}, rows)
    assert found == {0: EMPTY, 2: WILDCARD, 4: WILDCARD}
    await eventually(lambda: len(got) == 9)
    assert [row["n"] for row in got] == [*range(6), 1, 3, 5]  # at first what was pushed
    assert rule.metrics.delivered == 3


async def test_kinds_of_changes_inside_the_engine(engine: Engine, collected: Rows) -> None:
    kinds = [None, "insert", "replace", "delete", 5]
    rows: Rows = [{"n": n, "kind": kind} for n, kind in enumerate(kinds)]
    sink = {"memory": {"topic": "t", "keyField": "n", "rowkindField": "kind"}}
    found, rule = await reasons(engine, collected, sink, rows)
    known = "insert, update, upsert, delete"
    assert found == {
        2: f"'replace' is no kind of change: {known}",
        4: f"5 is no kind of change: {known}",
    }
    assert rule.metrics.delivered == 3


async def test_paths_of_files(engine: Engine, collected: Rows, tmp_path: Path) -> None:
    paths = ["../a", "fine", "x" * 300, "../b"]
    rows: Rows = [{"n": n, "p": path} for n, path in enumerate(paths)]
    found, _ = await reasons(engine, collected, {"file": {"path": "out/{{.p}}"}}, rows)
    assert set(found) == {payload(n, p=paths[n]) for n in (0, 2, 3)}
    assert "'out/../a' leads out" in found[payload(0, p="../a")]
    assert "too long" in found[payload(2, p="x" * 300)]
    assert "'out/../b' leads out" in found[payload(3, p="../b")]
    assert (tmp_path / "out" / "fine").exists()


async def test_replies_of_a_server(engine: Engine, collected: Rows) -> None:
    def reply(asked: Asked) -> Reply:
        return int(asked.path.rpartition("/")[2]), b""

    codes = [400, 200, 404, 400]
    with Server() as server:
        server.otherwise = reply
        rows: Rows = [{"n": n, "c": code} for n, code in enumerate(codes)]
        sink = {"rest": {"url": server.url + "/{{.c}}"}}
        found, _ = await reasons(engine, collected, sink, rows)
    assert [why.rpartition("/")[2] for why in found.values()] == [
        "400 replied 400",
        "404 replied 404",
        "400 replied 400",
    ]


@pytest.mark.parametrize(("kinds", "told"), [(3, "a; b; c"), (5, "a; b; c; and 2 other reasons")])
async def test_the_account_tells_some_reasons_of_many(
    engine: Engine, collected: Rows, kinds: int, told: str
) -> None:
    class Picky(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            raise Rejected.each({n: "abcde"[n] for n in range(kinds)})

    engine.plugins.register(PluginKind.SINK, "picky", Picky)
    rows: Rows = [{"n": n} for n in range(kinds + 1)]
    found, rule = await reasons(engine, collected, {"picky": {}}, rows)
    assert found == {n: "abcde"[n] for n in range(kinds)}
    assert rule.metrics.last_error == f"sink[picky_0]: {told}"


@pytest.mark.parametrize("kind", [Rejected, NotConnected])
@pytest.mark.parametrize("indexes", [[7], [-1, 0], ["first"]])
async def test_messages_that_a_sink_names_and_never_had(
    engine: Engine, caplog: pytest.LogCaptureFixture, kind: Any, indexes: list[Any]
) -> None:
    calls = 0

    class Wrong(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise kind("no", indexes=indexes)

    engine.plugins.register(PluginKind.SINK, "wrong", Wrong)
    actions = [{"wrong": {"sendSingle": True, "resendInterval": "10ms"}}]
    made = await engine.start({"id": "r", "sql": "SELECT n FROM demo", "actions": actions})
    await eventually(lambda: made.status.state == "running")
    await engine.push("demo", [{"n": 1}, {"n": 2}])
    await engine.push("demo", [{"n": 3}])
    await eventually(lambda: made.metrics.balance().pending == 0 and made.metrics.received == 3)
    assert made.status.state == "running"
    assert made.metrics.delivered == (1 if kind is Rejected else 3)
    assert made.metrics.balance().holds
    assert f"collect() names messages {indexes} of a batch of 2" in caplog.text
