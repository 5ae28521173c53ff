"""Files with default properties, ``etc/<kind>/<plugin>.yaml``: what is wrong there is said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import Engine
from engine.errors import ConfigError

SOURCE = """\
from engine.api import Batch, Config, Source
class MeterConfig(Config):
    port: int = 5
class Meter(Source[MeterConfig]):
    async def run(self, emit):
        await emit(Batch([{"port": self.config.port}]))
"""


@pytest.fixture
def file(engine: Engine) -> Path:
    """The file of a source ``meter``."""
    plugin = engine.root / "plugins" / "sources" / "meter.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(SOURCE)
    file = engine.root / "etc" / "sources" / "meter.yaml"
    file.parent.mkdir(parents=True)
    return file


async def refused(engine: Engine, **options: object) -> str:
    """Return why a rule on a stream of the meter can't start."""
    engine.define_stream("m", replace=True, type="meter", **options)
    rule = {"id": "r", "sql": "SELECT * FROM m", "actions": [{"collect": {}}]}
    with pytest.raises(ConfigError) as caught:
        await engine.start(rule)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "section", "message"),
    [
        ("default: {port: far}", "default", ":1:17: source meter of stream m.port: expected a wh"),
        ("default: {port: far}\nlab: {}", "lab", ":1:17: source meter of stream m.port: expected"),
        ("default: {port: 1}\nlab: {prot: 4}", "lab", ":2:13: unknown key 'prot' in source meter"),
        ("default: 5", "default", ":1:10: default: expected a mapping of properties by name"),
        ("lab: [1]", "default", ":1:6: lab: expected a mapping of properties by name, found a"),
    ],
)
async def test_an_error_has_its_place_in_the_file(
    engine: Engine, file: Path, text: str, section: str, message: str
) -> None:
    file.write_text(text)
    assert (await refused(engine, confKey=section)).startswith(f"{file}{message}")


async def test_what_the_stream_says_itself_is_not_put_down_to_the_file(
    engine: Engine, file: Path
) -> None:
    file.write_text("default: {port: 1}")
    assert str(file) not in await refused(engine, port="far")


async def test_an_unknown_section_is_compared_with_those_there_are(
    engine: Engine, file: Path
) -> None:
    file.write_text("lab: {port: 1}")
    message = await refused(engine, confKey="lap")
    assert "source meter has no section 'lap'" in message
    assert "did you mean 'lab'?" in message
    assert "etc/sources/meter.yaml" in await refused(engine, confKey="other")
