"""Plugins written for eKuiper's Python SDK, as they stand, in a rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import Engine
from engine.errors import EngineError
from engine.registry import PluginKind
from tests.conftest import Rows, eventually

pytest.importorskip("ekuiper", reason="pip install ekuiper")

# One file as its author wrote it, the main part included; nothing in it knows of this engine.
SOURCE = """\
import logging
import time

from ekuiper import Context, Source, plugin, PluginConfig


class PyJsonSource(Source):
    def __init__(self):
        self.data = {"name": "pyjson", "value": 2021}
        self.running = True

    def configure(self, datasource: str, conf: dict):
        if conf.get("value", 0) < 0:
            raise ValueError("value must not be negative")
        self.data["value"] = conf.get("value", 2021)
        self.data["from"] = datasource

    def open(self, ctx: Context):
        ctx.get_logger().write("opened\\n")
        while self.running:
            ctx.emit(self.data, {"seen": ctx.get_op_id()})
            time.sleep(0.01)

    def close(self, ctx: Context):
        self.running = False


if __name__ == "__main__":
    plugin.start(PluginConfig("pyjson", {"pyjson": lambda: PyJsonSource()}, {}, {}))
"""
SINK = """\
from typing import Any

from ekuiper import Context, Sink


class Store(Sink):
    def configure(self, conf: dict):
        self.path = conf["path"]
        self.failures = conf.get("failures", 0)

    def open(self, ctx: Context):
        self.file = open(self.path, "ab")

    def collect(self, ctx: Context, data: Any):
        if self.failures:
            self.failures -= 1
            ctx.ack_error("not now")
            return
        self.file.write(data + b"\\n")
        self.file.flush()
        ctx.ack_ok()

    def close(self, ctx: Context):
        if hasattr(self, "file"):
            self.file.close()
"""
REVERT = """\
from typing import Any, List

from ekuiper import Context, Function


class RevertFunc(Function):
    def validate(self, args: List[Any]):
        return "" if len(args) == 1 else "revert takes one argument"

    def exec(self, args: List[Any], ctx: Context) -> Any:
        return str(args[0])[::-1]

    def is_aggregate(self):
        return False
"""
LONGEST = """\
from ekuiper import Function


class Longest(Function):
    def validate(self, args):
        return ""

    def exec(self, args, ctx):
        return max(args[0], key=len, default=None)

    def is_aggregate(self):
        return True
"""


def write(root: Path, kind: str, name: str, text: str) -> None:
    (root / "plugins" / kind).mkdir(parents=True, exist_ok=True)
    (root / "plugins" / kind / name).write_text(text)


async def test_a_source_runs_in_a_thread_until_it_is_closed(
    engine: Engine, collected: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write(engine.root, "sources", "pyjson.py", SOURCE)
    engine.define_stream("py", type="pyjson", datasource="somewhere", value=5)
    sql = "SELECT name, value, `from`, meta(seen) AS seen FROM py"
    rule = await engine.start({"id": "r", "sql": sql, "actions": [{"collect": {}}]})
    await eventually(lambda: len(collected) > 2)
    assert collected[0] == {
        "name": "pyjson",
        "value": 5,
        "from": "somewhere",
        "seen": "source[py]",
    }
    await engine.stop("r")
    assert rule.status.state == "stopped"
    assert "rule=r op=source[py] opened" in caplog.text


async def test_what_configure_raises_is_an_error_of_the_configuration(engine: Engine) -> None:
    write(engine.root, "sources", "pyjson.py", SOURCE)
    engine.define_stream("py", type="pyjson", value=-5)
    with pytest.raises(EngineError, match="must not be negative"):
        await engine.start({"id": "r", "sql": "SELECT * FROM py", "actions": [{"log": {}}]})


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_sink_gets_messages_and_says_whether_it_took_them(
    engine: Engine, failures: int
) -> None:
    write(engine.root, "sinks", "store.py", SINK)
    path = engine.root / "out.txt"
    properties = {
        "path": str(path),
        "failures": failures,
        "requireAck": True,
        "sendSingle": True,
    }
    rule = {"id": "r", "sql": "SELECT a FROM demo", "actions": [{"store": properties}]}
    started = await engine.start(rule)
    await eventually(lambda: started.status.state == "running")
    await engine.push("demo", [{"a": 1}, {"a": 2}])
    await eventually(lambda: path.read_bytes() == b'{"a":1}\n{"a":2}\n')
    await engine.stop("r")


async def test_functions_of_rows_and_of_groups(engine: Engine, collected: Rows) -> None:
    write(engine.root, "functions", "revert.py", REVERT)
    write(engine.root, "functions", "longest.py", LONGEST)
    assert engine.plugins.get(PluginKind.FUNCTION, "longest").is_aggregate
    sql = "SELECT revert(longest(a)) AS back FROM demo GROUP BY COUNTWINDOW(3)"
    started = await engine.start({"id": "r", "sql": sql, "actions": [{"collect": {}}]})
    await eventually(lambda: started.status.state == "running")
    await engine.push("demo", [{"a": "x"}, {"a": "xyz"}, {"a": "xy"}])
    await eventually(lambda: collected == [{"back": "zyx"}])
    sql = "SELECT revert(1, 2) AS r FROM demo"
    with pytest.raises(EngineError, match="revert takes one argument"):
        await engine.start({"id": "s", "sql": sql, "actions": [{"log": {}}]})
