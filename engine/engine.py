"""The engine: streams, rules and plugins of one process, embedded or behind the command line."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, overload

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from engine.api import Sink
from engine.batch import Batch, Row, SameMetadata
from engine.catalog import Catalog, Stream, from_statement
from engine.clock import Clock, SystemClock
from engine.config.load import load
from engine.config.positions import NOWHERE
from engine.config.rule import RuleDef, RuleOptions, RuleSet, TraceOptions
from engine.config.rules import rule_from
from engine.config.streams import streams_from
from engine.errors import ConfigError, EngineError
from engine.folders import FileFolders
from engine.memory import BUS, MemoryBus, memory_bus
from engine.offspring import watched_tasks
from engine.plugin.files import has_staging
from engine.registry import PluginRegistry
from engine.reload import Changes, Reloader
from engine.run.book import RuleBook
from engine.run.build import Builder
from engine.run.chains import Chains
from engine.run.functions import EngineFunctions
from engine.run.life import Home
from engine.run.logs import RuleLogs
from engine.run.operators import Topology, operators_of
from engine.run.properties import Properties
from engine.run.report import RuleReport, report_of
from engine.run.resources import ResourcePool
from engine.run.row_stream import RowStream
from engine.run.rule import ResultLimit, Rule
from engine.run.schedule import local_zone
from engine.run.shared import SharedSources
from engine.run.tracing import set_trace
from engine.run.trial import Trial
from engine.schemas.files import SchemaFiles
from engine.schemas.registry import SchemaRegistry
from engine.services.functions import Services
from engine.sql.ast import CreateStream, Select
from engine.state.home import CheckpointHome
from engine.state.store import CheckpointStore
from engine.state.stored import DATA
from engine.tracing.spans import Tracing

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
RuleLike = RuleDef | Mapping[str, Any] | str | Path
"""A rule: a definition, its mapping as in a file, or the path of a rule file."""


class Engine:
    """Runs rules inside the current event loop.

    Use it as ``async with Engine(root=…) as engine:``; leaving the block stops all rules after they
    have drained, and leaves no task behind. No signal handler is installed.

    Args:
        root: the folder with ``plugins/`` and ``etc/``; by default ``$HEADRACE_ROOT`` or the
            working directory.
        clock: where time comes from.
        drain: seconds that a stopping rule has to deliver what it holds.
        zone: the time zone of schedules; by default that of the machine.
        private_hosts: see ``engine.api.Context.private_hosts``.
        file_folders: the folders, from the root on, in which rules may read and write files, less
            what the engine keeps there for itself; None: they may anywhere.

    ``rules`` are all that were defined and not deleted, by id, running or not; ``tracing`` has the
    traces of their rows.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        clock: Clock | None = None,
        drain: float = 10.0,
        zone: tzinfo | None = None,
        private_hosts: Sequence[str] | None = None,
        file_folders: Sequence[str] | None = None,
    ) -> None:
        self.root = Path(root or os.environ.get("HEADRACE_ROOT") or ".").resolve()
        self.clock: Clock = clock or SystemClock()
        self.drain = drain
        self.zone = zone or local_zone()
        self.private_hosts = private_hosts
        self.file_folders = file_folders
        self.catalog = Catalog()
        self.plugins = PluginRegistry(self.root)
        self.functions = EngineFunctions(self.plugins)
        self.services = Services(self.root)
        self.functions.provide(self.services)
        self.schemas = SchemaRegistry(SchemaFiles(self.root))
        self.rules = RuleBook(self._home)
        self.tracing = Tracing()
        self._properties = Properties(self.root)
        self._chains = Chains()
        self._queries = itertools.count(1)
        self._host: asyncio.Task[None] | None = None
        self._ready = anyio.Event()
        self._leaving = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._builder: Builder | None = None
        self._bus: MemoryBus | None = None
        self._logs = RuleLogs(self.root / "log")
        self._reloader: Reloader | None = None
        self._checkpoints = CheckpointHome(self.data_path)

    # -- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Engine:
        if self._host is not None:
            raise EngineError("an engine is entered once only", hint="make another one")
        if has_staging(self.root):
            from engine.packages import Packages  # few engines have to

            await asyncio.to_thread(Packages(self.root).settle)
        self._host = asyncio.create_task(self._run(), name="engine")
        try:
            await self._ready.wait()
        except BaseException:
            with anyio.CancelScope(shield=True):
                self._leaving.set()
                await self._host
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._host is not None
        with anyio.CancelScope(shield=True):
            await self.stop_all(drain=self.drain if error is None else 0)
            self._leaving.set()
            await self._host

    async def _run(self) -> None:
        """Own all tasks of the engine, so that it may be entered and left by different tasks."""
        with watched_tasks():
            await self._run_watched()

    async def _run_watched(self) -> None:
        folders = self.file_folders
        async with anyio.create_task_group() as self._tasks:
            resources = ResourcePool(self._tasks)
            self._builder = Builder(
                root=self.root,
                clock=self.clock,
                catalog=self.catalog,
                plugins=self.plugins,
                functions=self.functions,
                schemas=self.schemas,
                properties=self._properties,
                resources=resources,
                shared=SharedSources(self._tasks),
                checkpoints=self.checkpoints,
                private_hosts=self.private_hosts,
                file_folders=None if folders is None else FileFolders(self.root, folders),
                tracing=self.tracing,
            )
            self._reloader = Reloader(
                self.rules,
                self.catalog,
                self._properties,
                self.plugins,
                self._builder.tables,
                self._trial,
                self._chains,
                self._tasks,
            )
            async with resources.use(BUS, memory_bus) as self._bus:
                self._bus.ways = self._chains
                self._ready.set()
                try:
                    await self._leaving.wait()
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._builder.tables.close_all()
            self._tasks.cancel_scope.cancel()
        self._tasks = self._builder = self._bus = None
        self.services.close()
        await self.tracing.close()
        self._checkpoints.close()

    async def stop_all(self, *, drain: float | None = None) -> None:
        """Stop every rule, those that feed others first; ``drain`` overrides the engine's.

        An application of files that is under way starts nothing any more.
        """
        if self._reloader is not None:
            self._reloader.give_up()
        await self.rules.stop_all(self.drain if drain is None else drain)

    async def quiet(self) -> None:
        """Return when no rule runs, or waits for its schedule, or is being changed."""
        await self.rules.quiet()

    # -- definitions ---------------------------------------------------------------------------

    def define(self, statement: str, *, replace: bool = False) -> Stream:
        """Define a stream or table by its CREATE statement.

        Raises:
            SqlError, ConfigError: the statement is wrong, or the name is taken.
        """
        from engine.sql.parse import parse_create

        stream = from_statement(parse_create(statement))
        return self.catalog.add(stream, replace=replace)

    def execute(self, statement: str) -> str | list[str] | Stream:
        """Run a statement about streams or tables.

        CREATE returns the stream, SHOW the names, DESCRIBE a text, DROP and EXPLAIN a sentence.

        Raises:
            SqlError, ConfigError: the statement is wrong, or what it names isn't there.
        """
        from engine.explain import describe_stream
        from engine.sql.parse import parse

        parsed = parse(statement)
        if isinstance(parsed, CreateStream):
            return self.catalog.add(from_statement(parsed))
        if isinstance(parsed, Select):
            raise ConfigError("a SELECT runs as a rule", hint="use query() or start()")
        kind = parsed.kind.lower()
        if parsed.verb == "SHOW":
            return sorted(stream.name for stream in self.catalog if stream.kind == kind)
        if parsed.name not in self.catalog or self.catalog[parsed.name].kind != kind:
            raise ConfigError(f"there is no {kind} {parsed.name}", at=parsed.at)
        if parsed.verb == "DROP":
            self.drop_stream(parsed.name)
            return f"{kind} {parsed.name} is dropped"
        return describe_stream(self.catalog[parsed.name])

    def drop_stream(self, name: str) -> None:
        """Forget a stream or table.

        Raises:
            ConfigError: a rule that isn't stopped reads it.
        """
        readers = [
            rule.id
            for rule in self.rules.values()
            if rule.parts is not None
            and name in rule.parts.streams
            and not rule.status.state.is_final
        ]
        if readers:
            raise ConfigError(f"{name} is read by {', '.join(readers)}", hint="stop that first")
        self.catalog.drop(name)

    def explain(self, sql: str, *, code: bool = False) -> str:
        """Return the plan of a query as text, with ``code`` the Python text it is compiled to.

        Raises:
            SqlError: the query is wrong.
        """
        from engine.explain import explain_code, explain_plan, plan_of

        plan = plan_of(sql, self.catalog, self.functions)
        return explain_code(plan, self.functions) if code else explain_plan(plan)

    def define_stream(self, name: str, *, replace: bool = False, **properties: Any) -> Stream:
        """Define a stream by its properties, named as in a rule file.

        ``engine.define_stream("demo", type="memory", datasource="demo")``

        Raises:
            ConfigError: a property is wrong, or the name is taken.
        """
        (definition,) = streams_from({name: properties}, "stream", NOWHERE)
        return self.catalog.define(definition, replace=replace)

    def load(self, *paths: Path | str) -> RuleSet:
        """Read rule files or folders and define their streams; rules are only returned.

        Raises:
            EngineError: something in them is wrong.
        """
        found = load(list(paths))
        self._properties.add(found)
        for definition in (*found.streams.values(), *found.tables.values()):
            self.catalog.define(definition)
        return found

    @overload
    def function(self, function: F) -> F: ...

    @overload
    def function(self, *, name: str) -> Callable[[F], F]: ...

    def function(self, function: F | None = None, *, name: str = "") -> Any:
        """Decorate a Python function to use it in SQL under its own name or ``name``.

        Raises:
            ConfigError: a built-in function has that name, or it is no function with a name.
        """

        def register(decorated: F) -> F:
            self.functions.register(decorated, name or getattr(decorated, "__name__", ""))
            return decorated

        return register if function is None else register(function)

    # -- rules ---------------------------------------------------------------------------------

    async def create(self, rule: RuleLike) -> Rule:
        """Define a rule; it starts unless it says ``triggered: false``.

        Raises:
            EngineError: the rule is wrong or its id is taken; nothing was defined.
        """
        definition = self._definition(rule)
        await self._open_tables()
        return self.rules.create(definition)

    async def start(self, rule: RuleLike, *, extra_sinks: tuple[Sink[Any], ...] = ()) -> Rule:
        """Start a rule and return its handle; connections are made in the background.

        A text that is the id of a known rule starts that one, if it isn't running. Any other is a
        path, which may define streams beside its one rule. A rule with a schedule waits for it.

        Raises:
            EngineError: the rule is wrong or one of its id is running; nothing was started.
        """
        await self._open_tables()
        if isinstance(rule, str) and rule in self.rules:
            await self.rules.life(rule).start()
            return self.rules[rule]
        return self.rules.start_all([self._definition(rule)], extra_sinks=extra_sinks)[0]

    async def start_all(
        self, rules: Iterable[RuleDef], *, limit: ResultLimit | None = None
    ) -> list[Rule]:
        """Start several rules, or none of them if one is wrong.

        Raises:
            EngineError: a rule is wrong or its id is taken.
        """
        await self._open_tables()
        return self.rules.start_all(rules, limit)

    async def stop(self, rule_id: str, *, drain: float | None = None) -> None:
        """Stop a rule after it has drained; its counts and status stay readable.

        Its schedule doesn't start it again, only ``start`` does. ``drain`` are the seconds that it
        has, by default the engine's; a stop on its way is sped up by a shorter time.

        Raises:
            ConfigError: there is no such rule.
        """
        await self.rules.life(rule_id).stop(drain)

    async def restart(self, rule_id: str) -> None:
        """Stop a rule after it has drained and start it again.

        Raises:
            EngineError: there is no such rule, or it can't be built any more and stays stopped.
        """
        life = self.rules.life(rule_id)
        await self._open_tables()
        await life.restart()

    async def update(
        self,
        rule: RuleLike,
        *,
        versions: bool = True,
        tried: Callable[[], Awaitable[None]] | None = None,
    ) -> Rule:
        """Replace the definition of a rule in place; one that runs goes on with the new one.

        The new one is tried first: planned, its plugins made, its properties checked. Only then
        does the old one drain, take its last checkpoint and stop. If the new one can't start then,
        the old one goes on from there. A rule that was stopped stays so.

        Args:
            rule: the new definition.
            versions: the new definition must have a greater version than the old one, as texts,
                if any of them has one.
            tried: awaited when nothing speaks against the new definition, before anything happens
                to the rule; what it raises leaves the rule alone.

        Raises:
            EngineError: why the old definition is still in force.
        """
        definition = self._definition(rule)
        await self._open_tables()
        return await self.rules.update(definition, versions=versions, tried=tried)

    def check(self, rule: RuleLike) -> RuleDef:
        """Try a rule and return its definition: everything is made, nothing is opened or run.

        Raises:
            EngineError: the rule is wrong.
        """
        definition = self._definition(rule)
        self._trial().build(definition)
        return definition

    async def delete(self, rule_id: str) -> None:
        """Stop a rule and forget it, with its state.

        Raises:
            ConfigError: there is no such rule.
        """
        await self.rules.delete(rule_id)

    async def apply(
        self,
        rules: RuleSet | Path | str | Sequence[Path | str],
        *,
        limit: ResultLimit | None = None,
        forget: bool = False,
    ) -> Changes:
        """Make what runs be what some files say now: all of it, or nothing is changed.

        Rules that are as before go on undisturbed, with their state. Changed ones, and those that
        read a changed stream, drain, take their last checkpoint and go on with the new definition.
        New ones start. Those that are gone stop; with ``forget`` they are deleted with their state.
        Rules and streams that came from elsewhere are left alone, unless they read what changed.

        Args:
            rules: files, folders, or what was read from them; always all of them.
            limit: for the results of all rules that are new.
            forget: delete the rules that are gone.

        Raises:
            EngineError: why nothing has changed.
        """
        self._running()
        assert self._reloader is not None
        found = rules if isinstance(rules, RuleSet) else load(rules)
        return await self._reloader.apply(found, limit=limit, forget=forget)

    def status(self, rule_id: str) -> RuleReport:
        """Return all about a rule: its state and why, its account, the counts of its operators.

        Raises:
            ConfigError: there is no such rule.
        """
        return report_of(self.rules.life(rule_id))

    def topology(self, rule_id: str) -> Topology:
        """Return the operators of a rule and who feeds whom.

        Raises:
            EngineError: there is no such rule, or it never ran and can't be built.
        """
        rule = self.rules.life(rule_id).rule
        parts = rule.parts or self._trial().build(rule.definition)
        return operators_of(parts).topology()

    def trace(self, rule_id: str, options: TraceOptions | None) -> None:
        """Trace rows of a rule from now on, whatever its definition says; None: no more of them.

        Raises:
            ConfigError: there is no such rule, or OpenTelemetry isn't installed.
        """
        set_trace(self.rules.life(rule_id).rule, options, self.tracing, self.clock)

    async def _open_tables(self) -> None:
        """Open the lookup tables that were defined since; some gather rows from now on."""
        tables = [stream for stream in self.catalog if stream.is_lookup]
        await self._running()[1].tables.open(tables)

    def _trial(self, catalog: Catalog | None = None, properties: Properties | None = None) -> Trial:
        """Return what tries definitions, with what the engine knows or something else."""
        builder = self._running()[1]
        known = self.catalog if catalog is None else catalog
        return Trial(builder, self.clock, known, properties or self._properties)

    def _home(self) -> Home:
        tasks, builder = self._running()
        assert self._bus is not None
        return Home(
            clock=self.clock,
            zone=self.zone,
            tasks=tasks,
            builder=builder,
            logs=self._logs,
            drain=self.drain,
            checkpoints=self._checkpoints.path,
            chains=self._chains,
            held=self._bus.held,
            trial=lambda definition: self._trial().build(definition),
        )

    async def query(
        self, sql: str, *, options: RuleOptions | None = None, buffer: int = 1024
    ) -> AsyncIterator[Row]:
        """Run a query and yield its rows until its source ends; leaving the loop stops it.

        ``buffer`` is how many rows may wait for the consumer before the source is held back.

        Raises:
            EngineError: the query is wrong, or fails for good.
        """
        send: MemoryObjectSendStream[Row]
        receive: MemoryObjectReceiveStream[Row]
        send, receive = anyio.create_memory_object_stream(buffer)
        definition = RuleDef(
            id=f"query_{next(self._queries)}",
            sql=sql,
            actions=(),
            options=options or RuleOptions(),
            temp=True,
        )
        async with send, receive:
            rule = await self.start(definition, extra_sinks=(RowStream(send),))
            try:
                async for row in receive:
                    yield row
                await rule.finished.wait()
                if rule.status.state.is_failure:
                    raise EngineError(rule.status.message)
            finally:
                with anyio.CancelScope(shield=True):
                    await self.stop(rule.id, drain=0)
                    await self.delete(rule.id)

    async def push(self, stream: str, rows: Iterable[Row], **meta: Any) -> int:
        """Put rows into a memory stream, waiting while its rules are full.

        Returns how many rules took them; ``meta`` is what ``meta()`` reads beside ``topic``.

        Raises:
            ConfigError: there is no memory stream of that name.
        """
        if stream not in self.catalog or self.catalog[stream].source_type != "memory":
            raise ConfigError(
                f"{stream} is no memory stream",
                hint=f'define_stream("{stream}", type="memory", datasource="{stream}")',
            )
        topic = self.catalog[stream].options.datasource
        values = list(rows)
        self._running()
        assert self._bus is not None
        batch = Batch(values, meta=SameMetadata(len(values), {"topic": topic, **meta}))
        return await self._bus.publish(topic, batch)

    def checkpoints(self) -> CheckpointStore:
        """Return the file with the checkpoints of all rules, opened when first needed.

        Raises:
            StoreFailed: it can't be opened.
        """
        return self._checkpoints.store()

    @property
    def properties(self) -> Properties:
        """The connections and sections that streams and actions may name."""
        return self._properties

    @property
    def data_path(self) -> Path:
        """The folder with what must outlive the process."""
        return self.root / DATA

    # -- inside --------------------------------------------------------------------------------

    def _definition(self, rule: RuleLike) -> RuleDef:
        if isinstance(rule, RuleDef):
            return rule
        if isinstance(rule, Mapping):
            return rule_from(dict(rule))
        rules = list(self.load(rule).rules.values())
        if len(rules) != 1:
            raise ConfigError(f"{rule}: expected one rule, found {len(rules)}")
        return rules[0]

    def _running(self) -> tuple[TaskGroup, Builder]:
        if self._tasks is None or self._builder is None:
            raise EngineError("the engine isn't running", hint="use it as 'async with Engine()'")
        return self._tasks, self._builder
