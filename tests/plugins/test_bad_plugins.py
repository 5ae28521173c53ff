"""Plugins that raise, hang, lie or leak: their rule says so, and nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine.guard as guard
from engine import Engine
from engine.errors import EngineError
from engine.run.rule import Rule
from tests.conftest import Rows, eventually

SOURCE = """\
import asyncio, sys, threading, time
from engine.api import Batch, EndOfStream, NotConnected, Source
from engine.api import Config
class Bad(Source[Config]):
    open_timeout = 0.05
    async def open(self):
        {open}
    async def run(self, emit):
        {run}
    async def close(self):
        {close}
"""
SINK = """\
import asyncio, sys, threading, time
from engine.api import Config, Rejected, Sink
class Bad(Sink[Config]):
    open_timeout = 0.05
    async def open(self):
        {open}
    async def collect(self, batch):
        {collect}
    async def close(self):
        {close}
"""
FOREVER = "await asyncio.sleep(3600)"
STUBBORN = """while not self.ctx.root_path.joinpath("enough").exists():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                print("no")"""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Short patience; what is left alone ends with the test."""
    monkeypatch.setattr(guard, "GRACE", 0.1)
    monkeypatch.setattr("engine.guard._CLOSING", 0.1)
    yield
    (tmp_path / "enough").touch()


def write(engine: Engine, kind: str, text: str, **parts: str) -> None:
    folder = engine.root / "plugins" / kind
    folder.mkdir(parents=True, exist_ok=True)
    methods = {"open": "pass", "run": FOREVER, "collect": "pass", "close": "pass"} | parts
    (folder / "bad.py").write_text(text.format(**methods))


async def source(engine: Engine, **parts: str) -> Rule:
    """Start a rule with a bad source."""
    write(engine, "sources", SOURCE, **parts)
    engine.define_stream("bads", replace=True, type="bad")
    return await engine.start(
        {"id": "bad", "sql": "SELECT * FROM bads", "actions": [{"collect": {}}]}
    )


async def sink(engine: Engine, **parts: str) -> Rule:
    """Start a rule with a bad sink."""
    write(engine, "sinks", SINK, **parts)
    rule = {"id": "bad", "sql": "SELECT * FROM demo", "actions": [{"bad": {}}]}
    return await engine.start(rule)


async def check_others(engine: Engine, collected: Rows) -> None:
    """Another rule of the engine works."""
    collected.clear()
    rule = {"id": "good", "sql": "SELECT a FROM demo", "actions": [{"collect": {}}]}
    good = await engine.start(rule)
    await eventually(lambda: good.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    await eventually(lambda: {"a": 1} in collected)
    await engine.stop("good")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("raise ValueError('broken')", "ValueError: broken"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise asyncio.CancelledError", "has cancelled itself"),
        ("asyncio.current_task().cancel(); await asyncio.sleep(1)", "has cancelled itself"),
        ("await emit([{'a': 1}])", "emits a list, not a Batch"),
        ("await emit(None)", "emits a NoneType, not a Batch"),
    ],
)
async def test_a_source_that_fails_fails_its_rule(
    engine: Engine, collected: Rows, run: str, message: str
) -> None:
    rule = await source(engine, run=run)
    await eventually(rule.finished.is_set)
    assert rule.status.state == "stopped by error"
    assert message in rule.status.message
    await check_others(engine, collected)


