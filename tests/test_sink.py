"""What a sink is given of results: messages of one row, or of the rows emitted together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.api import Batch, Config, Sink, Template
from engine.clock import SystemClock
from engine.run.context import PluginContext
from engine.run.metrics import RuleMetrics
from engine.run.properties import SinkOptions
from engine.run.receipt import Receipt
from engine.run.sink import Outgoing, SinkRunner
from engine.run.ticket import Ticket
from engine.state.scope import StateScope

ROWS: list[dict[str, Any]] = [{"n": 1}, {"n": 2}, {}, {"n": 3}]
WITH_NULL = ['{"n":1}', '{"n":2}', '{"n":null}', '{"n":3}']


class ToConfig(Config):
    to: Template = Template("")


class Seen(Sink[ToConfig]):
    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def collect(self, batch: Batch) -> None:
        self.batches.append(batch)


class SeenPayloads(Seen):
    takes_payloads = True


async def delivered(
    sink: Seen, options: SinkOptions, sizes: list[int] | None, to: str = ""
) -> tuple[Batch | None, RuleMetrics]:
    config = ToConfig(to=Template(to))
    sink.config = config
    sink.ctx = PluginContext(
        rule_id="r",
        op_id="sink",
        instance_id=0,
        root_path=Path(),
        clock=SystemClock(),
        state=StateScope(),
        resources=None,  # type: ignore[arg-type]  # none of these sinks shares anything
        on_connection=lambda connected, message: None,
    )
    runner = SinkRunner("sink", sink, config, options, sink.ctx, SystemClock())
    metrics = RuleMetrics()
    ticket = Ticket(len(ROWS), 1, metrics, Receipt(None, 1), lambda place, message: None)
    await runner.flow.put(Outgoing(list(ROWS), None, ticket, sizes))
    runner.flow.close()
    await runner.run(lambda: None)
    assert metrics.unconfirmed == 0
    assert metrics.delivered + metrics.dropped.total() == len(ROWS)
    return (sink.batches[0] if sink.batches else None), metrics


@pytest.mark.parametrize(
    ("options", "sizes", "payloads"),
    [
        ({}, None, ['[{"n":1}]', '[{"n":2}]', "[{}]", '[{"n":3}]']),
        ({"send_single": True}, None, ['{"n":1}', '{"n":2}', "{}", '{"n":3}']),
        ({}, [3, 0, 1], ['[{"n":1},{"n":2},{}]', "[]", '[{"n":3}]']),
        ({"omit_if_empty": True}, [3, 0, 1], ['[{"n":1},{"n":2},{}]', '[{"n":3}]']),
        ({"send_single": True}, [3, 0, 1], ['{"n":1}', '{"n":2}', "{}", '{"n":3}']),
        ({"send_single": True, "omit_if_empty": True}, None, ['{"n":1}', '{"n":2}', '{"n":3}']),
        (
            {"fields": ("n",), "send_single": True},
            None,
            ['{"n":1}', '{"n":2}', '{"n":null}', '{"n":3}'],
        ),
        ({"exclude_fields": ("n",)}, [4], ["[{},{},{},{}]"]),
        (
            {"data_field": "n", "send_single": True},
            None,
            ['{"n":1}', '{"n":2}', '{"n":null}', '{"n":3}'],
        ),
    ],
)
async def test_messages_hold_a_row_or_the_rows_emitted_together(
    options: dict[str, Any], sizes: list[int] | None, payloads: list[str]
) -> None:
    batch, _ = await delivered(SeenPayloads(), SinkOptions(**options), sizes)
    assert batch is not None
    assert [payload.decode() for payload in batch.payloads or ()] == payloads


async def test_a_sink_of_rows_is_told_which_were_emitted_together() -> None:
    batch, _ = await delivered(Seen(), SinkOptions(), [3, 0, 1])
    assert batch is not None
    assert (batch.rows, batch.sizes) == (ROWS, [3, 0, 1])


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


async def test_nothing_is_collected_where_nothing_is_left(engine: Engine) -> None:
    batch, metrics = await delivered(Seen(), SinkOptions(), None, "x/{{.other}}")
    assert batch is None
    assert metrics.dropped == {("sink", "template"): 4}
