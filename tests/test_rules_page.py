"""What the page on rule files says of sources and sinks with many properties."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.registry import PluginKind, PluginRegistry
from engine.run.properties import SinkOptions

PAGE = (Path(__file__).parent.parent / "docs" / "rules.md").read_text()
SECTIONS = {"file": "### Files as sinks", "rest": "### HTTP"}


@pytest.mark.parametrize("sink", SECTIONS)
def test_every_property_of_a_sink_is_there(sink: str, tmp_path: Path) -> None:
    section = PAGE[PAGE.index(SECTIONS[sink]) :].partition("\n#")[0]
    plugin = PluginRegistry(tmp_path).get(PluginKind.SINK, sink)
    common = set(SinkOptions.__struct_encode_fields__)
    for name in type(plugin.instance()).config_type.__struct_encode_fields__:
        assert f"`{name}" in section or name in common, name