@pytest.mark.parametrize("body", ["raise ValueError('broken')", "sys.exit(3)"])
async def test_open_and_close_may_fail(
    engine: Engine, collected: Rows, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    rule = await sink(engine, open=body, close=body)
    await eventually(rule.finished.is_set)
    assert rule.status.state == "stopped by error"
    assert "close failed" in caplog.text
    await check_others(engine, collected)


async def test_an_open_that_hangs_is_tried_again(engine: Engine, collected: Rows) -> None:
    for start in (source, sink):
        rule = await start(engine, open=FOREVER)
        connections = rule.status.connections
        await eventually(lambda known=connections: any(one.message for one in known.values()))
        (connection,) = connections.values()
        assert "open() takes longer than 0.05 s" in connection.message
        assert not rule.finished.is_set()
        await check_others(engine, collected)
        await engine.delete("bad")


async def test_a_close_that_hangs_is_given_up(
    engine: Engine, collected: Rows, short: None, caplog: pytest.LogCaptureFixture
) -> None:
    rule = await source(engine, close=FOREVER)
    await eventually(lambda: rule.status.state == "running")
    await engine.stop("bad", drain=1)
    assert rule.status.state == "stopped"
    assert "close() takes longer than 0.1 s" in caplog.text
    await check_others(engine, collected)


async def test_what_refuses_to_end_is_left_alone(
    engine: Engine, collected: Rows, short: None, caplog: pytest.LogCaptureFixture
) -> None:
    for start, part in ((source, "run"), (source, "close"), (sink, "collect"), (sink, "close")):
        rule = await start(engine, **{part: STUBBORN})
        await eventually(lambda rule=rule: rule.status.state == "running")
        if start is sink:
            await engine.push("demo", [{"a": 1}])
        begun = time.monotonic()
        await engine.stop("bad", drain=0.1)
        assert time.monotonic() - begun < 3
        assert "it is left alone" in caplog.text
        caplog.clear()
        await check_others(engine, collected)
        await engine.delete("bad")
    assert guard.left_alone() == 4
    (engine.root / "enough").touch()
    await eventually(lambda: guard.left_alone() == 0)


async def test_a_sink_that_fails_loses_its_batch_counted(engine: Engine, collected: Rows) -> None:
    rule = await sink(engine, collect="raise ValueError('broken')")
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    await eventually(lambda: rule.metrics.balance().dropped == 1)
    assert rule.metrics.balance().holds
    assert rule.status.state == "running"
    await check_others(engine, collected)


@pytest.mark.parametrize("body", ["sys.exit(3)", "raise asyncio.CancelledError"])
async def test_a_sink_cant_end_the_program(engine: Engine, collected: Rows, body: str) -> None:
    rule = await sink(engine, collect=body)
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    await eventually(rule.finished.is_set)
    assert rule.status.state == "stopped by error"
    await check_others(engine, collected)


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ("raise ValueError('broken')", "running"),
        ("return object()", "running"),
        ("return lambda: 1", "running"),
        ("import sys; sys.exit(3)", "stopped by error"),
        ("import asyncio; raise asyncio.CancelledError", "stopped by error"),
        ("raise RecursionError", "running"),
    ],
)
async def test_a_function_fails_the_row_or_its_rule(
    engine: Engine, collected: Rows, body: str, state: str
) -> None:
    folder = engine.root / "plugins" / "functions"
    folder.mkdir(parents=True)
    (folder / "bad.py").write_text(
        "from engine.api import Function\nclass Bad(Function):\n"
        f"    def exec(self, ctx, value):\n        {body}\n"
    )
    (engine.root / "out.txt").touch()
    actions = [{"file": {"path": "out.txt"}}]
    rule = await engine.start(
        {"id": "bad", "sql": "SELECT bad(a) AS b FROM demo", "actions": actions}
    )
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    if state == "stopped by error":
        await eventually(rule.finished.is_set)
    else:
        await eventually(lambda: rule.metrics.balance().pending == 0 and rule.metrics.last_error)
        assert rule.metrics.balance().holds
    assert rule.status.state == state
    await check_others(engine, collected)


