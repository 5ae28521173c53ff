"""The common properties of sinks, as a rule file gives them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from engine import ConfigError, Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind
from engine.run.sealing import KEY_VARIABLE
from tests.conftest import eventually


class Taken(Sink[Config]):
    takes_payloads = True
    payloads: list[bytes]

    async def collect(self, batch: Batch) -> None:
        self.payloads.extend(batch.payloads or ())


@pytest.fixture
def taken(engine: Engine) -> list[bytes]:
    """What rules with the sink ``take`` have given, one entry a message."""
    payloads: list[bytes] = []

    class Take(Taken):
        def __init__(self) -> None:
            self.payloads = payloads

    engine.plugins.register(PluginKind.SINK, "take", Take)
    return payloads


def rule(**properties: Any) -> dict[str, Any]:
    return {"id": "r", "sql": "SELECT * FROM demo", "actions": [{"take": properties}]}


async def sent(engine: Engine, properties: dict[str, Any], *rows: dict[str, Any]) -> None:
    """Run a rule with such a sink over some rows until it has drained."""
    started = await engine.start(rule(**properties))
    await eventually(lambda: started.status.state == "running")
    await engine.push("demo", list(rows))
    await engine.stop("r")
    assert started.metrics.balance().holds
    assert started.metrics.pending == 0


@pytest.mark.parametrize(
    ("properties", "messages"),
    [
        ({"dataTemplate": "{{.a}}", "sendSingle": True}, ["1", "2", "3"]),
        ({"tableDataField": "b", "sendSingle": True}, ['{"c":1}', '{"c":2}', '{"c":3}']),
        ({"batchSize": 2, "fields": ["a"]}, ['[{"a":1},{"a":2}]', '[{"a":3}]']),
        ({"lingerInterval": "1h", "fields": ["a"]}, ['[{"a":1},{"a":2},{"a":3}]']),
        (
            {"format": "delimited", "hasHeader": True, "delimiter": ";", "batchSize": 2},
            ['a;b\n1;"{""c"":1}"\n2;"{""c"":2}"', 'a;b\n3;"{""c"":3}"'],
        ),
        ({"format": "urlencoded", "fields": ["a"]}, ["a=1", "a=2", "a=3"]),
    ],
)
async def test_properties_shape_what_is_sent(
    engine: Engine, taken: list[bytes], properties: dict[str, Any], messages: list[str]
) -> None:
    await sent(engine, properties, *({"a": n, "b": {"c": n}} for n in (1, 2, 3)))
    assert [payload.decode() for payload in taken] == messages


async def test_messages_as_they_came_in_are_compressed_too(
    engine: Engine, taken: list[bytes]
) -> None:
    properties = {"compression": "gzip", "compressionProps": {"level": 9}, "sendSingle": True}
    await sent(engine, properties, {"a": 1})
    assert [gzip.decompress(payload) for payload in taken] == [b'{"a":1}']


async def test_a_named_section_may_hold_common_properties(
    engine: Engine, taken: list[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "etc" / "sinks"
    folder.mkdir(parents=True)
    (folder / "take.yaml").write_text("default: {sendSingle: true}\nab: {dataTemplate: '<{{.a}}>'}")
    await sent(engine, {"resourceId": "ab"}, {"a": 1})
    assert taken == [b"<1>"]


@pytest.mark.parametrize(
    ("properties", "message", "hint"),
    [
        ({"format": "binary", "batchSize": 2}, "format binary holds one row", "json or delimited"),
        ({"format": "urlencoded", "lingerInterval": 5}, "rows can't be gathered", "leave"),
        ({"format": "binary", "dataTemplate": "x"}, "format binary can't hold", "leave format out"),
        ({"fields": ["a"], "excludeFields": ["b"]}, "fields or excludeFields, not both", ""),
        ({"compression": "lzma"}, "expected one of '', 'zlib', 'gzip', 'flate', 'zstd'", ""),
        ({"compression": "zstd", "compressionProps": {"level": 99}}, "zstd has no level 99", "22"),
        ({"encryption": "aes"}, "AES Key is not defined", KEY_VARIABLE),
        ({"encryption": "des"}, "expected one of '', 'aes'", ""),
        ({"batchSize": -1}, "batchSize", ""),
        ({"lingerInterval": "soon"}, "lingerInterval", ""),
        ({"format": "delimted"}, "unknown format 'delimted'", "did you mean 'delimited'?"),
        ({"format": "delimited", "delimiter": ""}, "can't be the delimiter", "','"),
        ({"schemaId": "a.B"}, "format json has no schemas", "for format protobuf and custom"),
        ({"format": "protobuf"}, "format protobuf needs a schemaId", "sensors.Reading"),
        ({"resendPriority": 1}, "resendPriority is for resending beside new results", ""),
        ({"enableCache": True, "maxDiskCache": 300}, "must be a multiple of bufferPageSize", ""),
    ],
)
async def test_properties_that_cant_work_are_refused(
    engine: Engine,
    taken: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    properties: dict[str, Any],
    message: str,
    hint: str,
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ConfigError) as caught:
        await engine.start(rule(**properties))
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert not engine.rules


RULE = """\
rules:
  - id: r
    sql: SELECT * FROM demo
    actions:
      - memory:
          topic: out/{topic}
          dataTemplate: |
            {{"a":
              {template}}}
"""


@pytest.mark.parametrize(
    ("topic", "template", "place", "message"),
    [
        ("x", "{{jsn .}}", "9:17", "dataTemplate: template 2:5: there is no function jsn"),
        ("{{.a", "{{json .}}", "6:22", "topic: template 1:5: '{{' without '}}'"),
    ],
)
async def test_a_malformed_template_is_shown_in_its_file(
    engine: Engine, tmp_path: Path, topic: str, template: str, place: str, message: str
) -> None:
    file = tmp_path / "rule.yaml"
    file.write_text(RULE.format(topic=topic, template=template))
    (definition,) = engine.load(file).rules.values()
    with pytest.raises(ConfigError) as caught:
        await engine.start(definition)
    assert str(caught.value).startswith(f"{file}:{place}: sink memory: {message}")


@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_sink_that_declares_an_option_applies_it_unless_it_shares_it(
    engine: Engine, is_shared: bool
) -> None:
    seen: list[tuple[str, bytes]] = []

    class KnowingConfig(Config):
        compression: str = ""

    class Knowing(Sink[KnowingConfig]):
        takes_payloads = True
        shared_options = frozenset({"compression"} if is_shared else ())

        async def collect(self, batch: Batch) -> None:
            seen.extend((self.config.compression, payload) for payload in batch.payloads or ())

    engine.plugins.register(PluginKind.SINK, "take", Knowing)
    await sent(engine, {"compression": "gzip", "sendSingle": True}, {"a": 1})
    ((known, payload),) = seen
    assert known == "gzip"
    assert (gzip.decompress(payload) if is_shared else payload) == b'{"a":1}'
