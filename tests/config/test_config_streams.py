import pytest

from engine.config.load import load_text
from engine.config.rule import RuleSet
from engine.errors import ConfigError


def loaded(text: str) -> RuleSet:
    return load_text(text, file="r.yaml")


def test_a_stream_may_be_a_statement() -> None:
    statement = 'CREATE STREAM demo () WITH (DATASOURCE="x")'
    for text in (f"demo: {statement}", f"demo: {{sql: '{statement}'}}"):
        stream = loaded(f"streams:\n  {text}\n").streams["demo"]

        assert (stream.sql, stream.kind, str(stream.at)) == (statement, "stream", "r.yaml:2:3")
        at = stream.sql_place(1, 8)
        assert at is not None
        assert f"  {text}"[at.column - 1 :].startswith("STREAM")


def test_comments_may_stand_before_the_statement() -> None:
    text = "streams:\n  a: |\n    -- the demo\n    /* of\n    ours */ create stream a () WITH ()\n"

    assert str(loaded(text).streams["a"].sql_at) == "r.yaml:3:5"


def test_a_stream_may_be_a_mapping_of_options_and_properties() -> None:
    stream = loaded(
        """
streams:
  demo:
    type: mqtt
    datasource: "sensors/+/data"
    CONF_KEY: broker
    RETAIN_SIZE: "10"
    Strict_Validation: "true"
    timestampFormat: yyyy
    extra: '{"qos": 1}'
    server: "tcp://127.0.0.1:1883"
    Server: other
    schema: {on: bigint, b: "array(float)"}
"""
    ).streams["demo"]

    options = stream.options
    assert (options.type, options.datasource, options.conf_key) == (
        "mqtt",
        "sensors/+/data",
        "broker",
    )
    assert (options.retain_size, options.strict_validation) == (10, True)
    assert (options.timestamp_format, options.extra, options.format) == ("yyyy", {"qos": 1}, "json")
    assert "format" not in stream.given
    assert "confKey" in stream.given
    assert stream.properties == {"server": "tcp://127.0.0.1:1883", "Server": "other"}
    assert str(stream.where.of_key("server")) == "r.yaml:11:5"
    assert stream.schema is not None
    assert [(c.name, c.type, str(c.at)) for c in stream.schema] == [
        ("on", "bigint", "r.yaml:13:14"),
        ("b", "array(float)", "r.yaml:13:26"),
    ]
    assert stream.sql_at is None


def test_a_table_has_a_kind_of_its_own() -> None:
    table = loaded("tables: {t: {type: redis, kind: lookup, key: id}}").tables["t"]

    assert (table.kind, table.options.kind, table.options.key) == ("table", "lookup", "id")
    assert table.schema is None


def test_connections_are_named_property_sets() -> None:
    connections = loaded("connections:\n  c: {type: mqtt, server: x}\n  d:\n").connections

    assert (connections["c"].type, connections["c"].properties) == ("mqtt", {"server": "x"})
    assert str(connections["c"].where.of("server")) == "r.yaml:2:27"
    assert connections["d"].properties == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("streams: []", "1:10: streams: expected a mapping of names, found a list"),
        ("streams: {a: 5}", "1:14: stream a: expected a CREATE statement or a mapping, found the"),
        ("streams: {a: SELECT 1}", "1:14: stream a: expected 'CREATE STREAM …', found text"),
        ("tables: {a: {sql: 5}}", "1:19: table a: expected a CREATE statement, found the number 5"),
        ("streams: {a: {sql: CREATE x, b: 1}}", "1:30: unknown key 'b' in stream a beside 'sql'"),
        ("streams: {'a b': {}}", "1:11: 'a b' can't be the name of a stream"),
        ("streams: {a: {type: mqtt, TYPE: x}}", "1:27: stream a: type is given twice"),
        ("streams: {a: {retainSize: -1}}", "1:27: stream a.retainSize: expected a whole number of"),
        ("streams: {a: {SHARED: maybe}}", "1:23: stream a.shared: expected true or false"),
        ("streams: {a: {kind: x}}", "1:21: stream a.kind: expected one of 'scan', 'lookup'"),
        ("streams: {a: {extra: '{\"x\":}'}}", "1:28: not valid JSON"),
        ("streams: {a: {extra: '[1]'}}", "1:23: stream a.extra: expected a JSON object, found a"),
        ("streams: {a: {extra: 5}}", "1:22: stream a.extra: expected a mapping, found the number"),
        ("streams: {a: {schema: x}}", "1:23: stream a.schema: expected a mapping of names"),
        ("streams: {a: {schema: {x: 1}}}", "1:27: stream a.schema.x: expected a type such as"),
        ("connections: {a: 5}", "1:18: connection a: expected a mapping of properties, found the"),
        ("connections: {a: {type: 5}}", "1:25: connection a.type: expected text, found the number"),
    ],
)
def test_a_mistake_in_a_stream_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text)

    assert str(caught.value).startswith(f"r.yaml:{message}")