@pytest.mark.parametrize("kind", ["sources", "sinks", "functions"])
async def test_a_validation_that_fails_is_the_plugins_fault(engine: Engine, kind: str) -> None:
    wrong = "\n    def validate(self, *args): return 1 / 0\n"
    if kind == "functions":
        (engine.root / "plugins" / kind).mkdir(parents=True)
        text = (
            "from engine.api import Function\nclass Bad(Function):\n    def exec(self, ctx): pass"
        )
        (engine.root / "plugins" / kind / "bad.py").write_text(
            text + wrong.replace("*args", "args")
        )
        sql = "SELECT bad() FROM demo"
    else:
        write(engine, kind, (SOURCE if kind == "sources" else SINK) + wrong.replace(", *args", ""))
        engine.define_stream("bads", type="bad")
        sql = "SELECT * FROM bads" if kind == "sources" else "SELECT * FROM demo"
    actions = [{"bad" if kind == "sinks" else "log": {}}]
    with pytest.raises(EngineError, match=r"validate\(\) failed: ZeroDivisionError"):
        await engine.start({"id": "bad", "sql": sql, "actions": actions})


async def test_threads_that_leak_dont_hold_up_the_engine(engine: Engine, collected: Rows) -> None:
    leak = "threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()"
    rule = await source(engine, open=leak)
    await eventually(lambda: rule.status.state == "running")
    await engine.stop("bad")
    assert rule.status.state == "stopped"
    await check_others(engine, collected)


