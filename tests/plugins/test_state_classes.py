"""State with classes of a plugin's own over a restart of the engine."""

from __future__ import annotations

from pathlib import Path

from engine import Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind
from tests.conftest import Rows, eventually

PLUGIN = """\
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from engine.api import Function, state_codec
{imports}
state_codec(Fraction, "fraction", lambda f: [f.numerator, f.denominator], lambda v: Fraction(*v))

class Trend(Enum):
    UP = 1
    DOWN = 2

@dataclass
class Seen:
    values: list[float]
    trend: Trend
    mean: Fraction

class Track(Function):
    def exec(self, ctx, value):
        seen = ctx.get_state("seen")
        if seen is None:
            seen = Seen([], Trend.UP, Fraction(0))
        assert type(seen) is Seen and type(seen.trend) is Trend
        seen.values.append(value)
        seen.trend = Trend.UP if value >= seen.mean else Trend.DOWN
        seen.mean = Fraction(int(sum(seen.values)), len(seen.values))
        ctx.put_state("seen", seen)
        return [len(seen.values), seen.trend.name, str(seen.mean)]
"""


async def run(root: Path, values: list[int]) -> Rows:
    """Run a rule with checkpoints over some values in an engine of its own."""
    rows: Rows = []

    class Collect(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            rows.extend(batch.rows or ())

    async with Engine(root, drain=5) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        engine.plugins.register(PluginKind.SINK, "collect", Collect)
        rule = {
            "id": "r",
            "sql": "SELECT track(v) AS t FROM demo",
            "actions": [{"collect": {}}],
            "options": {"qos": 1},
        }
        started = await engine.start(rule)
        await eventually(lambda: started.status.state == "running")
        for value in values:
            await engine.push("demo", [{"v": value}])
        await eventually(lambda: len(rows) == len(values))
    return rows


async def test_classes_survive_a_restart_with_another_version_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "functions"
    folder.mkdir(parents=True)
    (folder / "track@1.0.0.py").write_text(PLUGIN.format(imports=""))
    assert await run(tmp_path, [4, 8]) == [{"t": [1, "UP", "4"]}, {"t": [2, "UP", "6"]}]
    (folder / "track@1.1.0.py").write_text(PLUGIN.format(imports="import json"))
    assert await run(tmp_path, [0]) == [{"t": [3, "DOWN", "4"]}]


async def test_classes_in_a_module_of_a_package_plugin_survive(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "functions" / "track"
    folder.mkdir(parents=True)
    (folder / "inner.py").write_text(PLUGIN.format(imports="").partition("class Track")[0])
    outer = "from engine.api import Function\nfrom .inner import *\nclass Track"
    (folder / "__init__.py").write_text(outer + PLUGIN.partition("class Track")[2])
    assert await run(tmp_path, [4]) == [{"t": [1, "UP", "4"]}]
    from engine.state.stored import opened

    with opened(tmp_path) as store:
        parts = store.load("r").checkpoint.parts  # type: ignore[union-attr]
    assert b"plugins.functions.track.inner:Seen" in parts["scope:function[track]#0"]
    assert await run(tmp_path, [8]) == [{"t": [2, "UP", "6"]}]


async def test_a_version_that_was_only_looked_at_doesnt_count(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "functions"
    folder.mkdir(parents=True)
    (folder / "track.py").write_text(PLUGIN.format(imports=""))
    assert await run(tmp_path, [4]) == [{"t": [1, "UP", "4"]}]
    other = tmp_path / "track@2.0.0.py"
    other.write_text(PLUGIN.format(imports="").replace("Seen", "Other"))
    Engine(tmp_path).plugins.examine(PluginKind.FUNCTION, other)
    assert await run(tmp_path, [8]) == [{"t": [2, "UP", "6"]}]
