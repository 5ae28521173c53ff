"""Formats protobuf and custom: messages that a schema describes, in rules and both ways."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import ConfigError, Engine
from engine.api import Config, Emit, Sink, Source
from engine.batch import Batch
from engine.codec import decoder, encoder
from engine.codec.contract import Message
from engine.layout import ColumnUse, Layout
from engine.registry import PluginKind
from engine.schemas.files import SchemaFiles
from engine.schemas.registry import SchemaRegistry
from engine.sql.ast import ScalarType
from engine.sql.schema import Schema

SENSORS = """
syntax = "proto3";
package plant;
import "google/protobuf/wrappers.proto";
import "units/unit.proto";
message Reading {
  int64 id = 1;
  double value = 2;
  string name = 3;
  bool good = 4;
  bytes raw = 5;
  repeated int32 codes = 6;
  map<string, double> by_axis = 7;
  Reading inner = 8;
  repeated Reading parts = 9;
  enum State { OFF = 0; ON = 1; }
  State state = 10;
  optional int32 maybe = 11;
  oneof either { string left = 12; uint32 right = 13; }
  google.protobuf.StringValue wrapped = 14;
  units.Unit unit = 15;
  map<int32, Reading> by_number = 16;
}
"""
UNIT = """
syntax = "proto2";
package units;
message Unit { required string symbol = 1; optional float factor = 2 [default = 1.5]; }
"""
EMPTY = {
    "id": 0,
    "value": 0.0,
    "name": "",
    "good": False,
    "raw": b"",
    "codes": [],
    "by_axis": {},
    "parts": [],
    "state": 0,
    "by_number": {},
}
FULL = EMPTY | {
    "id": -(1 << 63),
    "value": 1.5,
    "name": "käse",
    "raw": b"\x00\xff",
    "codes": [1, -2],
    "by_axis": {"x": 0.5},
    "inner": EMPTY | {"id": 7},
    "parts": [EMPTY, EMPTY | {"name": "b"}],
    "state": 1,
    "maybe": 0,
    "right": 3,
    "wrapped": "w",
    "unit": {"symbol": "m", "factor": 2.5},
    "by_number": {"4": EMPTY},
}


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> SchemaRegistry:
    root = tmp_path_factory.mktemp("root")
    write(root)
    return SchemaRegistry(SchemaFiles(root))


def write(root: Path, text: str = SENSORS, name: str = "sensors.proto") -> Path:
    folder = root / "etc" / "schemas" / "protobuf"
    (folder / "units").mkdir(parents=True, exist_ok=True)
    (folder / "units" / "unit.proto").write_text(UNIT)
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture(scope="module")
def reading(schemas: SchemaRegistry) -> Message:
    found = schemas.message("Protobuf", "sensors.Reading")
    assert found is not None
    return found


def encoded(message: Message, row: Any) -> bytes:
    (payload,) = encoder("protobuf", message=message).encode([row])
    return payload


def decoded(message: Message, *payloads: bytes, layout: Layout | None = None) -> Any:
    whole = Layout()
    whole.whole = True
    decode = decoder("protobuf", layout or whole, Schema(), message=message)
    frame, failures = decode.decode(Batch(payloads=list(payloads)))
    return frame.rows, [error.message for _, error in failures]


def test_a_row_is_the_same_after_its_way_as_a_message(reading: Message) -> None:
    assert decoded(reading, encoded(reading, FULL)) == ([FULL], [])
    assert decoded(reading, b"") == ([EMPTY], [])


_ROWS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-(1 << 63), (1 << 63) - 1),
        "value": st.floats(allow_nan=False),
        "name": st.text(),
        "good": st.booleans(),
        "raw": st.binary(),
        "codes": st.lists(st.integers(-(1 << 31), (1 << 31) - 1)),
        "by_axis": st.dictionaries(st.text(), st.floats(allow_nan=False)),
        "state": st.sampled_from([0, 1, 77]),
        "maybe": st.integers(0, 9),
        "wrapped": st.text(),
    },
)


@given(_ROWS, st.lists(_ROWS, max_size=3))
def test_every_row_comes_back(reading: Message, row: dict[str, Any], parts: list[Any]) -> None:
    sent = row | {"parts": parts}
    rows, _ = decoded(reading, encoded(reading, sent))
    assert rows == [EMPTY | row | {"parts": [EMPTY | part for part in parts]}]


def test_only_the_columns_that_are_read_are_made(reading: Message) -> None:
    layout = Layout()
    layout.require((ColumnUse("id"), ColumnUse("inner"), ColumnUse("nosuch")))
    rows, _ = decoded(reading, encoded(reading, FULL), layout=layout)
    assert rows == [{"id": FULL["id"], "inner": FULL["inner"]}]


def test_what_may_stand_for_a_value(reading: Message) -> None:
    row = {"id": 5.0, "value": 2, "raw": "AP8=", "state": "ON", "name": None}
    (back,) = decoded(reading, encoded(reading, row))[0]
    assert back == EMPTY | {"id": 5, "value": 2.0, "raw": b"\x00\xff", "state": 1}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"nam": "x"}, "message Reading has no field 'nam'; did you mean 'name'?"),
        ({"id": 1.5}, "field id: expected a whole number, found float"),
        ({"id": 1 << 63}, "field id: "),
        ({"id": True}, "field id: expected a whole number"),
        ({"name": 5}, "field name: expected a string, found bigint"),
        ({"raw": "?"}, "field raw: the text is no base64"),
        ({"codes": 1}, "field codes: expected an array"),
        ({"by_axis": [1]}, "field by_axis: expected an object"),
        ({"by_number": {"x": {}}}, "field by_number: "),
        ({"parts": [{"inner": {"good": 1}}]}, "field parts: field inner: field good: expected a b"),
        ({"state": "AUTO"}, "field state: expected a whole number, found string"),
        ({"unit": {"factor": 1}}, "message Reading lacks unit.symbol"),
        ([{}, {}], "2 rows at once; give the sink sendSingle: true"),
        (5, "expected a row, found bigint"),
    ],
)
def test_what_does_not_fit_is_an_error_of_its_row(reading: Message, row: Any, why: str) -> None:
    _, kept, failures = encoder("protobuf", message=reading).encode_one_by_one([row, {"id": 1}])
    assert kept == [1]
    assert failures[0][1].message.startswith(f"can't be written as a protobuf message: {why}")


def test_a_broken_message_fails_alone(reading: Message) -> None:
    rows, failures = decoded(reading, b"\x08", encoded(reading, {"id": 1}), b"\xff" * 9)
    assert rows == [EMPTY | {"id": 1}]
    assert [text.startswith("malformed protobuf message Reading") for text in failures] == [
        True
    ] * 2


def test_the_schema_tells_the_columns(reading: Message) -> None:
    columns = {column.name: column.type for column in reading.columns}
    assert columns["id"] == ScalarType(name="BIGINT")
    assert columns["raw"] == ScalarType(name="BYTEA")
    assert columns["wrapped"] == ScalarType(name="STRING")
    assert set(columns) == {*FULL, "left"}


def test_a_changed_schema_counts_at_once(tmp_path: Path) -> None:
    schemas = SchemaRegistry(SchemaFiles(tmp_path))
    write(tmp_path)
    first = schemas.message("protobuf", "sensors.Reading")
    write(tmp_path, SENSORS.replace("int64 id", "int64 number"))
    second = schemas.message("protobuf", "sensors.plant.Reading")
    assert first is not None
    assert second is not None
    assert [first.columns[0].name, second.columns[0].name] == ["id", "number"]
    write(tmp_path, SENSORS, "sensors@1.9.0.proto")
    write(tmp_path, SENSORS.replace("int64 id", "int64 newest"), "sensors@1.10.0.proto")
    third = schemas.message("protobuf", "sensors.Reading")
    assert third is not None
    assert third.columns[0].name == "newest"


@pytest.mark.parametrize(
    ("schema_id", "why"),
    [
        ("", "format protobuf needs a schemaId"),
        ("sensors", "format protobuf needs a schemaId"),
        ("sensor.Reading", "unknown protobuf schema 'sensor'\n  hint: did you mean 'sensors'?"),
        ("sensors.Readin", "has no message 'Readin'\n  hint: did you mean 'Reading'?"),
        ("broken.M", r'broken.proto:1:31: "int65" is not defined.'),
    ],
)
async def test_a_wrong_schema_is_told_before_a_rule_runs(
    engine: Engine, tmp_path: Path, schema_id: str, why: str
) -> None:
    write(tmp_path)
    write(tmp_path, 'syntax="proto3"; message M {  int65 a = 1; }', "broken.proto")
    engine.define_stream("s", type="memory", datasource="s", format="protobuf", schemaId=schema_id)
    with pytest.raises(ConfigError) as raised:
        engine.check({"id": "a", "sql": "SELECT * FROM s", "actions": [{"nop": {}}]})
    assert why in str(raised.value)
    engine.define_stream("t", type="memory", datasource="t")
    action = {"memory": {"topic": "x", "format": "protobuf", "schemaId": schema_id}}
    with pytest.raises(ConfigError) as raised:
        engine.check({"id": "a", "sql": "SELECT * FROM t", "actions": [action]})
    assert why in str(raised.value)


class Payloads(Source[Config]):
    """Gives some payloads and ends."""

    payloads: ClassVar[list[bytes]] = []

    async def run(self, emit: Emit) -> None:
        await emit(Batch(payloads=list(self.payloads)))


class Written(Sink[Config]):
    """Remembers the payloads that it gets."""

    takes_payloads = True
    payloads: ClassVar[list[bytes]] = []

    async def collect(self, batch: Batch) -> None:
        self.payloads.extend(batch.payloads or ())


async def passed(engine: Engine, sql: str, payloads: list[bytes], **sink: Any) -> Any:
    """Return the payloads that a rule writes for some that it reads, and the rule."""
    Payloads.payloads, Written.payloads = payloads, []
    engine.plugins.register(PluginKind.SOURCE, "payloads", Payloads)
    engine.plugins.register(PluginKind.SINK, "written", Written)
    rule = await engine.start({"id": "a", "sql": sql, "actions": [{"written": sink}]})
    await rule.finished.wait()
    return Written.payloads, rule


async def test_a_rule_reads_and_writes_messages(
    engine: Engine, tmp_path: Path, reading: Message
) -> None:
    write(tmp_path)
    engine.define(
        'CREATE STREAM pb () WITH (TYPE="payloads", FORMAT="protobuf", SCHEMAID="sensors.Reading")'
    )
    sql = "SELECT id, value + 1 AS value, `inner`->id AS codes, unit FROM pb WHERE good"
    good = encoded(reading, FULL | {"good": True, "value": 20.0})
    sent = [good, b"\xff", encoded(reading, {"good": False})]
    schema = {"format": "protobuf", "schemaId": "sensors.Reading", "sendSingle": True}
    written, rule = await passed(engine, sql, sent, **schema)
    assert written == []  # codes is a list
    assert "field codes: expected an array" in str(rule.metrics.last_error)
    assert rule.metrics.balance().holds
    await engine.delete("a")
    sql = sql.replace("`inner`->id AS codes", "array_create(`inner`->id) AS codes")
    written, rule = await passed(engine, sql, sent, **schema)
    (row,) = decoded(reading, *written)[0]
    assert row == EMPTY | {"id": FULL["id"], "value": 21.0, "codes": [7], "unit": FULL["unit"]}


async def test_a_template_makes_the_row_of_a_message(
    engine: Engine, tmp_path: Path, reading: Message
) -> None:
    write(tmp_path)
    engine.define('CREATE STREAM j () WITH (TYPE="payloads")')
    template = '{"name": "{{.n}}", "id": 3}'
    schema = {"format": "protobuf", "schemaId": "sensors.Reading", "dataTemplate": template}
    written, _ = await passed(engine, "SELECT n FROM j", [b'{"n":"x"}'], sendSingle=True, **schema)
    assert decoded(reading, *written)[0] == [EMPTY | {"id": 3, "name": "x"}]


CUSTOM = """
class Pair:
    def decode(self, payload):
        a, b = payload.split(b";")
        return {"a": int(a), "b": b.decode()}

    def encode(self, row):
        return f"{row['a']};{row['b']}".encode()

    def schema(self):
        return {"a": "bigint", "b": "string"}


