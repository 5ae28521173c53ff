"""The traces of one engine: spans are begun here, kept, and sent to a collector if there is one."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio.to_thread
import msgspec

from engine.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, Tracer

    from engine.tracing.store import SpanStore

SERVICE = "headrace"
"""The name under which spans are exported unless another one is given."""
CAPACITY = 2048
"""Traces that are kept unless another number is given."""
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_FLUSH = 3.0
"""Seconds that a collector has to take the last spans when it is changed or the engine ends."""


_ENDPOINT, _TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
"""Environment variables that OpenTelemetry has defined."""


class Collector(msgspec.Struct, frozen=True):
    """Where spans are sent to by OTLP over HTTP."""

    url: str = "http://127.0.0.1:4318"
    """Of the collector; ``/v1/traces`` is added where it has no path."""
    service: str = SERVICE

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Collector | None:
        """Return the collector that OpenTelemetry's own variables name, None if they don't."""
        url = environment.get(_TRACES_ENDPOINT, "")
        if not url and (base := environment.get(_ENDPOINT, "")):
            url = f"{base.rstrip('/')}/v1/traces"
        return cls(url, environment.get("OTEL_SERVICE_NAME") or SERVICE) if url else None

    @property
    def endpoint(self) -> str:
        """The address that takes traces.

        Raises:
            ConfigError: the URL is none.
        """
        url = self.url if "://" in self.url else f"http://{self.url}"
        try:
            parts = urlsplit(url)
            is_address = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address or parts.scheme not in ("http", "https"):
            raise ConfigError(
                f"{self.url[:100]!r} is not the address of a collector",
                hint="write http://host:4318",
            )
        return url if parts.path.strip("/") else f"{url.rstrip('/')}/v1/traces"


class Tracing:
    """Makes the spans of an engine; nothing is imported before they are needed.

    ``capacity`` is the number of traces that are kept, to be set before the first one. Spans are
    sent to the ``collector`` that the environment names, until another one is chosen.
    """

    def __init__(self) -> None:
        self.capacity = CAPACITY
        self.collector = Collector.of_environment(os.environ)
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        self._store: SpanStore | None = None

    def require(self) -> None:
        """Import what traces need, so that no row has to wait for it.

        Raises:
            ConfigError: it isn't installed.
        """
        _import("engine.tracing.store")
        if self.collector is not None:
            self.collector.endpoint  # noqa: B018 - for its error
            _import(_EXPORTER)

    def begin(
        self,
        name: str,
        parent: Context | None,
        start: int,
        attributes: Mapping[str, str],
        links: Sequence[Link] = (),
    ) -> Span:
        """Begin a span at ``start`` (epoch nanoseconds); without ``parent`` a trace begins."""
        from opentelemetry.context import Context

        tracer = self._tracer or self._make_tracer()
        return tracer.start_span(
            name,
            Context() if parent is None else parent,  # never the one of an embedding application
            attributes=attributes,
            links=links,
            start_time=start,
        )

    def tree(self, trace_id: str) -> dict[str, Any] | None:
        """Return the spans of a trace, see ``SpanStore.tree``; None if it isn't known."""
        return None if self._store is None else self._store.tree(trace_id)

    def traces_of(self, rule_id: str, limit: int = 100) -> list[str]:
        """Return the ids of the last traces that a rule has a part in, the newest first."""
        return [] if self._store is None else self._store.traces_of(rule_id, limit)

    async def export(self, collector: Collector | None) -> None:
        """Send spans to a collector from now on, or with None to none; they are kept all the same.

        A collector that isn't there costs spans, never rows.

        Raises:
            ConfigError: its address is wrong, or OpenTelemetry isn't installed.
        """
        if collector is not None:
            self.require()
            collector.endpoint  # noqa: B018 - for its error
            await anyio.to_thread.run_sync(_import, _EXPORTER)
        self.collector = collector
        await self.close()

    async def close(self) -> None:
        """Send what hasn't been sent, for a short time."""
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is not None:
            # in a thread that may be left behind
            thread = threading.Thread(target=provider.shutdown, name="tracing.end", daemon=True)
            thread.start()
            await anyio.to_thread.run_sync(thread.join, _FLUSH)

    def _make_tracer(self) -> Tracer:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        from engine.tracing.store import SpanStore

        if self._store is None:
            self._store = SpanStore(self.capacity)
        service = SERVICE if self.collector is None else self.collector.service
        made = TracerProvider(
            ALWAYS_ON,  # what is begun has been chosen
            Resource.create({"service.name": service}),
            shutdown_on_exit=False,
        )
        made.add_span_processor(self._store)
        if self.collector is not None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            exporter = OTLPSpanExporter(endpoint=self.collector.endpoint)
            made.add_span_processor(BatchSpanProcessor(exporter))
        self._provider, self._tracer = made, made.get_tracer("engine")
        return self._tracer


def _import(module: str) -> None:
    """Raise ``ConfigError`` if a module isn't installed."""
    try:
        import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"tracing needs OpenTelemetry: {error}", hint="pip install 'headrace[tracing]'"
        ) from None
