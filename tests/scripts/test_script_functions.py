"""Scripts as functions of queries: their values, their limits, their life."""

from __future__ import annotations

import logging
import sys
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import ConfigError, Engine, EngineError
from engine.errors import RowError
from engine.scripts.functions import ScriptDef, Scripts
from engine.scripts.interpreter import Interpreter
from tests.conftest import Rows, eventually


@pytest.fixture
def scripts(engine: Engine) -> Scripts:
    made = Scripts()
    engine.functions.provide(made)
    return made


def put(scripts: Scripts, script: str, name: str = "f", **more: Any) -> None:
    scripts.put(ScriptDef(id=name, script=script, **more))


async def results(engine: Engine, sql: str, rows: Rows) -> Rows:
    engine.define_stream("given", replace=True, type="simulator", data=rows, loop=False, interval=0)
    return [row async for row in engine.query(sql)]


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(-(1 << 53), 1 << 53)  # beyond, JavaScript's whole numbers aren't exact
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_IDENTITY = Interpreter("f", "function f(x) { return x; }")


@given(_VALUES)
def test_a_value_is_the_same_after_its_way_through_a_script(value: Any) -> None:
    assert _IDENTITY(value) == value


async def test_a_script_is_a_function_of_queries(engine: Engine, scripts: Scripts) -> None:
    put(scripts, "function f(a, b) { return {sum: a + b, none: undefined, all: [a, b]}; }")
    rows = [{"a": 1, "b": 2.5}, {"a": 1}]
    found = await results(engine, "SELECT f(a, b) AS r FROM given", rows)
    assert found[0] == {"r": {"sum": 3.5, "all": [1, 2.5]}}
    assert found[1] == {"r": {"sum": 1, "all": [1, None]}}


async def test_each_use_has_its_own_variables(engine: Engine, scripts: Scripts) -> None:
    put(scripts, "let n = 0; function f() { return ++n; }")
    found = await results(engine, "SELECT f() AS x, f() AS y FROM given", [{"a": 1}] * 2)
    assert found == [{"x": 1, "y": 1}, {"x": 2, "y": 2}]


async def test_an_aggregate_gets_lists(engine: Engine, scripts: Scripts) -> None:
    script = "function f(xs, ys) { return xs.map((x, i) => x * ys[i]); }"
    put(scripts, script, is_agg=True)
    sql = "SELECT k, f(a, b) AS r FROM given GROUP BY k, COUNTWINDOW(3)"
    rows = [{"k": 1, "a": 2, "b": 3}, {"k": 2, "a": 5, "b": 1}, {"k": 1, "a": 4, "b": 2}]
    assert await results(engine, sql, rows) == [{"k": 1, "r": [6, 8]}, {"k": 2, "r": [5]}]


async def test_an_aggregate_moves_with_its_window(engine: Engine, scripts: Scripts) -> None:
    put(scripts, "function f(xs) { return xs; }", is_agg=True)
    sql = "SELECT f(a) AS r FROM given GROUP BY COUNTWINDOW(3, 1)"
    found = await results(engine, sql, [{"a": n} for n in range(6)])
    assert found == [{"r": [n, n + 1, n + 2]} for n in range(4)]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("throw new Error('no good')", "f: Error: no good"),
        ("for (;;);", "f: it takes longer than 100 ms"),
        ("let a = []; for (;;) a.push('x'.repeat(1e4))", "f: it needs more memory than 32 MiB"),
        ("return f()", "f: RangeError: Maximum call stack size exceeded"),
        ("return nosuch", "f: ReferenceError: nosuch is not defined"),
        ("return () => 1", "f: the result is no value"),
        ("return '\\ud800'", "f: the result is no value"),
        ("return {a: '\\ud800'}", "f: the result is no value"),
        ("let a = {}; a.a = a; return a", "f: TypeError: circular reference"),
    ],
)
def test_what_goes_wrong_in_a_script_is_an_error_of_the_row(body: str, why: str) -> None:
    function = Interpreter("f", f"function f(ok) {{ if (ok) return ok; {body}; }}")
    for _ in range(2):
        with pytest.raises(RowError) as raised:
            function(0)
        assert raised.value.message.startswith(why)
        assert function(5) == 5


@pytest.mark.parametrize(
    ("name", "script", "why"),
    [
        ("f", "function g() {}", "script f defines no function f"),
        ("f", "const f = 5", "script f defines no function f"),
        ("f", "function f( {", "script f: SyntaxError"),
        ("f", "for (;;);", "script f: it takes longer"),
        ("abs", "function abs() {}", "abs is a built-in function"),
        ("a b", "", "'a b' can't be the name of a function"),
    ],
)
def test_a_script_that_cannot_be_used_is_refused(name: str, script: str, why: str) -> None:
    scripts = Scripts()
    with pytest.raises(ConfigError) as raised:
        put(scripts, script, name)
    assert raised.value.message.startswith(why)
    assert scripts.names() == []


async def test_a_running_rule_keeps_its_script_until_it_starts_again(
    engine: Engine, scripts: Scripts, collected: Rows
) -> None:
    put(scripts, "function f(x) { return x + 1; }")
    rule = {"id": "a", "sql": "SELECT f(n) AS r FROM demo", "actions": [{"collect": {}}]}
    await engine.start(rule)

    async def pushed(n: int) -> Any:
        with anyio.fail_after(5):
            while not await engine.push("demo", [{"n": n}]):
                await anyio.sleep(0.001)
        count = len(collected)
        await eventually(lambda: len(collected) > count)
        return collected[-1]["r"]

    assert await pushed(1) == 2
    put(scripts, "function f(x) { return x + 2; }")
    assert await pushed(1) == 2
    await engine.restart("a")
    assert await pushed(1) == 3
    scripts.drop("f")
    assert await pushed(1) == 3
    with pytest.raises(EngineError, match="f"):
        engine.check(rule)


def test_a_script_writes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    function = Interpreter("f", "function f(x) { log('seen', x); return 1; }")
    with caplog.at_level(logging.INFO):
        function({"a": 1})
    assert caplog.messages == ['script f: seen {"a":1}']


def test_a_missing_interpreter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quickjs", None)
    with pytest.raises(ConfigError) as raised:
        put(Scripts(), "function f() {}")
    assert raised.value.hint == "pip install 'headrace[javascript]'"
