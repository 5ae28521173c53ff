"""Descriptions of plugins, what they can do, and how long it takes to load many."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.api import (
    Batch,
    Config,
    Context,
    Duration,
    Emit,
    Function,
    LookupSource,
    Row,
    Sink,
    Size,
    Source,
    Template,
    Token,
)
from engine.clock import VirtualClock
from engine.errors import PluginError
from engine.plugin.contract import Capability, capabilities
from engine.plugin.schema import config_schema
from engine.registry import BUNDLED, PluginKind, PluginRegistry
from engine.run.context import PluginContext
from engine.state.scope import RuleState
from tests.plugins.folder import PluginRoot

SOURCE = """\
'''Readings of a serial port.'''
# /// script
# dependencies = ["msgspec>=0.1"]
# [tool.headrace]
# requires-engine = ">=1"
# ///
from engine.api import Config, Duration, Source

class PortConfig(Config):
    path: str
    poll_interval: Duration = Duration(0.5)

class Port(Source[PortConfig]):
    async def run(self, emit): ...
    async def partitions(self): return ["0"]
    async def head(self): return {"0": 1}
    def position(self): return {"0": 0}
    async def seek(self, offsets): ...
    async def ack(self, offsets): ...
"""


def test_a_description_has_all_that_is_known(root: PluginRoot) -> None:
    root.write("sources", "port@v1.0.0.py", "superseded")
    path = root.write("sources", "Port@v1.1.0.py", SOURCE)
    described = root.registry.describe(PluginKind.SOURCE, "Port")
    assert json.loads(msgspec.json.encode(described)) == {
        "kind": "source",
        "name": "port",
        "version": "1.1.0",
        "origin": "root",
        "file": str(path),
        "versions": [
            {
                "name": "port",
                "version": "1.1.0",
                "file": str(path),
                "origin": "root",
                "state": "active",
            },
            {
                "name": "port",
                "version": "1.0.0",
                "file": str(path.with_name("port@v1.0.0.py")),
                "origin": "root",
                "state": "superseded",
            },
        ],
        "symbols": ["Port"],
        "functions": [],
        "roles": ["source"],
        "export": "isolated",
        "capabilities": ["ack", "head", "partitions", "position", "seek"],
        "schema": {
            "$ref": "#/$defs/PortConfig",
            "$defs": {
                "PortConfig": {
                    "title": "PortConfig",
                    "type": "object",
                    "properties": {
                        "path": {"type": "string"},
                        "pollInterval": {
                            "type": ["string", "number"],
                            "description": "a duration such as '1m30s', or milliseconds",
                            "default": 500,
                        },
                    },
                    "required": ["path"],
                    "additionalProperties": False,
                }
            },
        },
        "lookupSchema": None,
        "dependencies": ["msgspec>=0.1"],
        "requiresPython": "",
        "requiresEngine": ">=1",
        "dataPath": "etc/sources/port",
        "doc": "Readings of a serial port.",
        "error": "",
    }


def test_every_bundled_plugin_can_be_described(tmp_path: Path) -> None:
    registry = PluginRegistry(tmp_path)
    described = registry.describe_all()
    assert {"mqtt", "memory", "log", "accumulateWordCount"} <= {one.name for one in described}
    assert [(one.name, one.error) for one in described if one.error] == []
    for one in described:
        assert one.origin == "bundled"
        assert Path(one.file).is_relative_to(BUNDLED)
        assert one.doc
        assert (one.schema is None) == (one.kind == "function")


def test_an_unknown_plugin_can_not_be_described(root: PluginRoot) -> None:
    root.function("geoHash.py")
    with pytest.raises(PluginError, match=r"unknown function 'geoHsh'\n.*did you mean 'geoHash'"):
        root.registry.describe(PluginKind.FUNCTION, "geoHsh")


def test_a_function_of_a_table_is_described_with_its_file(root: PluginRoot) -> None:
    root.write(
        "functions",
        "geo.py",
        "from engine.api import Function\nclass A(Function):\n    def exec(self, ctx): ...\n"
        "functions = {'geoA': A, 'geoB': A()}\n",
    )
    for name in ("geo", "geoB"):
        described = root.registry.describe(PluginKind.FUNCTION, name)
        assert (described.name, described.functions) == ("geo", ("geoA", "geoB"))
        assert described.export == "isolated and shared"
        assert described.data_path == "etc/functions/geo"
    plugin = root.registry.get(PluginKind.FUNCTION, "geoB")
    assert str(plugin.data_path) == "etc/functions/geo"


def test_a_file_anywhere_can_be_examined_before_it_is_installed(
    root: PluginRoot, tmp_path: Path
) -> None:
    elsewhere = PluginRoot(tmp_path / "elsewhere")
    path = elsewhere.write("sources", "port@v1.1.0.py", SOURCE)
    described = root.registry.examine(PluginKind.SOURCE, path)
    assert (described.name, described.version, described.origin) == ("port", "1.1.0", None)
    assert described.capabilities
    assert not root.registry.has(PluginKind.SOURCE, "port")
    with pytest.raises(PluginError, match="Port is a source, no sink"):
        root.registry.examine(PluginKind.SINK, path)
    with pytest.raises(PluginError, match="this is no plugin"):
        root.registry.examine(PluginKind.SINK, tmp_path / "readme.md")


def test_a_file_with_a_function_that_another_plugin_has_is_not_to_be_installed(
    root: PluginRoot, tmp_path: Path
) -> None:
    root.function("geoHash.py")
    path = PluginRoot(tmp_path / "elsewhere").write(
        "functions", "geo.py", "functions = {'geoHash': 1}\n"
    )
    with pytest.raises(PluginError, match=r"geoHash is also exported by geoHash\.py"):
        root.registry.examine(PluginKind.FUNCTION, path)
    newer = PluginRoot(tmp_path / "elsewhere").function("geoHash@2.0.0.py")
    assert root.registry.examine(PluginKind.FUNCTION, newer).version == "2.0.0"


# -- capabilities ------------------------------------------------------------------------------


class Minimal(Source[Config]):
    async def run(self, emit: Emit) -> None: ...


class Both(Minimal, LookupSource[Config]):
    async def lookup(self, fields: Any, keys: Any, values: Any) -> list[Row]:
        return []


class Remembers(Sink[Config]):
    async def collect(self, batch: Batch, token: Token | None = None) -> None: ...


class Forgets(Sink[Config]):
    async def collect(self, batch: Batch) -> None: ...


class Quick(Function):
    def exec(self, ctx: Context, value: Any) -> Any:
        return value

    def exec_batch(self, ctx: Context, values: Any) -> Any:
        return values


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (Minimal, set()),
        (Both, {Capability.LOOKUP}),
        (Remembers, {Capability.TOKEN}),
        (Forgets, set()),
        (Quick, {Capability.BATCH}),
    ],
)
def test_capabilities_are_told_by_the_methods_of_a_class_or_an_instance(
    made: type[Any], found: set[Capability]
) -> None:
    assert capabilities(made) == found
    assert capabilities(made()) == found


# -- configuration and folders -----------------------------------------------------------------


class Inner(Config):
    size: Size = Size(1024)


class Settings(Config):
    """Settings of everything."""

    text: Template
    more: list[Inner]
    by_name: dict[str, Inner | None]
    every: Duration | None = Duration(60)
    inner: Inner = msgspec.field(default_factory=Inner)


def test_a_schema_describes_fields_of_all_types_as_they_are_written() -> None:
    defs = config_schema(Settings)["$defs"]
    assert defs["Inner"]["properties"]["size"]["default"] == 1024
    properties = defs["Settings"]["properties"]
    assert properties["every"]["default"] == 60_000
    assert {"$ref": "#/$defs/Inner"} in properties["byName"]["additionalProperties"]["anyOf"]
    assert defs["Settings"]["description"] == "Settings of everything."
    assert defs["Settings"]["required"] == ["text", "more", "byName"]


def test_a_plugin_reaches_its_own_folder(tmp_path: Path, root: PluginRoot) -> None:
    root.function("geoHash.py")
    plugin = root.registry.get(PluginKind.FUNCTION, "geoHash")
    ctx = PluginContext(
        rule_id="r",
        op_id="o",
        instance_id=0,
        root_path=tmp_path,
        clock=VirtualClock(),
        state=RuleState().scope("o", 0),
        resources=None,  # type: ignore[arg-type]
        data_path=plugin.data_path,
        on_connection=lambda connected, message: None,
    )
    assert ctx.data_path == tmp_path / "etc" / "functions" / "geoHash"


# -- many --------------------------------------------------------------------------------------


def test_two_hundred_plugins_load_in_less_than_a_second(root: PluginRoot) -> None:
    for number in range(200):
        root.function(f"plugin{number}.py")
    started = time.process_time()
    names = root.registry.names(PluginKind.FUNCTION)
    listed = time.process_time() - started
    for name in names:
        root.registry.get(PluginKind.FUNCTION, name).instance()
    loaded = time.process_time() - started
    assert len(names) == 200
    assert listed < 0.3
    assert loaded < 1
