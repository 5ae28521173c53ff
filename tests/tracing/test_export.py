"""Spans reach a collector by OTLP over HTTP; one that isn't there costs no row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from engine import ConfigError, Engine
from engine.broker import free_port
from engine.tracing.spans import Collector, Tracing
from tests.conftest import Rows, eventually
from tests.tracing.support import rule

Requests = list[tuple[str, ExportTraceServiceRequest]]


@pytest.fixture
def received() -> Requests:
    return []


@pytest.fixture
def port(received: Requests) -> Iterator[int]:
    """The port of a collector, which keeps what it is sent in ``received``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


async def test_a_collector_gets_the_spans(
    engine: Engine, collected: Rows, received: Requests, port: int
) -> None:
    await engine.tracing.export(Collector(f"127.0.0.1:{port}", "plant-7"))
    await engine.start(rule("SELECT n FROM demo"))
    await eventually(lambda: engine.rules["r"].status.state == "running")
    await engine.push("demo", [{"n": 1}])
    await eventually(lambda: engine.tracing.traces_of("r") and collected)
    await engine.stop("r")
    await engine.tracing.close()
    ((path, request),) = received
    assert path == "/v1/traces"
    (resource,) = request.resource_spans
    service = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert service["service.name"] == "plant-7"
    spans = {span.name: span for scope in resource.scope_spans for span in scope.spans}
    assert set(spans) == {"demo", "2_decoder", "3_project", "collect_0"}
    assert spans["collect_0"].parent_span_id == spans["3_project"].span_id
    assert spans["demo"].trace_id.hex() == engine.tracing.traces_of("r")[0]


async def test_a_collector_that_is_not_there_costs_no_row(engine: Engine, collected: Rows) -> None:
    await engine.tracing.export(Collector(f"http://127.0.0.1:{free_port()}"))
    await engine.start(rule("SELECT n FROM demo"))
    await eventually(lambda: engine.rules["r"].status.state == "running")
    await engine.push("demo", [{"n": n} for n in range(100)])
    await eventually(lambda: len(collected) == 100)
    await engine.tracing.export(None)
    assert len(engine.tracing.traces_of("r")) == 10


@pytest.mark.parametrize("url", ["", "http://", "ftp://host", "http://host:x", "http://[::"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    tracing = Tracing()
    with pytest.raises(ConfigError, match="is not the address of a collector"):
        await tracing.export(Collector(url))
    assert tracing.collector is None


def test_the_environment_may_name_a_collector() -> None:
    of = Collector.of_environment
    assert of({}) is None
    assert of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1/"}) == Collector("http://a:1/v1/traces")
    both = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2/traces",
        "OTEL_SERVICE_NAME": "plant",
    }
    assert of(both) == Collector("http://b:2/traces", "plant")


def test_an_address_may_have_a_path() -> None:
    assert Collector("https://host/otlp/v1/traces").endpoint == "https://host/otlp/v1/traces"
    assert Collector("host:4318").endpoint == "http://host:4318/v1/traces"
    assert Collector("http://host:4318/").endpoint == "http://host:4318/v1/traces"
