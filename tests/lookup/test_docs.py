"""The page about tables can't lie."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from engine.api import Use
from engine.catalog import from_statement, resolve
from engine.clock import VirtualClock
from engine.config.convert import config_from
from engine.config.positions import NOWHERE
from engine.config.streams import streams_from
from engine.lookup.link import LookupLink
from engine.lookup.options import LookupOptions, lookup_options
from engine.lookup.table import LookupTable
from engine.registry import PluginKind, PluginRegistry
from engine.sql.parse import parse_create
from tests.lookup.support import START, PlainContext, opened

PAGE = (Path(__file__).parent.parent.parent / "docs" / "tables.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_tables_in_yaml_fit_their_plugins(text: str, tmp_path: Path) -> None:
    for definition in streams_from(yaml.safe_load(text)["tables"], "table", NOWHERE):
        stream = resolve(definition)
        assert stream.options.kind == "lookup"
        properties = dict(stream.properties)
        assert lookup_options(properties, where="table").cache
        plugin = PluginRegistry(tmp_path).get(PluginKind.SOURCE, stream.source_type)
        source = plugin.instance()
        properties["datasource"] = stream.options.datasource
        source.config = config_from(properties, type(source).config_type, where="table")
        source.ctx = PlainContext(tmp_path)
        source.validate()


def test_the_statement_defines_a_lookup_table() -> None:
    (text,) = [text for text in blocks("sql") if text.startswith("CREATE")]
    stream = from_statement(parse_create(text))
    assert (stream.kind, stream.options.kind, stream.options.key) == ("table", "lookup", "id")


def test_all_options_are_there_with_their_defaults() -> None:
    section = PAGE[PAGE.index("| `lookup:`") :].partition("\n\n")[0]
    names = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert names == list(LookupOptions.__struct_encode_fields__)


@pytest.mark.parametrize("kind", ["memory", "sql", "httppull"])
def test_every_property_of_the_sources_is_there(kind: str, tmp_path: Path) -> None:
    plugin = PluginRegistry(tmp_path).get(PluginKind.SOURCE, kind)
    of_streams = {"interval", "incremental", "key", "kind", "states"}
    for name in type(plugin.instance()).config_type.__struct_encode_fields__:
        assert name in of_streams or f"`{name}`" in PAGE or f"{name.upper()}=" in PAGE, name


async def test_the_example_of_a_plugin_works(tmp_path: Path) -> None:
    (text,) = blocks("python")
    folder = tmp_path / "plugins" / "sources"
    folder.mkdir(parents=True)
    (folder / "names.py").write_text(text)
    (tmp_path / "names.txt").write_text("7=seven\n8=eight\n")
    source = PluginRegistry(tmp_path).get(PluginKind.SOURCE, "names").instance()
    config, ctx = type(source).config_type(path="names.txt"), PlainContext(tmp_path)
    await opened(source, config, ctx)
    clock = VirtualClock(START)
    link = LookupLink("names", source, Use(config, ctx), clock)
    table = LookupTable(link, ["id"], cache=None, clock=clock)
    assert await table.find([(7,), (9,)]) == [[{"id": 7, "name": "seven"}], []]
