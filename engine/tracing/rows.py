"""The rows of one rule that are traced: how they are chosen, and the steps of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from engine.batch import Metadata
from engine.clock import Clock
from engine.config.rule import TraceOptions
from engine.config.secrets import masked_text
from engine.tracing.excerpt import LONGEST
from engine.tracing.sampling import Sampler
from engine.tracing.spans import Tracing

if TYPE_CHECKING:
    from opentelemetry.context import Context as Context
    from opentelemetry.trace import Link as Link
    from opentelemetry.trace import Span

TRACEPARENT = "traceparent"
"""The metadata of a row, and the property of a message, that holds its W3C trace context."""
RULE = "rule"
"""The attribute of a span that names its rule."""
_SAMPLED = frozenset("13579bdf")
"""The last digit of the flags in the trace context of a sampled trace."""


class Step:
    """A span that is not over yet."""

    def __init__(self, traces: RuleTraces, span: Span, began_at: int, started: int) -> None:
        self._traces = traces
        self._span = span
        self._began_at = began_at
        self._started = started

    @property
    def link(self) -> Link:
        """What names this step in another trace."""
        from opentelemetry.trace import Link

        return Link(self._span.get_span_context())

    @property
    def traceparent(self) -> str:
        """The trace context of what comes after this step, "" if nothing is recorded."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, self._context())
        return carrier.get(TRACEPARENT, "")

    def next(self, name: str, at: int | None = None, **attributes: str) -> Step:
        """Begin the step after this one, see ``RuleTraces.begin``."""
        return self._traces.begin(name, self._context(), at, (), **attributes)

    def note(self, **attributes: str) -> None:
        """Say more of this step."""
        self._span.set_attributes(attributes)

    def happened(self, event: str) -> None:
        """Note something that happened now."""
        self._span.add_event(event, timestamp=self._now())

    def connect(self, links: Sequence[Link]) -> None:
        """Name the steps of other traces that had a part in this one."""
        for link in links:
            self._span.add_link(link.context)

    def fail(self, message: str) -> None:
        """Note what went wrong; passwords in URLs are left out."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, masked_text(message)[:LONGEST]))

    def end(self, after: int | None = None) -> None:
        """End it, ``after`` some nanoseconds or now."""
        self._span.end(self._now() if after is None else self._began_at + after)

    def _now(self) -> int:
        """Return the time: that of the engine, more finely than its clock has it."""
        elapsed = perf_counter_ns() - self._started
        return max(self._began_at + elapsed, self._traces.now())

    def _context(self) -> Context:
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        return set_span_in_context(self._span, Context())


class RuleTraces:
    """Chooses rows of one rule and begins their steps."""

    def __init__(self, rule_id: str, options: TraceOptions, tracing: Tracing, clock: Clock) -> None:
        self._rule_id = rule_id
        self._takes_any = options.strategy == "always"
        self._tracing = tracing
        self._clock = clock
        self._sampler = Sampler(options.rate, clock)

    def chosen(self, meta: Metadata, rows: int) -> dict[int, Context | None]:
        """Return which rows of a batch are traced, with the trace that each has come with.

        Those that have come with one go first.
        """
        allowed = min(self._sampler.allowed(), rows)
        if not allowed:
            return {}
        found: dict[int, Context | None] = dict(_arrived(meta, allowed))
        if self._takes_any:
            for index in range(rows):
                if len(found) == allowed:
                    break
                found.setdefault(index, None)
        self._sampler.took(len(found))
        return dict(sorted(found.items()))

    def begin(
        self,
        name: str,
        parent: Context | None = None,
        at: int | None = None,
        links: Sequence[Link] = (),
        **attributes: str,
    ) -> Step:
        """Begin a step ``at`` a time (epoch nanoseconds) or now; without ``parent``, a trace."""
        start = self.now() if at is None else at
        attributes[RULE] = self._rule_id
        span = self._tracing.begin(name, parent, start, attributes, links)
        return Step(self, span, start, perf_counter_ns())

    def now(self) -> int:
        """Return the time in epoch nanoseconds."""
        return self._clock.now() * 1_000_000


def _arrived(meta: Metadata, most: int) -> Mapping[int, Context]:
    """Return the sampled traces that the first rows with such have come with."""
    column: Sequence[Any] = meta.column(TRACEPARENT)
    if not any(column):
        return {}
    found: dict[int, Context] = {}
    for index, value in enumerate(column):
        if len(found) == most:
            break
        is_sampled = isinstance(value, str) and value[54:55] in _SAMPLED
        context = _trace_of(value) if is_sampled else None
        if context is not None:
            found[index] = context
    return found


def _trace_of(traceparent: str) -> Context | None:
    """Return the trace that a trace context names, None if it is malformed."""
    from opentelemetry.context import Context
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found = TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent}, Context())
    return found if get_current_span(found).get_span_context().is_valid else None
