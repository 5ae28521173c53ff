"""batchSize and lingerInterval: rows wait for others, in virtual time, and none is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Batch, Config, Duration, NotConnected, Rejected, Sink, Template
from engine.clock import VirtualClock, settled
from engine.run.context import PluginContext
from engine.run.gathering import Gatherer
from engine.run.metrics import RuleMetrics
from engine.run.properties import SinkOptions
from engine.run.receipt import Receipt
from engine.run.sink import Outgoing, SinkRunner
from engine.run.ticket import Ticket
from engine.state.scope import StateScope


class ToConfig(Config):
    to: Template = Template("")


class Seen(Sink[ToConfig]):
    takes_payloads = True

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.failures: list[Exception] = []

    async def collect(self, batch: Batch) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(batch)

    @property
    def messages(self) -> list[str]:
        return [payload.decode() for batch in self.batches for payload in batch.payloads or ()]


class SeenRows(Seen):
    takes_payloads = False


class Job:
    """A sink at work in virtual time, and the account of its rule."""

    def __init__(self, options: SinkOptions, sink: Seen, to: str) -> None:
        self.clock = VirtualClock(1_000_000)
        self.metrics = RuleMetrics()
        self.sink = sink
        self.acknowledged: list[int] = []
        sink.config = ToConfig(to=Template(to))
        sink.ctx = PluginContext(
            rule_id="r",
            op_id="sink",
            instance_id=0,
            root_path=Path(),
            clock=self.clock,
            state=StateScope(),
            resources=None,  # type: ignore[arg-type]  # none of these sinks shares anything
            on_connection=lambda connected, message: None,
        )
        self.runner = SinkRunner("sink", sink, sink.config, options, sink.ctx, self.clock)
        self._number = 0

    async def put(self, *rows: dict[str, Any], raw: bool = False) -> None:
        """Hand results to the sink as one batch of the source."""
        number = self._number
        self._number += 1
        receipt = Receipt(lambda: self.acknowledged.append(number), 1)
        ticket = Ticket(len(rows), 1, self.metrics, receipt, lambda place, message: None)
        payloads = [f'{{"n":{row["n"]}}}'.encode() for row in rows] if raw else None
        await self.runner.put(Outgoing(None if raw else list(rows), payloads, ticket))
        await settled()

    async def pass_time(self, milliseconds: int) -> None:
        await self.clock.advance_to(self.clock.now() + milliseconds)


@asynccontextmanager
async def working(sink: Seen | None = None, to: str = "", **options: Any) -> AsyncIterator[Job]:
    job = Job(SinkOptions(**options), sink or Seen(), to)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(job.runner.run, lambda: None)
            await settled()
            yield job
            job.runner.flow.close()
    assert job.metrics.pending == 0
    assert len(job.acknowledged) == job._number


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"n": number} for number in numbers]


async def test_rows_are_sent_together_once_there_are_enough() -> None:
    async with working(batch_size=3) as job:
        await job.put(*rows(1, 2))
        assert (job.sink.messages, job.acknowledged) == ([], [])
        await job.put(*rows(3, 4))
        assert job.sink.messages == ['[{"n":1},{"n":2},{"n":3}]']
        assert job.acknowledged == [0]
        await job.pass_time(3_600_000)
        assert len(job.sink.messages) == 1


async def test_the_rest_is_sent_when_the_rule_ends() -> None:
    async with working(batch_size=3) as job:
        await job.put(*rows(1))
    assert job.sink.messages == ['[{"n":1}]']
    assert job.metrics.delivered == 1


async def test_many_rows_at_once_make_several_messages() -> None:
    async with working(batch_size=2) as job:
        await job.put(*rows(1, 2, 3, 4, 5))
        assert job.sink.messages == ['[{"n":1},{"n":2}]', '[{"n":3},{"n":4}]']
        assert job.acknowledged == []
    assert job.sink.messages[2:] == ['[{"n":5}]']


async def test_no_row_waits_longer_than_the_linger_interval() -> None:
    async with working(linger_interval=Duration(0.5)) as job:
        await job.put(*rows(1))
        await job.pass_time(400)
        await job.put(*rows(2))
        assert job.sink.messages == []
        await job.pass_time(100)
        assert job.sink.messages == ['[{"n":1},{"n":2}]']
        assert job.acknowledged == [0, 1]
        await job.put(*rows(3))
        await job.pass_time(499)
        assert len(job.sink.messages) == 1
        await job.pass_time(1)
        assert job.sink.messages[1:] == ['[{"n":3}]']


async def test_a_timer_of_rows_that_are_gone_sends_nothing_early() -> None:
    async with working(batch_size=2, linger_interval=Duration(1)) as job:
        await job.put(*rows(1))
        await job.pass_time(900)
        await job.put(*rows(2, 3))
        assert job.sink.messages == ['[{"n":1},{"n":2}]']
        await job.pass_time(900)
        assert len(job.sink.messages) == 1
        await job.pass_time(100)
        assert job.sink.messages[1:] == ['[{"n":3}]']


async def test_results_without_rows_are_confirmed_and_not_waited_for() -> None:
    async with working(batch_size=2) as job:
        await job.put()
        assert job.acknowledged == [0]
    assert job.sink.messages == []


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("single", [True, False])
async def test_messages_as_they_came_in_are_gathered_like_rows(raw: bool, single: bool) -> None:
    async with working(batch_size=2, send_single=single) as job:
        await job.put(*rows(1), raw=raw)
        await job.put(*rows(2), raw=not raw)
        await job.put(*rows(3, 4), raw=raw)
    assert job.sink.messages == ['[{"n":1},{"n":2}]', '[{"n":3},{"n":4}]']


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_template": "<{{.n}}>"}, "[<1>,<2>]"),
        ({"data_template": "{{.n}};x", "format": "delimited"}, "1;x\n2;x"),
        ({"format": "delimited", "has_header": True}, "n\n1\n2"),
        ({"fields": ("n", "m")}, '[{"n":1,"m":null},{"n":2,"m":null}]'),
        ({"data_field": "n"}, "[1,2]"),
    ],
)
async def test_single_rows_are_shaped_each_and_then_joined(
    options: dict[str, Any], message: str
) -> None:
    async with working(batch_size=2, send_single=True, **options) as job:
        await job.put(*rows(1, 2))
        assert job.sink.messages == [message]


async def test_a_template_sees_all_gathered_rows_without_send_single() -> None:
    async with working(batch_size=3, data_template="{{len .}}: {{(index . 2).n}}") as job:
        await job.put(*rows(1, 2, 3))
        assert job.sink.messages == ["3: 3"]


async def test_rows_with_other_properties_go_into_messages_of_their_own() -> None:
    async with working(batch_size=4, send_single=True, to="t/{{mod .n 2}}") as job:
        await job.put(*rows(1, 2, 3, 4))
        assert job.sink.messages == ['[{"n":1},{"n":3}]', '[{"n":2},{"n":4}]']
        assert job.sink.batches[0].meta.column("to") == ["t/1", "t/0"]


async def test_a_sink_of_rows_gets_one_list() -> None:
    for single in (True, False):
        async with working(SeenRows(), batch_size=3, send_single=single) as job:
            await job.put(*rows(1))
            await job.put(*rows(2, 3))
        (batch,) = job.sink.batches
        assert (batch.rows, batch.sizes) == (rows(1, 2, 3), [3])


async def test_rows_are_acknowledged_only_after_a_lost_sink_took_them() -> None:
    sink = Seen()
    sink.failures = [NotConnected("gone")] * 3
    async with working(sink, batch_size=2) as job:
        await job.put(*rows(1))
        await job.put(*rows(2))
        assert (sink.messages, job.acknowledged) == ([], [])
        await job.pass_time(60_000)
        assert (sink.messages, job.acknowledged) == (['[{"n":1},{"n":2}]'], [0, 1])


async def test_lost_rows_are_counted_with_the_results_they_are_of() -> None:
    sink = Seen()
    sink.failures = [Rejected("too large")]
    async with working(sink, batch_size=3) as job:
        await job.put(*rows(1, 2))
        await job.put(*rows(3, 4))
    assert sink.messages == ['[{"n":4}]']
    assert job.metrics.dropped == {("sink", "rejected"): 3}
    assert job.metrics.delivered == 1


async def test_a_row_that_cant_be_written_takes_no_other_with_it() -> None:
    for single in (True, False):
        async with working(batch_size=3, send_single=single) as job:
            await job.put({"n": 1}, {"n": object()}, {"n": 3})
            assert job.sink.messages == ['[{"n":1},{"n":3}]']
        assert job.metrics.dropped == {("sink", "encoding"): 1}
        assert job.metrics.delivered == 2


class Account:
    """A ticket that notes what it is told."""

    def __init__(self) -> None:
        self.lost: list[int] = []
        self.confirmed = 0

    def lose(self, place: str, reason: str, message: str, indexes: Any) -> None:
        assert not self.confirmed
        self.lost.extend(indexes)

    def confirm(self) -> None:
        self.confirmed += 1


@given(
    sizes=st.lists(st.integers(0, 7), max_size=12),
    batch_size=st.integers(1, 6),
    lost=st.sets(st.integers(0, 80)),
)
def test_each_row_is_handed_on_once_and_each_ticket_told_of_its_own_rows(
    sizes: list[int], batch_size: int, lost: set[int]
) -> None:
    """Rows are numbered through; those in ``lost`` are lost, wherever they went."""
    gatherer = Gatherer(batch_size)
    accounts: list[Account] = []
    finished: list[Outgoing] = []
    number = 0
    for size in sizes:
        account = Account()
        accounts.append(account)
        numbered = [{"n": number + index} for index in range(size)]
        number += size
        finished.extend(gatherer.add(Outgoing(numbered, None, account)))
    assert len(gatherer) < batch_size
    assert [len(outgoing) for outgoing in finished] == [batch_size] * (number // batch_size)
    rest = gatherer.flush()
    finished += [] if rest is None else [rest]
    assert [row["n"] for outgoing in finished for row in outgoing.rows or ()] == list(range(number))
    for outgoing in finished:
        places = [i for i, row in enumerate(outgoing.rows or ()) if row["n"] in lost]
        outgoing.ticket.lose("sink", "test", "", places)
        outgoing.ticket.confirm()
    start = 0
    for size, account in zip(sizes, accounts, strict=True):
        assert account.confirmed == 1
        assert sorted(account.lost) == [n - start for n in range(start, start + size) if n in lost]
        start += size
