"""What plugins cost: a call, a call of the whole-batch form, state, loading.

    python benchmarks/plugins.py [--json FILE]

A call in a query is compared with the same Python called in a comprehension that reads the same
rows. Each row of a query also costs what it costs without the call; that part is measured by
itself and taken off.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine import Engine
from engine.api import Context
from engine.batch import Batch
from engine.codec import decoder
from engine.layout import Layout
from engine.registry import PluginKind, PluginRegistry
from engine.run.functions import EngineFunctions
from engine.sql.analyse import analyse
from engine.sql.compile import QueryOptions
from engine.sql.parse import parse_select
from engine.sql.query import Query
from engine.sql.schema import Schema
from engine.sql.source import SourceText
from engine.state.scope import StateScope

ROWS = 2000
PLUGINS = {
    "pure": """\
from engine.api import Function
class Pure(Function):
    stateless = True
    def exec(self, ctx, value):
        return value
""",
    "remembering": """\
from engine.api import Function
class Remembering(Function):
    def exec(self, ctx, value):
        return value
""",
    "whole": """\
from engine.api import Function
class Whole(Function):
    stateless = True
    def exec(self, ctx, value):
        return value
    def exec_batch(self, ctx, values):
        return values
""",
}


class _Ctx(Context):
    """A context with a state and nothing else."""

    def __init__(self) -> None:
        self.state = StateScope()

    def shared(self, key: Any, make: Any) -> Any:
        raise NotImplementedError

    def report_connection(self, connected: bool, message: str = "") -> None:
        raise NotImplementedError


def best(*runs: Callable[[], Any], number: int = 20) -> list[float]:
    """Return the shortest time of each, in nanoseconds, taken in turns."""
    found = [float("inf")] * len(runs)
    for _ in range(25):
        for index, run in enumerate(runs):
            found[index] = min(found[index], timeit.timeit(run, number=number) / number * 1e9)
    return found


class Bench:
    """Queries over one batch of decoded rows, with the functions of a root."""

    def __init__(self, root: Path) -> None:
        self._functions = EngineFunctions(PluginRegistry(root))
        self._payloads = [msgspec.json.encode({"a": n * 7 % 100 + 0.5}) for n in range(ROWS)]

    def query(self, sql: str, *, typed: bool = True) -> Callable[[], Any]:
        """Return what runs a query over the batch."""
        plan = analyse(parse_select(sql), SourceText(sql), {"demo": Schema()}, self._functions)
        layout = Layout()
        layout.require(plan.scan.columns)
        query = Query(
            plan,
            layout,
            self._functions,
            QueryOptions(),
            lambda site: (site.spec.make().exec, _Ctx()),  # type: ignore[misc]
        )
        frame, _ = decoder("json", layout, Schema()).decode(Batch(payloads=self._payloads))
        self.rows, frame.typed = frame.rows, typed
        assert len(query(frame)) == ROWS
        return lambda: query(frame)

    def call(self, name: str) -> float:
        """Return what a call costs over a direct one, in nanoseconds a row."""
        with_call = self.query(f"SELECT a, {name}(a) AS r FROM demo")
        # rows for which something is remembered are computed one by one, and so are untyped ones
        without = self.query("SELECT a, a AS r FROM demo", typed=name != "remembering")
        spec = self._functions.get(name)
        assert spec is not None
        assert spec.make is not None
        exec_, ctx, rows = spec.make().exec, _Ctx(), self.rows
        times = best(
            with_call,
            without,
            lambda: [exec_(ctx, r.c0) for r in rows],
            lambda: [r.c0 for r in rows],
        )
        return (times[0] - times[1] - times[2] + times[3]) / ROWS

    def batch(self) -> float:
        """Return what the whole-batch form costs over calling it once, in nanoseconds a row."""
        with_call = self.query("SELECT a, whole(a) AS r FROM demo")
        without = self.query("SELECT a, a AS r FROM demo")
        times = best(with_call, without)
        return (times[0] - times[1]) / ROWS


def state() -> float:
    """Return the cost of a get and a put of a number, in nanoseconds."""
    ctx = _Ctx()

    def get_and_put() -> None:
        ctx.put_state("last", ctx.get_state("last", 0.0) + 1.0)

    return best(get_and_put, number=20_000)[0]


def loading(root: Path, count: int = 200) -> tuple[float, float]:
    """Return the seconds for finding and for importing ``count`` function plugins."""
    folder = root / "plugins" / "functions"
    for number in range(count):
        text = PLUGINS["pure"].replace("Pure", f"Many{number}")
        (folder / f"many{number}.py").write_text(text)
    start = time.perf_counter()
    engine = Engine(root)
    found = time.perf_counter() - start
    for number in range(count):
        engine.plugins.get(PluginKind.FUNCTION, f"many{number}").instance()
    return found, time.perf_counter() - start


def main() -> None:
    """Print the table, and write it as JSON if asked."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--json", metavar="FILE", help="write the figures to a file")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "plugins" / "functions").mkdir(parents=True)
        for name, text in PLUGINS.items():
            (root / "plugins" / "functions" / f"{name}.py").write_text(text)
        bench = Bench(root)
        figures = {
            "a call of a stateless function, over a direct one (ns)": (bench.call("pure"), 400),
            "a call of any other function, over a direct one (ns)": (
                bench.call("remembering"),
                400,
            ),
            "the whole-batch form, over calling it (ns a row)": (bench.batch(), 50),
            "get and put of a state value (ns)": (state(), 500),
        }
        found, loaded = loading(root)
        figures["finding 200 plugins (ms)"] = found * 1000, 1000
        figures["finding and importing 200 plugins (ms)"] = loaded * 1000, 1000
    for what, (value, target) in figures.items():
        mark = "" if value <= target else "   short"
        print(f"{what:<58}{value:>9.1f}   (target {target}){mark}")
    if chosen.json:
        Path(chosen.json).write_text(
            json.dumps({k: round(v, 1) for k, (v, _) in figures.items()}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
