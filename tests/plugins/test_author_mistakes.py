"""Mistakes that authors of plugins make show where they are, in words that help."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import engine.offspring as offspring
from engine import Engine
from engine.errors import EngineError
from engine.run.rule import Rule
from tests.conftest import Rows, eventually
from tests.plugins.folder import PluginRoot

IMPORTS = "import asyncio, time\nfrom engine.api import *\n"


def write(engine: Engine, path: str, text: str) -> str:
    """Write a plugin below the root, with imports in its first two lines; return its path."""
    target = engine.root / "plugins" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(IMPORTS + text)
    return str(target)


def source(run: str) -> str:
    return f"class Odd(Source[Config]):\n    async def run(self, emit):\n        {run}\n"


async def start(engine: Engine, sql: str = "SELECT * FROM demo", sink: str = "collect") -> Rule:
    if "odds" in sql:
        engine.define_stream("odds", replace=True, type="odd")
    return await engine.start({"id": "r", "sql": sql, "actions": [{sink: {}}]})


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("await emit(Batch({'a': 1}))", "the rows of a batch are a list, not dict at {path}:5"),
        ("await emit(Batch(payloads=b'x'))", "the payloads of a batch are a list, not bytes"),
        ("await emit(Batch())", "a batch holds either rows or payloads at {path}:5"),
        ("await emit(Batch([{}, 5]))", "source[odds] emits a row that is int, not dict"),
        ("await emit(Batch([None]))", "source[odds] emits a row that is NoneType, not dict"),
        ("await emit(Batch(payloads=['{}']))", "source[odds] emits a payload that is str"),
        ("await emit(Batch(payloads=[5]))", "source[odds] emits a payload that is int"),
        ("{}['missing']", "KeyError: 'missing' at {path}:5"),
    ],
)
async def test_a_source_that_gives_something_else_is_told_what_and_where(
    engine: Engine, collected: Rows, run: str, message: str
) -> None:
    path = write(engine, "sources/odd.py", source(run))
    rule = await start(engine, "SELECT * FROM odds")
    await eventually(rule.finished.is_set)
    assert message.replace("{path}", path) in rule.status.message


async def test_what_a_sink_raises_has_its_place(engine: Engine) -> None:
    text = "class Odd(Sink[Config]):\n    async def collect(self, batch):\n        {}['missing']\n"
    path = write(engine, "sinks/odd.py", text)
    rule = await start(engine, sink="odd")
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    await eventually(lambda: rule.metrics.last_error)
    assert rule.metrics.last_error == f"sink[odd_0]: KeyError: 'missing' at {path}:5"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{}['missing']", "KeyError: 'missing'"),
        ("value.nothing", "AttributeError: 'int' object has no attribute 'nothing'"),
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("assert value is None", "AssertionError"),
    ],
)
async def test_what_a_function_raises_has_its_name_and_place(
    engine: Engine, collected: Rows, body: str, error: str
) -> None:
    text = f"class Odd(Function):\n    def exec(self, ctx, value):\n        {body}\n"
    path = write(engine, "functions/odd.py", text)
    rule = await start(engine, "SELECT odd(a) AS b FROM demo")
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    await eventually(lambda: rule.metrics.last_error)
    assert rule.metrics.last_error == f"query: odd: {error} at {path}:5"
    assert rule.metrics.balance().errors == 1


async def test_what_an_aggregate_raises_has_its_name_and_place(
    engine: Engine, collected: Rows
) -> None:
    text = """\
class Odd(AggregateFunction):
    def add(self, value):
        {}["missing"]
    def merge(self, newer): ...
    def result(self): ...
