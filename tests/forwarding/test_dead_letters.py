"""What a rule gives up goes to its dead letters, with the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.api import Batch, Config, Emit, Rejected, SameMetadata, Sink, Source, Template
from engine.errors import EngineError
from engine.registry import PluginKind
from engine.run.rule import Rule
from tests.conftest import Rows, eventually
from tests.forwarding.door import START, Setting, setting
from tests.http_server import Server

ROW = '{"n": {{.row.n}}}'
"""What a letter is for a sink of numbers."""


class Payloads(Source[Config]):
    """Gives messages of which some are no JSON."""

    async def run(self, emit: Emit) -> None:
        payloads = [b'{"n": 1}', b"{oops", b"\xff\xfe", b'{"n": 2}']
        await emit(Batch(payloads=payloads, meta=SameMetadata(4, {"topic": "plant/a"})))


class ToConfig(Config):
    topic: Template = Template("")


class Picky(Sink[ToConfig]):
    """Refuses negative numbers, and fails at 13."""

    async def collect(self, batch: Batch) -> None:
        numbers = [row.get("n") or 0 for row in batch.rows or []]
        if 13 in numbers:
            raise ValueError("thirteen")
        refused = [at for at, number in enumerate(numbers) if number < 0]
        if refused:
            raise Rejected("negative", indexes=refused)


async def letters_of(
    here: Setting,
    sql: str,
    rows: Rows,
    *,
    sink: dict[str, Any] | None = None,
    letters: dict[str, Any] | None = None,
    stream: str = "demo",
    expected: int,
    **options: Any,
) -> tuple[Rows, Rule]:
    """Run a rule over rows; return the letters once there are as many as expected."""
    engine = here.engine
    found: Rows = []

    class Letterbox(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            found.extend(batch.rows or ())

    engine.plugins.register(PluginKind.SINK, "letterbox", Letterbox)
    engine.plugins.register(PluginKind.SINK, "picky", Picky)
    engine.plugins.register(PluginKind.SOURCE, "payloads", Payloads)
    engine.define_stream("raw", type="payloads")
    rule = await engine.start(
        {
            "id": "r",
            "sql": sql,
            "options": {"deadLetter": {"letterbox": letters or {}}, **options},
            "actions": [{"picky": {"sendSingle": True, **(sink or {})}}],
        }
    )
    if stream == "demo":
        for row in rows:
            while not await engine.push("demo", [row]):
                await anyio.sleep(0.002)
    await eventually(lambda: len(found) >= expected)
    await here.engine.stop("r")
    assert len(found) == expected
    assert rule.metrics.balance().holds
    return found, rule


async def test_a_message_that_cannot_be_decoded(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        found, rule = await letters_of(here, "SELECT * FROM raw", [], stream="raw", expected=2)
    one, two = found
    assert one.pop("error")
    assert one == {
        "rule": "r",
        "operator": "decode",
        "topic": "plant/a",
        "attempts": 1,
        "at": START,
        "payload": "{oops",
    }
    assert (two["payload"], two["encoding"]) == ("//4=", "base64")
    assert rule.metrics.errors.total() == 2


async def test_what_a_source_itself_finds_malformed(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('[{"n": 1}, 5, {"n": 2}] {"b": broken')
    async with setting(tmp_path) as here:
        here.engine.define_stream("f", type="file", path="", datasource="f", fileType="json")
        found, rule = await letters_of(here, "SELECT * FROM f", [], stream="f", expected=2)
    for letter, at in zip(found, (11, 24), strict=True):
        error = letter.pop("error")
        assert error.startswith("malformed JSON: ")
        assert error.endswith(f"{tmp_path / 'f'} near byte {at}")
        assert letter == {"rule": "r", "operator": "decode", "attempts": 1, "at": START}
    assert rule.metrics.delivered == 2
    assert rule.status.state == "stopped"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/missing", "replied 404"),
        ("/broken", "the reply is no JSON"),
        ("/down", "503 Service Unavailable"),
    ],
)
async def test_a_reply_that_a_stream_can_make_no_row_of(
    tmp_path: Path, path: str, error: str
) -> None:
    with Server() as server:
        server.replies = {"/broken": (200, b"{oops"), "/down": (503, b"")}
        async with setting(tmp_path) as here:
            here.engine.define_stream("h", type="httppull", url=server.url + path)
            found, _ = await letters_of(here, "SELECT * FROM h", [], stream="h", expected=1)
    assert error in found[0]["error"]
    assert found[0]["operator"] == "decode"


async def test_a_row_that_the_query_fails_at(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        rows: Rows = [{"n": 4, "d": 2}, {"n": 1, "d": 0}]
        found, _ = await letters_of(here, "SELECT n / d AS x, * FROM demo", rows, expected=1)
    assert found == [
        {
            "rule": "r",
            "operator": "query",
            "error": "division by zero",
            "attempts": 1,
            "at": START,
            "row": {"n": 1, "d": 0},
        }
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) AS c FROM demo WHERE n / d > 1 GROUP BY COUNTWINDOW(2)",
        "SELECT lag(n) AS before FROM demo WHERE n / d > 1",
        "SELECT n FROM demo WHERE n / d > 1",
    ],
)
async def test_a_row_that_fails_before_or_in_a_window_has_a_letter_too(
    tmp_path: Path, sql: str
) -> None:
    async with setting(tmp_path) as here:
        rows: Rows = [{"n": 4, "d": 2}, {"n": 1, "d": 0}, {"n": 4, "d": 1}]
        found, _ = await letters_of(here, sql, rows, expected=1)
    assert found[0]["error"] == "division by zero"
    assert found[0]["row"] == {"n": 1, "d": 0}


async def test_a_row_that_comes_too_late(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        here.engine.define(
            "CREATE STREAM timed () WITH (TYPE='memory', DATASOURCE='demo', TIMESTAMP='ts')"
        )
        rows: Rows = [{"ts": START}, {"ts": START + 90_000}, {"ts": START + 5, "n": 7}]
        found, rule = await letters_of(
            here,
            "SELECT count(*) AS c FROM timed GROUP BY TUMBLINGWINDOW(ss, 10)",
            rows,
            expected=1,
            isEventTime=True,
            late="deadLetter",
            lateTolerance="1s",
        )
    assert (found[0]["error"], found[0]["row"]) == ("late", {"ts": START + 5, "n": 7})
    assert rule.metrics.dropped.total() == 1


async def test_a_message_that_the_sink_refuses_or_fails_at(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        rows: Rows = [{"n": 1}, {"n": -1}, {"n": 13}]
        found, rule = await letters_of(
            here, "SELECT n FROM demo", rows, sink={"topic": "to/{{.n}}"}, expected=2
        )
    refused, failed = found
    assert (refused["operator"], refused["error"]) == ("sink[picky_0]", "negative")
    assert (refused["row"], refused["topic"]) == ({"n": -1}, "to/-1")
    assert failed["error"].startswith("ValueError: thirteen at ")
    assert failed["row"] == {"n": 13}
    assert rule.metrics.dropped == {
        ("sink[picky_0]", "rejected"): 1,
        ("sink[picky_0]", "sink error"): 1,
    }


async def test_a_row_that_no_message_can_be_made_of(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        found, rule = await letters_of(
            here,
            "SELECT * FROM demo",
            [{"n": 1}, {"m": 2}],
            sink={"topic": "to/{{.n}}"},
            expected=1,
        )
    assert found[0]["row"] == {"m": 2}
    assert "n" in found[0]["error"]
    assert rule.metrics.dropped.total() == 1


async def test_a_refused_letter_makes_no_letter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with setting(tmp_path) as here:
        here.engine.plugins.register(PluginKind.SINK, "picky", Picky)
        rule = await here.engine.start(
            {
                "id": "r",
                "sql": "SELECT n FROM demo",
                "options": {"deadLetter": {"picky": {"topic": "x/{{.nothing}}"}}},
                "actions": [{"picky": {"sendSingle": True}}],
            }
        )
        await here.push(13)
        assert rule.parts is not None
        assert rule.parts.letters is not None
        letters = rule.parts.letters
        await eventually(lambda: letters.metrics.exceptions == 1)
        await here.engine.stop("r")
        assert rule.metrics.balance().holds
        assert letters.metrics.exceptions == 1
    assert "rule=r dead letters lost: 1, at last: " in caplog.text


@pytest.mark.parametrize("kind", ["rest", "file"])
async def test_letters_that_are_refused_are_told_of_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    with Server() as server:
        server.otherwise = lambda asked: (400, b"")
        sink: dict[str, Any] = {
            "rest": {"url": server.url},
            "file": {"path": "out/{{.rule}}/{{.nothing}}"},
        }[kind]
        async with setting(tmp_path) as here:
            rule = await here.engine.start(
                {
                    "id": "r",
                    "sql": "SELECT n / 0 AS x FROM demo",
                    "options": {"deadLetter": {kind: sink}},
                    "actions": [{"nop": {}}],
                }
            )
            for n in range(5):
                await here.push(n)
            assert rule.parts is not None
            letters = rule.parts.letters
            assert letters is not None
            await eventually(lambda: letters.metrics.exceptions == 5)
            await here.engine.stop("r")
    assert caplog.text.count("rule=r sink[deadLetter]: dead letters are lost and counted: ") == 1
    assert "rule=r dead letters lost: 5, at last: " in caplog.text
    assert rule.metrics.balance().holds


async def test_letters_that_nobody_has_taken_at_the_end_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        rule = await here.engine.start(
            {
                "id": "r",
                "sql": "SELECT n / 0 AS x FROM demo",
                "options": {"deadLetter": {"door": {}}},
                "actions": [{"nop": {}}],
            }
        )
        for n in range(7):
            await here.push(n)
        await eventually(lambda: rule.metrics.errors.total() == 7)
        await here.engine.stop("r")
    assert "rule=r dead letters lost: 7, at last: not delivered before the end" in caplog.text
    assert rule.metrics.balance().holds


async def test_letters_in_a_cache_are_not_lost_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with setting(tmp_path) as here:
        here.world.is_open = False
        definition: dict[str, Any] = {
            "id": "r",
            "sql": "SELECT n, n / 0 AS x FROM demo",
            "options": {"deadLetter": {"door": {"enableCache": True, "dataTemplate": ROW}}},
            "actions": [{"nop": {}}],
        }
        rule = await here.engine.start(definition)
        await here.push(1, 2)
        await eventually(lambda: rule.metrics.errors.total() == 2)
        await here.engine.stop("r")
        here.world.is_open = True
        await here.engine.start(definition)
        await here.until(lambda: here.world.got == [1, 2])
    assert "dead letters lost" not in caplog.text


async def test_late_rows_go_to_a_sink_that_exists(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        with pytest.raises(EngineError, match="late: deadLetter, but no sink for dead letters"):
            await here.engine.start(
                {
                    "id": "r",
                    "sql": "SELECT n FROM demo",
                    "options": {"late": "deadLetter"},
                    "actions": [{"nop": {}}],
                }
            )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"log": {}, "memory": {"topic": "x"}}, "deadLetter is one sink, found log, memory"),
        ({"lgo": {}}, "unknown sink 'lgo'"),
        ({"memory": {}}, "topic"),
    ],
)
async def test_a_dead_letter_sink_that_cant_work_is_refused(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    async with setting(tmp_path) as here:
        with pytest.raises(EngineError) as caught:
            await here.engine.start(
                {
                    "id": "r",
                    "sql": "SELECT n FROM demo",
                    "options": {"deadLetter": given},
                    "actions": [{"nop": {}}],
                }
            )
        assert message in str(caught.value)


async def test_letters_that_come_too_fast_are_dropped_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release, found = anyio.Event(), []

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await release.wait()
            found.extend(batch.rows or ())

    async with setting(tmp_path) as here:
        here.engine.plugins.register(PluginKind.SINK, "slow", Slow)
        options = {"deadLetter": {"slow": {"bufferLength": 5}}}
        rule = await here.engine.start(
            {
                "id": "r",
                "sql": "SELECT n % 0 AS x FROM demo",
                "options": options,
                "actions": [{"nop": {}}],
            }
        )
        for n in range(20):
            while not await here.engine.push("demo", [{"n": n}]):
                await anyio.sleep(0.002)
        await eventually(lambda: sum(rule.metrics.errors.values()) == 20)
        assert caplog.text.count("rule=r dead letters come faster than") == 1
        release.set()
        await here.engine.stop("r")
    dropped = 20 - len(found)
    assert 0 < dropped < 20
    assert f"rule=r dead letters lost: {dropped}, at last: buffer full" in caplog.text
    assert rule.metrics.balance().holds
