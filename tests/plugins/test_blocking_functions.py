"""Functions that wait for something run in a thread, with the state and errors of any other."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import anyio

from engine import Engine
from engine.api import Context, Function
from engine.registry import PluginKind
from tests.conftest import Rows, eventually


class Waiting(Function):
    """waiting(n): counts its calls, waits to be let go if n is 0, fails if n is negative."""

    blocking = True
    released: ClassVar[threading.Event]
    threads: ClassVar[set[int]]

    def exec(self, ctx: Context, *args: Any) -> Any:
        self.threads.add(threading.get_ident())
        if args[0] == 0:
            self.released.wait(20)
        if args[0] < 0:
            raise ValueError("negative")
        return ctx.incr_counter("calls")


def ready(engine: Engine) -> None:
    Waiting.released, Waiting.threads = threading.Event(), set()
    engine.plugins.register(PluginKind.FUNCTION, "waiting", Waiting)


async def test_each_row_is_called_for_once_away_from_the_loop(engine: Engine) -> None:
    ready(engine)
    rows = [{"n": n} for n in (1, -1, 2, 3)]
    engine.define_stream("given", type="simulator", data=rows, loop=False, interval=0)
    sql = "SELECT waiting(n) AS c FROM given WHERE n < 3"
    assert [row async for row in engine.query(sql)] == [{"c": 1}, {"c": 2}]
    assert threading.get_ident() not in Waiting.threads


async def test_windows_and_checkpoints_work_as_ever(engine: Engine, collected: Rows) -> None:
    ready(engine)
    rows = [{"n": n} for n in range(1, 7)]
    engine.define_stream("given", type="simulator", data=rows, loop=False, interval=0)
    sql = "SELECT sum(waiting(n)) AS s, count(*) AS c FROM given GROUP BY COUNTWINDOW(3)"
    rule = await engine.start(
        {"id": "w", "sql": sql, "actions": [{"collect": {}}], "options": {"qos": 1}}
    )
    await rule.finished.wait()
    assert collected == [{"s": 6, "c": 3}, {"s": 15, "c": 3}]
    assert rule.metrics.balance().holds


async def test_a_rule_that_is_stopped_does_not_wait_and_calls_no_more(engine: Engine) -> None:
    ready(engine)
    rule = await engine.start(
        {"id": "a", "sql": "SELECT waiting(n) AS c FROM demo", "actions": [{"nop": {}}]}
    )
    with anyio.fail_after(5):
        while not await engine.push("demo", [{"n": 0}, {"n": 1}]):
            await anyio.sleep(0.001)
    await eventually(lambda: Waiting.threads)
    with anyio.fail_after(3):
        await engine.stop("a", drain=0)
    assert rule.metrics.balance().holds
    Waiting.threads.clear()
    Waiting.released.set()
    await anyio.sleep(0.05)  # there is nothing that could be waited for
    assert not Waiting.threads
