"""What a sink is given of results: messages of one row, or of the rows emitted together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.api import Batch, Config, Sink, Template
from engine.clock import SystemClock
from engine.errors import ConfigError
from engine.run.context import PluginContext
from engine.run.metrics import RuleMetrics
from engine.run.properties import SinkOptions
from engine.run.receipt import Receipt
from engine.run.sink import Outgoing, SinkRunner
from engine.run.ticket import Ticket
from engine.state.scope import StateScope

ROWS: list[dict[str, Any]] = [{"n": 1}, {"n": 2}, {}, {"n": 3}]
TWO: list[dict[str, Any]] = [{"ab": "hello1", "x": {"y": [1, 2]}}, {"ab": "hello2", "x": {}}]


class ToConfig(Config):
    to: Template = Template("")
    labels: dict[str, Template] = msgspec.field(default_factory=dict)


class Seen(Sink[ToConfig]):
    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def collect(self, batch: Batch) -> None:
        self.batches.append(batch)


class SeenPayloads(Seen):
    takes_payloads = True


def context() -> PluginContext:
    return PluginContext(
        rule_id="r",
        op_id="sink",
        instance_id=0,
        root_path=Path(),
        clock=SystemClock(),
        state=StateScope(),
        resources=None,  # type: ignore[arg-type]  # none of these sinks shares anything
        on_connection=lambda connected, message: None,
    )


async def delivered(
    sink: Seen,
    options: SinkOptions,
    sizes: list[int] | None,
    to: str = "",
    rows: list[dict[str, Any]] = ROWS,
    *,
    labels: dict[str, str] | None = None,
    payloads: list[bytes] | None = None,
) -> tuple[Batch | None, RuleMetrics]:
    config = ToConfig(
        to=Template(to), labels={name: Template(text) for name, text in (labels or {}).items()}
    )
    sink.config, sink.ctx = config, context()
    runner = SinkRunner("sink", sink, config, options, sink.ctx, SystemClock())
    metrics = RuleMetrics()
    count = len(rows if payloads is None else payloads)
    ticket = Ticket(count, 1, metrics, Receipt(None, 1), lambda place, message: None)
    given = None if payloads is not None else [dict(row) for row in rows]
    await runner.put(Outgoing(given, payloads, ticket, sizes))
    runner.flow.close()
    await runner.run(lambda: None)
    assert metrics.unconfirmed == 0
    assert metrics.delivered + metrics.dropped.total() == count
    return (sink.batches[0] if sink.batches else None), metrics


async def texts(
    options: dict[str, Any],
    sizes: list[int] | None = None,
    rows: list[dict[str, Any]] = ROWS,
) -> tuple[list[str], dict[tuple[str, str], int]]:
    """Return the payloads that a sink gets, and what was dropped."""
    batch, metrics = await delivered(SeenPayloads(), SinkOptions(**options), sizes, rows=rows)
    payloads = [] if batch is None else batch.payloads or []
    return [payload.decode() for payload in payloads], dict(metrics.dropped)


# -- lists and single rows -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sizes", "payloads"),
    [
        ({}, None, ['[{"n":1}]', '[{"n":2}]', "[{}]", '[{"n":3}]']),
        ({"send_single": True}, None, ['{"n":1}', '{"n":2}', "{}", '{"n":3}']),
        ({}, [3, 0, 1], ['[{"n":1},{"n":2},{}]', "[]", '[{"n":3}]']),
        ({"omit_if_empty": True}, [3, 0, 1], ['[{"n":1},{"n":2},{}]', '[{"n":3}]']),
        ({"omit_if_empty": True}, None, ['[{"n":1}]', '[{"n":2}]', '[{"n":3}]']),
        ({"send_single": True}, [3, 0, 1], ['{"n":1}', '{"n":2}', "{}", '{"n":3}']),
        ({"send_single": True, "omit_if_empty": True}, None, ['{"n":1}', '{"n":2}', '{"n":3}']),
        (
            {"fields": ("n",), "send_single": True},
            None,
            ['{"n":1}', '{"n":2}', '{"n":null}', '{"n":3}'],
        ),
        ({"exclude_fields": ("n",)}, [4], ["[{},{},{},{}]"]),
        ({"exclude_fields": ("n",), "omit_if_empty": True}, [4], []),
    ],
)
async def test_messages_hold_a_row_or_the_rows_emitted_together(
    options: dict[str, Any], sizes: list[int] | None, payloads: list[str]
) -> None:
    assert await texts(options, sizes) == (payloads, {})


@pytest.mark.parametrize(
    ("options", "sizes", "payloads"),
    [
        ({}, None, ['[{"n":1}]', '[{"n":2}]']),
        ({"send_single": True}, None, ['{"n":1}', '{"n":2}']),
        ({}, [2], ['[{"n":1},{"n":2}]']),
        ({"send_single": True}, [2], ['{"n":1}', '{"n":2}']),
        ({"fields": ("m",)}, None, ['[{"m":null}]', '[{"m":null}]']),
    ],
)
async def test_messages_that_came_in_go_out_as_they_are(
    options: dict[str, Any], sizes: list[int] | None, payloads: list[str]
) -> None:
    came = [b'{"n":1}', b'{"n":2}']
    batch, _ = await delivered(SeenPayloads(), SinkOptions(**options), sizes, payloads=came)
    assert batch is not None
    assert [payload.decode() for payload in batch.payloads or ()] == payloads


async def test_a_sink_of_rows_is_told_which_were_emitted_together() -> None:
    batch, _ = await delivered(Seen(), SinkOptions(), [3, 0, 1])
    assert batch is not None
    assert (batch.rows, batch.sizes) == (ROWS, [3, 0, 1])


async def test_a_sink_of_rows_gets_them_one_by_one_with_send_single() -> None:
    batch, _ = await delivered(Seen(), SinkOptions(send_single=True), [3, 0, 1])
    assert batch is not None
    assert (batch.rows, batch.sizes) == (ROWS, None)


# -- selection -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sizes", "payloads"),
    [
        ({"data_field": "ab", "send_single": True}, None, ['"hello1"', '"hello2"']),
        ({"data_field": "x", "send_single": True}, None, ['{"y":[1,2]}', "{}"]),
        ({"data_field": "x"}, None, ['{"y":[1,2]}', "{}"]),
        ({"data_field": "x"}, [2], ['[{"y":[1,2]},{}]']),
        ({"data_field": "x", "omit_if_empty": True}, None, ['{"y":[1,2]}']),
        ({"data_field": "x", "fields": ("y", "z")}, [1, 1], None),
        ({"data_field": "x", "exclude_fields": ("y",)}, None, ["{}", "{}"]),
        ({"fields": ("q", "ab")}, [2], ['[{"q":null,"ab":"hello1"},{"q":null,"ab":"hello2"}]']),
    ],
)
async def test_a_member_of_the_row_is_sent_instead_of_it(
    options: dict[str, Any], sizes: list[int] | None, payloads: list[str] | None
) -> None:
    expected = payloads or ['{"y":[1,2],"z":null}', '{"y":null,"z":null}']
    assert await texts(options, sizes, TWO) == (expected, {})


async def test_members_that_are_lists_are_joined_for_several_rows() -> None:
    rows = [{"l": [{"a": 1}, {"a": 2}]}, {"l": [{"a": 3}]}]
    assert await texts({"data_field": "l"}, [2], rows) == (['[{"a":1},{"a":2},{"a":3}]'], {})


async def test_a_row_without_the_member_is_lost_and_counted() -> None:
    sent, dropped = await texts({"data_field": "n", "send_single": True})
    assert sent == ["1", "2", "3"]
    assert dropped == {("sink", "selection"): 1}


async def test_fields_of_what_has_none_are_an_error_of_the_row() -> None:
    options = {"data_field": "n", "fields": ("a",), "send_single": True}
    assert await texts(options, rows=[{"n": 1}, {"n": [2]}]) == ([], {("sink", "selection"): 2})


async def test_a_sink_of_rows_takes_no_member_that_isnt_one() -> None:
    options = SinkOptions(data_field="n", send_single=True)
    rows: list[dict[str, Any]] = [{"n": 5}, {"n": {"a": 1}}, {"n": [{"a": 2}, {"a": 3}]}]
    batch, metrics = await delivered(Seen(), options, None, rows=rows)
    assert batch is not None
    assert (batch.rows, batch.sizes) == ([{"a": 1}, {"a": 2}, {"a": 3}], [1, 2])
    assert metrics.dropped == {("sink", "selection"): 1}


# -- properties ------------------------------------------------------------------------------------


async def test_a_failing_property_loses_its_message_only() -> None:
    batch, metrics = await delivered(
        SeenPayloads(), SinkOptions(send_single=True), None, "x/{{.n}}"
    )
    assert batch is not None
    assert batch.meta.column("to") == ["x/1", "x/2", "x/3"]
    assert metrics.dropped == {("sink", "template"): 1}


async def test_a_list_that_fails_loses_all_its_rows() -> None:
    batch, metrics = await delivered(SeenPayloads(), SinkOptions(), [3, 1], "x/{{.n}}")
    assert batch is not None
    assert [payload.decode() for payload in batch.payloads or ()] == ['[{"n":3}]']
    assert metrics.dropped == {("sink", "template"): 3}


async def test_nothing_is_collected_where_nothing_is_left() -> None:
    batch, metrics = await delivered(Seen(), SinkOptions(), None, "x/{{.other}}")
    assert batch is None
    assert metrics.dropped == {("sink", "template"): 4}


async def test_properties_see_the_row_before_anything_is_taken_from_it() -> None:
    options = SinkOptions(send_single=True, fields=("x",), data_template="")
    batch, _ = await delivered(SeenPayloads(), options, None, "t/{{.ab | upper}}", TWO)
    assert batch is not None
    assert batch.meta.column("to") == ["t/HELLO1", "t/HELLO2"]


async def test_properties_of_a_list_index_it() -> None:
    for sink in (SeenPayloads(), Seen()):
        batch, _ = await delivered(sink, SinkOptions(), [2], '{{index . 1 "ab"}}', TWO)
        assert batch is not None
        assert set(batch.meta.column("to")) == {"hello2"}
        assert len(batch.meta.column("to")) == len(batch)


async def test_members_of_a_mapping_are_computed_too() -> None:
    labels = {"kind": "fixed", "who": "{{.ab}}"}
    options = SinkOptions(send_single=True)
    batch, _ = await delivered(SeenPayloads(), options, None, rows=TWO, labels=labels)
    assert batch is not None
    assert batch.meta.column("labels") == [
        {"kind": "fixed", "who": "hello1"},
        {"kind": "fixed", "who": "hello2"},
    ]


# -- dataTemplate ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "payloads"),
    [
        ({"data_template": "{{.ab}}", "send_single": True}, ["hello1", "hello2"]),
        ({"data_template": "{{range .}}<{{.ab}}>{{end}}"}, ["<hello1><hello2>"]),
        (
            {"data_template": '{"a":{{toJson .ab}},"b":1}', "fields": ("a",), "send_single": True},
            ['{"a":"hello1"}', '{"a":"hello2"}'],
        ),
        (
            {"data_template": '{"in":{{json .x}}}', "data_field": "in", "send_single": True},
            ['{"y":[1,2]}', "{}"],
        ),
        (
            {"data_template": "{{.ab}};{{len .x}}", "format": "delimited", "send_single": True},
            ["hello1;1", "hello2;0"],
        ),
        (
            {
                "data_template": '{{if eq .ab "hello2"}}{{json .}}{{end}}',
                "send_single": True,
                "omit_if_empty": True,
            },
            ['{"ab":"hello2","x":{}}'],
        ),
    ],
)
async def test_a_template_makes_the_message_or_the_data_for_what_follows(
    options: dict[str, Any], payloads: list[str]
) -> None:
    assert await texts(options, [2], TWO) == (payloads, {})


async def test_what_isnt_json_cant_be_selected_from() -> None:
    options = {"data_template": "{{.ab}}", "fields": ("a",), "send_single": True}
    assert await texts(options, None, TWO) == ([], {("sink", "template"): 2})


async def test_a_sink_of_rows_reads_the_template_as_rows() -> None:
    text = '{{if .x}}[{"v":1},{"v":2}]{{else}}{"v":3}{{end}}'
    options = SinkOptions(data_template=text, send_single=True)
    batch, metrics = await delivered(Seen(), options, None, "{{.ab}}", TWO)
    assert batch is not None
    assert (batch.rows, batch.sizes) == ([{"v": 1}, {"v": 2}, {"v": 3}], [2, 1])
    assert batch.meta.column("to") == ["hello1", "hello1", "hello2"]
    assert not metrics.dropped


async def test_a_sink_of_rows_refuses_other_results_of_a_template() -> None:
    options = SinkOptions(data_template='{{if .x}}[1]{{else}}"text"{{end}}', send_single=True)
    batch, metrics = await delivered(Seen(), options, None, rows=TWO)
    assert batch is None
    assert metrics.dropped == {("sink", "selection"): 2}


async def test_rows_shared_with_other_sinks_stay_as_they_were() -> None:
    rows: list[dict[str, Any]] = [{"a": {"b": 1}}]
    options = SinkOptions(
        data_template='{{$_ := set . "k" 1}}{{$_ = set .a "c" 2}}{{json .}}', send_single=True
    )
    sink = SeenPayloads()
    config = ToConfig()
    sink.config, sink.ctx = config, context()
    runner = SinkRunner("sink", sink, config, options, sink.ctx, SystemClock())
    ticket = Ticket(1, 1, RuleMetrics(), Receipt(None, 1), lambda place, message: None)
    await runner.put(Outgoing(rows, None, ticket))
    runner.flow.close()
    await runner.run(lambda: None)
    assert sink.batches[0].payloads == [b'{"a":{"b":1,"c":2},"k":1}']
    assert rows == [{"a": {"b": 1}}]


# -- formats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "rows", "payloads"),
    [
        ({"format": "Delimited"}, TWO, ['hello1,"{""y"":[1,2]}"\nhello2,{}']),
        (
            {"format": "delimited", "delimiter": ";", "fields": ("n", "q"), "has_header": True},
            [{"n": 1.0}, {"n": 2.5, "q": "a;b"}],
            ['n;q\n1;\n2.5;"a;b"'],
        ),
        ({"format": "urlencoded", "send_single": True}, [{"b": "x y", "a": [1, 2]}, {}], None),
    ],
)
async def test_rows_are_written_in_the_format_asked_for(
    options: dict[str, Any], rows: list[dict[str, Any]], payloads: list[str] | None
) -> None:
    assert await texts(options, [2], rows) == (payloads or ["a=1&a=2&b=x+y", ""], {})


async def test_a_format_for_single_rows_loses_lists() -> None:
    sent, dropped = await texts({"format": "urlencoded"}, [1, 2], [{"a": 1}, {"a": 2}, {"a": 3}])
    assert sent == ["a=1"]
    assert dropped == {("sink", "encoding"): 2}


async def test_binary_sends_the_bytes_of_the_only_field() -> None:
    rows = [{"image": b"\x00\xff"}, {"image": "text"}, {"image": b"a", "n": 1}]
    options = SinkOptions(format="binary")
    batch, metrics = await delivered(SeenPayloads(), options, None, rows=rows)
    assert batch is not None
    assert batch.payloads == [b"\x00\xff"]
    assert metrics.dropped == {("sink", "encoding"): 2}


async def test_what_cant_be_written_is_lost_alone() -> None:
    rows: list[dict[str, Any]] = [{"n": 1}, {"n": object()}, {"n": 3}]
    sent, dropped = await texts({"send_single": True}, None, rows)
    assert [json.loads(text) for text in sent] == [{"n": 1}, {"n": 3}]
    assert dropped == {("sink", "encoding"): 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "unknown format 'xml'"),
        ({"format": "delimited", "delimiter": '"'}, "can't be the delimiter"),
        ({"dataTemplate": "{{jsn .}}"}, "there is no function jsn"),
        ({"compression": "gzip", "compressionProps": {"level": 10}}, "no level 10"),
    ],
)
def test_options_that_cant_work_are_refused_before_anything_runs(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SinkRunner(
            "sink",
            SeenPayloads(),
            ToConfig(),
            msgspec.convert(options, SinkOptions),
            context(),
            SystemClock(),
        )