"""
    path = write(engine, "functions/odd.py", text)
    rule = await start(engine, "SELECT odd(a) AS b FROM demo GROUP BY COUNTWINDOW(1)")
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    await eventually(lambda: rule.metrics.last_error)
    assert rule.metrics.last_error == f"query: odd: KeyError: 'missing' at {path}:5"


async def test_errors_of_built_in_functions_stay_short(engine: Engine, collected: Rows) -> None:
    rule = await start(engine, "SELECT cast(a, 'bigint') AS b FROM demo")
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": "none"}])
    await eventually(lambda: rule.metrics.last_error)
    assert " at /" not in rule.metrics.last_error


@pytest.mark.parametrize("kind", ["source", "sink"])
async def test_code_that_holds_up_the_loop_is_told_so_once(
    engine: Engine,
    collected: Rows,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr(offspring, "LONGEST_STEP", 0.05)
    busy = "time.sleep(0.06)"
    if kind == "source":
        text = (
            f"for n in range(3):\n            {busy}\n            await emit(Batch([{{'n': n}}]))"
        )
        write(engine, "sources/odd.py", source(text))
        rule = await start(engine, "SELECT * FROM odds")
        await eventually(rule.finished.is_set)
        name = "source[odds]"
    else:
        text = f"class Odd(Sink[Config]):\n    def collect(self, batch):\n        {busy}\n"
        write(engine, "sinks/odd.py", text)
        rule = await start(engine, sink="odd")
        await eventually(lambda: rule.status.state == "running")
        for count in (1, 2):
            await engine.push("demo", [{"a": 1}])
            await eventually(lambda count=count: rule.metrics.delivered == count)
        name = "sink[odd_0]"
    assert caplog.text.count(f"{name} has held up everything in the process for 0.") == 1


async def test_a_blocking_plugin_that_says_so_holds_up_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offspring, "LONGEST_STEP", 0.05)
    text = """\
class Odd(Sink[Config]):
    blocking = True
    def collect(self, batch):
        time.sleep(0.06)
"""
    write(engine, "sinks/odd.py", text)
    rule = await start(engine, sink="odd")
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"a": 1}])
    with caplog.at_level(logging.WARNING):
        await eventually(lambda: rule.metrics.delivered == 1)
    assert "sink[odd_0] has held up" not in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"sinks/odd.py": source("...")},
            "unknown source 'odd'\n  hint: plugins/sinks has one; a source belongs in plugins/so",
        ),
        (
            {"sources/odd/part.py": "x = 1"},
            "a folder is a plugin only with an __init__.py\n  hint: write one with: from .odd im",
        ),
        (
            {"sources/other.py": source("..."), "sources/odd.py": "import plugins.sources.other"},
            "hint: plugins don't see each other",
        ),
        (
            {
                "sources/odd/__init__.py": "from .a import Odd",
                "sources/odd/a.py": "from .b import thing\nOdd = 1",
                "sources/odd/b.py": "from .a import Odd\nthing = 1",
            },
            "hint: move what both modules need into a third one",
        ),
    ],
)
async def test_files_in_the_wrong_place_are_explained(
    engine: Engine, files: dict[str, str], message: str
) -> None:
    for path, text in files.items():
        write(engine, path, text)
    with pytest.raises(EngineError) as caught:
        await start(engine, "SELECT * FROM odds", "nop")
    assert message in str(caught.value)


def test_a_plugin_may_have_the_name_of_a_standard_module(root: PluginRoot) -> None:
    for name in ("json", "random", "asyncio", "typing"):
        root.function(f"{name}.py")
        assert root.answer(name) == f"{name}.py"
    import json
    import random

    assert json.loads("[1]") == [1]
    assert random.random() < 1


async def test_globals_of_a_file_are_shared_by_its_uses_but_not_by_its_versions(
    engine: Engine, collected: Rows
) -> None:
    text = """\
calls = []
class Odd(Function):
    def exec(self, ctx):
        calls.append(1)
        return len(calls)
"""
    write(engine, "functions/odd.py", text)
    rows: list[Any] = collected
    for rule_id in ("a", "b"):
        rule = {"id": rule_id, "sql": "SELECT odd() AS n FROM demo", "actions": [{"collect": {}}]}
        started = await engine.start(rule)
        await eventually(lambda started=started: started.status.state == "running")
    await engine.push("demo", [{}])
    await eventually(lambda: len(rows) == 2)
    assert sorted(row["n"] for row in rows) == [1, 2]
    write(engine, "functions/odd@1.0.0.py", text)
    await engine.restart("b")
    rows.clear()
    await eventually(lambda: engine.rules["b"].status.state == "running")
    await engine.push("demo", [{}])
    await eventually(lambda: len(rows) == 2)
    assert sorted(row["n"] for row in rows) == [1, 3]