async def test_what_a_plugin_logs_carries_rule_and_operator(
    engine: Engine, collected: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        rule = await source(engine, run="self.ctx.logger.info('hello %s', 5)")
        await eventually(rule.finished.is_set)
    assert "rule=bad op=source[bads] hello 5" in caplog.text


def test_a_process_with_a_stubborn_plugin_ends_all_the_same(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "plugins" / "sources").mkdir(parents=True)
    stubborn = STUBBORN.replace("print", "str")
    text = SOURCE.format(open="pass", run=stubborn, close="pass")
    (tmp_path / "plugins" / "sources" / "bad.py").write_text(text)
    (tmp_path / "rule.yaml").write_text(
        "streams: {bads: {type: bad}}\n"
        "rules: [{id: r, sql: SELECT * FROM bads, actions: [{log: {}}]}]\n"
    )
    command = [sys.executable, "-m", "engine", "run", "rule.yaml", "--root", ".", "--duration"]
    done = subprocess.run(
        [*command, "100ms", "--drain", "100ms"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the process ends without them" in done.stderr


async def test_a_source_that_cannot_be_opened_is_told_once_with_the_reason(
    engine: Engine, collected: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        rule = await source(
            engine,
            open=(
                "self.ctx.incr_counter('opened')\n"
                "        if self.ctx.get_counter('opened') < 3: raise NotConnected('no cable')"
            ),
            run="await emit(Batch([{'a': 1}]))",
        )
        await eventually(rule.finished.is_set)
    told = [one for one in caplog.messages if "connected" in one]
    assert told == [
        "source[bads]: not connected, and opened again until it is: no cable",
        "source[bads]: connected again",
    ]


async def test_a_sink_that_is_lost_is_told_once_with_the_reason(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        rule = await sink(
            engine,
            collect=(
                "self.ctx.incr_counter('asked')\n"
                "        if self.ctx.get_counter('asked') < 3: raise TimeoutError('no answer')"
            ),
        )
        await eventually(lambda: rule.status.state == "running")
        await engine.push("demo", [{"a": 1}])
        await eventually(lambda: rule.metrics.delivered == 1)
    told = [one for one in caplog.messages if "connected" in one]
    assert told == [
        "sink[bad_0]: not connected, and tried again until it is: no answer",
        "sink[bad_0]: connected again",
    ]


async def test_what_ends_the_program_is_told_with_its_place(
    engine: Engine, collected: Rows
) -> None:
    rule = await source(engine, run="sys.exit(3)")
    await eventually(rule.finished.is_set)
    path = engine.root / "plugins" / "sources" / "bad.py"
    assert f"SystemExit: 3 at {path}:9" in rule.status.message


async def test_what_fails_while_the_rule_is_stopping_is_told(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    begun, path = engine.root / "begun", engine.root / "plugins" / "sinks" / "bad.py"
    rule = await sink(
        engine,
        collect=(
            "self.ctx.root_path.joinpath('begun').touch()\n"
            "        while not self.ctx.root_path.joinpath('enough').exists():\n"
            "            await asyncio.sleep(0.01)\n"
            "        raise SystemExit(5)"
        ),
    )
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    await eventually(begun.exists)
    stopping = asyncio.create_task(engine.stop("bad"))
    await eventually(lambda: rule.status.state == "stopping")
    (engine.root / "enough").touch()
    await stopping
    assert rule.status.state == "stopped"
    assert rule.metrics.last_error.startswith(f"sink[bad_0]: SystemExit: 5 at {path}:")
    assert "rule=bad failed while it was stopping: sink[bad_0]: SystemExit: 5" in caplog.text


THREADS = """\
import threading, time
from engine.api import Batch, Config, Sink
class Staying(Sink[Config]):
    async def open(self):
        threading.Thread(target=time.sleep, args=(60,), name="staying").start()
    async def collect(self, batch): ...
"""
PARTING = """\
import sys
import engine.parting
from engine.cli import main
engine.parting.GRACE = 0.1
main(sys.argv[1:])
"""


def test_the_process_ends_although_a_thread_of_a_plugin_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "sinks"
    folder.mkdir(parents=True)
    (folder / "staying.py").write_text(THREADS)
    rule = tmp_path / "rule.yaml"
    rule.write_text(
        "streams: {s: {type: simulator, interval: 1ms, data: [{a: 1}], loop: false}}\n"
        "rules: [{id: r, sql: SELECT a FROM s, actions: [{staying: {}}]}]\n"
    )
    command = [sys.executable, "-c", PARTING, "run", str(rule), "--root", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0
    assert "error: threads of plugins don't end: staying; the process ends" in ended.stderr


LOOKUP = """\
from engine.api import LookupSource
class Bad(LookupSource):
    async def open(self):
        raise ValueError("no password")
    async def lookup(self, fields, keys, values):
        return []
"""


async def test_a_table_that_cannot_be_opened_stops_the_rules_that_join_it_only(
    engine: Engine, collected: Rows
) -> None:
    write(engine, "sources", LOOKUP)
    engine.define_stream("other", type="memory", datasource="other")
    engine.define("CREATE TABLE t () WITH (TYPE='bad', KIND='lookup', KEY='id')")
    query = "SELECT a FROM other INNER JOIN t ON other.a = t.id"
    path = engine.root / "plugins" / "sources" / "bad.py"
    with pytest.raises(EngineError) as caught:
        await engine.start({"id": "bad", "sql": query, "actions": [{"collect": {}}]})
    message = caught.value.message
    assert message == f"source[t]: open() failed: ValueError: no password at {path}:4"
    await check_others(engine, collected)


VALIDATING = """\
import sys
from engine.api import Config, Function, Sink
class Bad({base}):
    def validate(self, *args):
        {body}
    def exec(self, ctx, value):
        return value
    async def collect(self, batch): ...
"""


@pytest.mark.parametrize("kind", ["sink", "function"])
@pytest.mark.parametrize(
    ("body", "raised"), [("sys.exit(3)", "SystemExit: 3"), ("1 / 0", "ZeroDivisionError: division")]
)
async def test_a_validation_that_fails_refuses_its_rule_with_the_place(
    engine: Engine, collected: Rows, kind: str, body: str, raised: str
) -> None:
    base = "Sink[Config]" if kind == "sink" else "Function"
    folder = engine.root / "plugins" / f"{kind}s"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bad.py"
    path.write_text(VALIDATING.format(base=base, body=body))
    sql, action = ("*", "bad") if kind == "sink" else ("bad(a)", "collect")
    rule = {"id": "bad", "sql": f"SELECT {sql} FROM demo", "actions": [{action: {}}]}
    with pytest.raises(EngineError) as caught:
        await engine.start(rule)
    message = caught.value.message
    assert f"validate() failed: {raised}" in message
    assert f" at {path}:5" in message
    await check_others(engine, collected)