class Many:
    def Decode(self, payload):
        return [{"n": n} for n in payload]

    def Encode(self, row):
        return bytes([row["n"]])

    def GetSchemaJson(self):
        return '{"n": {"type": "bigint"}}'


def GetMade():
    return Many()


class Half:
    def decode(self, payload):
        return 5


class Odd(Pair):
    def decode(self, payload):
        return 5

    def encode(self, row):
        return "text"


class Failing:
    def __init__(self):
        raise RuntimeError("no")
"""


def custom(root: Path, text: str = CUSTOM) -> None:
    folder = root / "etc" / "schemas" / "custom"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(text)


@pytest.mark.parametrize(
    ("name", "payloads", "results", "errors"),
    [
        ("Pair", [b"1;x", b"1", b"2;y"], [b"1;x", b"2;y"], 1),
        ("Made", [b"\x01\x02", b"\x03"], [b"\x01", b"\x02", b"\x03"], 0),
        ("Odd", [b"1"], [], 1),
    ],
)
async def test_a_python_file_reads_and_writes_messages(
    engine: Engine, tmp_path: Path, name: str, payloads: list[bytes], results: Any, errors: int
) -> None:
    custom(tmp_path)
    with_ = f'(TYPE="payloads", FORMAT="custom", SCHEMAID="mine.{name}")'
    engine.define(f"CREATE STREAM c () WITH {with_}")
    sink = {"format": "custom", "schemaId": f"mine.{name}", "sendSingle": True}
    written, rule = await passed(engine, "SELECT * FROM c", payloads, **sink)
    assert written == results
    balance = rule.metrics.balance()
    assert balance.holds
    assert balance.errors == errors


async def test_the_schema_of_the_manual_works(engine: Engine, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "schemas.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    custom(tmp_path, block)
    engine.define(
        'CREATE STREAM c () WITH (TYPE="payloads", FORMAT="custom", SCHEMAID="mine.Pair")'
    )
    sink = {"format": "custom", "schemaId": "mine.Pair", "sendSingle": True}
    written, _ = await passed(engine, "SELECT a, b + 1 AS b FROM c", [b"1;2"], **sink)
    assert written == [b"1;3"]


@pytest.mark.parametrize(
    ("schema_id", "why"),
    [
        ("mine.Pai", "exports neither GetPai nor Pai\n  hint: did you mean 'Pair'?"),
        ("mine.Half", "Half has no method encode"),
        ("mine.Failing", "Failing() failed: RuntimeError: no"),
        ("broken.A", "broken.py:1: syntax error"),
    ],
)
async def test_a_python_file_that_cannot_be_used_is_told(
    engine: Engine, tmp_path: Path, schema_id: str, why: str
) -> None:
    custom(tmp_path)
    (tmp_path / "etc" / "schemas" / "custom" / "broken.py").write_text("def")
    options = f'TYPE="memory", DATASOURCE="c", FORMAT="custom", SCHEMAID="{schema_id}"'
    engine.define(f"CREATE STREAM c () WITH ({options})")
    with pytest.raises(ConfigError) as raised:
        engine.check({"id": "a", "sql": "SELECT * FROM c", "actions": [{"nop": {}}]})
    assert why in str(raised.value)


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setitem(sys.modules, "grpc_tools", None)
    with pytest.raises(ConfigError, match=r"pip install 'headrace\[protobuf\]'"):
        SchemaRegistry(SchemaFiles(tmp_path)).message("protobuf", "sensors.Reading")
