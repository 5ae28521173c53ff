"""What README and examples show is run as it stands there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from engine import Engine
from engine.config.load import load_text
from tests.conftest import Rows, eventually

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()


def fenced(language: str, containing: str) -> str:
    """Return the one block of a language in the README that has some text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if containing in block]
    return found


async def test_the_first_rule_of_the_readme_is_a_valid_rule(engine: Engine) -> None:
    found = load_text(fenced("yaml", "alerts/"))
    engine.catalog.define(found.streams["demo"], replace=True)
    started = await engine.start(found.rules["hot"])  # no broker is there: it keeps trying
    await eventually(lambda: started.status.state in ("connecting", "running"))


def test_the_embedding_example_of_the_readme_runs(tmp_path: Path) -> None:
    script = tmp_path / "embed.py"
    script.write_text(fenced("python", "asyncio.run"))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout == "{'device': 'a', 'f': 140.0}\n", done.stderr


async def test_the_first_plugin_of_the_readme_works(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    folder = tmp_path / "plugins" / "functions"
    folder.mkdir(parents=True)
    (folder / "delta.py").write_text(fenced("python", "class Delta"))
    started = await engine.start(
        {
            "id": "r",
            "sql": "SELECT delta(t, d) AS change FROM demo",
            "actions": [{"collect": {}}],
        }
    )
    await eventually(lambda: started.status.state == "running")
    rows = [("a", 1), ("b", 5), ("a", 4), ("a", None), ("b", 3)]
    await engine.push("demo", [{"d": d, "t": t} for d, t in rows])
    await engine.stop("r")
    assert collected == [{}, {}, {"change": 3}, {}, {"change": -2}]


async def test_the_web_application_with_a_rule_inside() -> None:
    path = CHECKOUT / "examples" / "embedding" / "app.py"
    spec = importlib.util.spec_from_file_location("embedding_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = module.app
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app") as client,
    ):
        await eventually(lambda: app.state.rule.status.state == "running")
        readings = [{"device": "a", "temperature": 60}, {"device": "b", "temperature": 20}]
        assert (await client.post("/readings", json=readings)).json() == {"rules": 1}
        await eventually(lambda: app.state.recent)
        assert (await client.get("/hot")).json() == [{"device": "a", "temperature": 60}]
        assert (await client.get("/status")).json() == {"state": "running", "received": 2}


@pytest.mark.parametrize("path", sorted((CHECKOUT / "examples").rglob("*.yaml")), ids=str)
def test_every_rule_file_of_the_examples_loads(path: Path) -> None:
    assert load_text(path.read_text(), file=str(path), environ={}).rules


PLUGIN_PAGE = (CHECKOUT / "docs" / "plugins.md").read_text()


async def test_the_plugins_of_the_manual_work(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PLUGIN_PAGE, re.DOTALL | re.MULTILINE)
    for name, kind in (("Counter", "sources"), ("Record", "sinks"), ("Change", "functions")):
        (block,) = [block for block in blocks if f"class {name}(" in block]
        folder = tmp_path / "plugins" / kind
        folder.mkdir(parents=True)
        (folder / f"{name}@v1.0.0.py").write_text(block)
    engine.define_stream("numbers", type="counter", interval="1ms")
    await engine.start(
        {
            "id": "r",
            "sql": "SELECT n AS value, change(n) AS step FROM numbers WHERE n < 5",
            "actions": [{"collect": {}}, {"record": {"path": "best.txt"}}],
        }
    )
    await eventually(lambda: len(collected) == 5)
    await engine.stop("r")
    assert collected[0] == {"value": 0}
    assert collected[1:] == [{"value": n, "step": 1} for n in range(1, 5)]
    assert (tmp_path / "best.txt").read_text() == "4\n"
