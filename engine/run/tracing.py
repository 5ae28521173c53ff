"""Tracing rows through the query of a rule.

A pipeline is given the rows that are traced one by one, and those between them together: how rows
are cut into batches doesn't show in results, so that compiled code need know nothing of traces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.clock import Clock
from engine.config.rule import TraceOptions
from engine.layout import Frame
from engine.run.operators import operators_of
from engine.run.parts import RuleParts
from engine.run.rule import Rule
from engine.sql.pipeline import Pipeline, WrappedPipeline
from engine.sql.query import Result
from engine.tracing.excerpt import excerpt
from engine.tracing.rows import RuleTraces, Step
from engine.tracing.spans import Tracing

if TYPE_CHECKING:
    from engine.tracing.rows import Context, Link

_MOST_LINKS = 32
"""Traces that the trace of a window's result names."""


def set_trace(rule: Rule, options: TraceOptions | None, tracing: Tracing, clock: Clock) -> None:
    """Trace rows of a rule from now on, also in its next runs; None: no more.

    Raises:
        ConfigError: OpenTelemetry isn't installed.
    """
    if options is not None:
        tracing.require()
    rule.trace = options
    if rule.parts is not None:
        trace_parts(rule, rule.parts, tracing, clock)


def trace_parts(rule: Rule, parts: RuleParts, tracing: Tracing, clock: Clock) -> None:
    """Let the parts of a rule be traced as the rule says.

    Raises:
        ConfigError: OpenTelemetry isn't installed.
    """
    if isinstance(parts.pipeline, TracedPipeline):
        parts.pipeline = parts.pipeline.inner
    if rule.trace is not None:
        tracing.require()
        operators = operators_of(parts)
        parts.pipeline = TracedPipeline(
            parts.pipeline,
            {
                source.label: (operator.name, decoder.name)
                for source, (operator, decoder) in zip(parts.inputs, operators.sources, strict=True)
                if not source.is_table
            },
            operators.query.name,
            RuleTraces(rule.id, rule.trace, tracing, clock),
            holds_rows=parts.holds_rows,
        )


class TracedPipeline(WrappedPipeline):
    """The pipeline of a rule of which some rows are traced; see ``engine.sql.pipeline.Pipeline``.

    The steps of a row are its source, its decoder and its query, then the sinks of its first
    result. A row that a window holds has no result yet: what a later row or the time makes of it
    is a trace of its own, with links to those of the rows taken in since the last such result.
    """

    def __init__(
        self,
        inner: Pipeline,
        sources: Mapping[str, tuple[str, str]],
        query: str,
        traces: RuleTraces,
        *,
        holds_rows: bool,
    ) -> None:
        """``sources`` are the names of source and decoder by the label of the stream; rows of
        others, such as tables, aren't traced.

        ``holds_rows``: rows may lead to results later.
        """
        self._holds_rows = holds_rows
        super().__init__(inner)
        self._traces = traces
        self._sources = sources
        self._query = query
        self._held: deque[Link] = deque(maxlen=_MOST_LINKS)

    async def push(self, stream: str, frame: Frame, now: int) -> Result:
        chosen = self._traces.chosen(frame.meta, len(frame)) if stream in self._sources else {}
        if not chosen:
            return self._linked(await self.inner.push(stream, frame, now))
        results: list[Result] = []
        at = 0
        for index, parent in chosen.items():
            if index > at:
                part = await self.inner.push(stream, frame.part(at, index), now)
                results.append(self._linked(part))
            results.append(await self._push_row(stream, frame.part(index, index + 1), now, parent))
            at = index + 1
        if at < len(frame):
            part = await self.inner.push(stream, frame.part(at, len(frame)), now)
            results.append(self._linked(part))
        return _joined(results)

    async def tick(self, now: int) -> Result:
        return self._linked(await self.inner.tick(now))

    async def set_back(self, before: int, now: int) -> Result:
        return self._linked(await self.inner.set_back(before, now))

    async def _push_row(
        self, stream: str, frame: Frame, now: int, parent: Context | None
    ) -> Result:
        """Push the one row of a frame and trace its steps."""
        source_name, decoder_name = self._sources[stream]
        received = frame.received_at * 1_000_000
        source = self._traces.begin(
            source_name, parent, received, metadata=excerpt(frame.meta.row(0))
        )
        source.end(0)
        decoder = source.next(decoder_name, received, data=excerpt(frame.rows[0]))
        decoder.end(frame.decoding)
        step = decoder.next(self._query)
        result = await self.inner.push(stream, frame, now)
        is_held = self._holds_rows and result.absorbed > 0
        _describe(step, result, is_held=is_held)
        if len(result):
            step.connect(self._held)
            self._held.clear()
            result.traces = {0: step}
        if is_held:
            self._held.append(step.link)
        step.end()
        return result

    def _linked(self, result: Result) -> Result:
        """Begin a trace with results if rows that are traced may have gone into them."""
        if self._held and len(result):
            links = list(self._held)
            self._held.clear()
            step = self._traces.begin(self._query, links=links)
            _describe(step, result, is_held=False)
            step.end()
            result.traces = {0: step}
        return result


def _describe(step: Step, result: Result, *, is_held: bool) -> None:
    """Say in the step of a query what came of its row."""
    if result.errors:
        step.fail(result.errors[-1].message)
    if len(result):
        items: Any = result.payloads if result.rows is None else result.rows
        step.note(data=excerpt(items[0]), results=str(len(result)))
    elif result.dropped:
        step.note(outcome=f"dropped: {', '.join(result.dropped)}")
    elif is_held:
        step.note(outcome="held")
    elif not result.errors:
        step.note(outcome="filtered")


def _joined(results: list[Result]) -> Result:
    """Return the results of parts of a batch as those of the batch."""
    if len(results) == 1:
        return results[0]
    first = results[0]
    total = Result(None if first.rows is None else [], [])
    total.payloads = None if first.payloads is None else []
    has_lists = any(result.sizes is not None for result in results)
    total.sizes = [] if has_lists else None
    traces: dict[int, Step] = {}
    for result in results:
        traces |= _moved(result.traces or {}, len(total))
        size = len(result)
        if total.sizes is not None:
            total.sizes += [1] * size if result.sizes is None else result.sizes
        if total.rows is not None:
            total.rows += result.rows or []
        if total.payloads is not None:
            total.payloads += result.payloads or []
        total.count(result)
    total.traces = traces or None
    return total


def _moved(traces: Mapping[int, Step], by: int) -> dict[int, Step]:
    return {place + by: step for place, step in traces.items()}
