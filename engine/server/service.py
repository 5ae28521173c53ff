"""All parts of a server, put together."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from anyio.abc import TaskGroup

from engine.config.zone import named_zone
from engine.engine import Engine
from engine.errors import EngineError
from engine.run.caches import warn_of_strangers
from engine.scripts.functions import Scripts
from engine.server.configs import Configs
from engine.server.connections import Connections
from engine.server.credentials import Credentials
from engine.server.definitions import Change, Definitions, Kind
from engine.server.exports import Exports
from engine.server.exposition import exposition
from engine.server.external import ExternalServices
from engine.server.fetch import Fetcher
from engine.server.imports import Imports
from engine.server.jobs import Jobs
from engine.server.live import Live
from engine.server.metrics_dump import MetricsDump
from engine.server.rules import Rules
from engine.server.schemas import Schemas
from engine.server.scripts import StoredScripts
from engine.server.settings import ServerSettings
from engine.server.snapshot import Part
from engine.server.streams import Streams
from engine.server.trials import Trials
from engine.server.turns import Turns
from engine.server.uploads import Uploads
from engine.tracing.spans import Collector

logger = logging.getLogger(__name__)


class Service:
    """What the HTTP interface works with."""

    def __init__(
        self, engine: Engine, definitions: Definitions, settings: ServerSettings, tasks: TaskGroup
    ) -> None:
        self.engine = engine
        self._definitions = definitions
        self.settings = settings
        self.started = time.time()
        self.is_ready = False
        self.stopping = anyio.Event()
        """Set when the server is to end."""
        turns = Turns()
        uploads = Uploads(engine.data_path / "uploads")
        self.credentials = Credentials(definitions, engine.root / "etc" / "mgmt")
        self.streams = Streams(engine, definitions, turns)
        self.rules = Rules(engine, definitions, turns, tasks)
        self.configs = Configs(engine, definitions, turns)
        self.connections = Connections(engine, settings.check_connections)
        self.metrics_dump = MetricsDump(
            engine.root / "log" / "metrics", settings.metrics_dump, self.metrics, engine.clock
        )
        self.uploads = uploads
        self.trials = Trials(engine, tasks)
        self.live = Live(engine)
        self.jobs = Jobs(tasks)
        self.fetcher = Fetcher(uploads.folder, settings.private_hosts, settings.max_upload)
        self.schemas = Schemas(engine.schemas, turns, self.fetcher)
        self.external = ExternalServices(engine.services, turns, self.fetcher)
        scripts = Scripts()
        engine.functions.provide(scripts, first=True)
        self.scripts = StoredScripts(scripts, definitions, turns)
        parts: dict[str, Part] = {
            "Schema": self.schemas,
            "scripts": self.scripts,
            "Service": self.external,
        }
        self.exports = Exports(engine, definitions, self.rules, uploads, parts)
        self.imports = Imports(
            definitions, engine.catalog, self.streams, self.rules, self.configs, uploads, parts
        )

    async def recover(self) -> None:
        """Bring back everything that was defined before."""
        self.configs.recover()
        self.scripts.recover()
        self.streams.recover()
        await self._recover_collector()
        await self.rules.recover()
        rules = self._definitions.all(Kind.RULE)
        await warn_of_strangers(self.engine.root, {*rules, *self.engine.rules})
        self.is_ready = True

    async def set_collector(self, collector: Collector | None) -> None:
        """Send spans to a collector, now and after each start, or with None to none.

        Raises:
            EngineError: nothing was changed.
        """
        await self.engine.tracing.export(collector)
        text = msgspec.json.encode(collector).decode()
        await self._definitions.apply(Change(Kind.COLLECTOR, "", text))

    async def _recover_collector(self) -> None:
        """Send spans to the collector that clients have chosen, else to that of the settings."""
        tracing, chosen = self.engine.tracing, self._definitions.get(Kind.COLLECTOR, "")
        tracing.capacity = self.settings.open_telemetry.local_trace_capacity
        collector = self.settings.open_telemetry.collector or tracing.collector
        if chosen is not None:
            collector = msgspec.json.decode(chosen, type=Collector | None)
        try:
            await tracing.export(collector)
        except EngineError as error:  # its package is gone; rules matter more
            logger.error("traces aren't sent: %s", error)

    def metrics(self) -> AsyncIterator[bytes]:
        """Give all metrics in Prometheus' text format, piece by piece."""
        return exposition(self.engine, self.started, self.connections.samples())

    def stop(self) -> None:
        """Ask the server to end."""
        self.is_ready = False
        self.live.end()
        self.trials.end()
        self.stopping.set()


@asynccontextmanager
async def service(
    root: Path | str | None, settings: ServerSettings, *, drain: float = 10.0
) -> AsyncIterator[Service]:
    """Run an engine with everything that was defined before; rules drain at the end.

    Raises:
        StoreFailed: the definitions can't be read, or another server has them.
    """
    zone = named_zone(settings.timezone) if settings.timezone else None
    engine = Engine(
        root,
        drain=drain,
        zone=zone,
        private_hosts=settings.private_hosts,
        file_folders=settings.file_folders,
    )
    definitions = Definitions(engine.data_path / "server")
    try:
        async with engine, anyio.create_task_group() as tasks:
            made = Service(engine, definitions, settings, tasks)
            try:
                await made.recover()
                tasks.start_soon(made.connections.run, name="connections")
                tasks.start_soon(made.metrics_dump.run, name="metrics.dump")
                yield made
            finally:
                made.stop()
                tasks.cancel_scope.cancel()
    finally:
        definitions.close()
