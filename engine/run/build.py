"""Building the parts of a rule: plan its query, make its plugin instances, connect them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from engine.api import CURRENT_USE, Config, Context, Function, LookupSource, Sink, Use
from engine.blame import told
from engine.catalog import Catalog, Stream
from engine.clock import Clock
from engine.config.rule import ActionDef, RuleDef, RuleOptions
from engine.errors import ConfigError, EngineError, PluginError, Position, SqlError
from engine.folders import FileFolders
from engine.layout import Layout
from engine.lookup.link import LookupLink
from engine.lookup.options import LookupOptions
from engine.plugin.contract import Capability
from engine.registry import Plugin, PluginKind, PluginRegistry
from engine.run.caches import Cache, cache_folder, find_folders, remove_caches
from engine.run.checkpoints import Checkpoints, KnownMessages, restore
from engine.run.context import PluginContext
from engine.run.dead_letters import NAME as DEAD_LETTER
from engine.run.dead_letters import DeadLetters, LostLetters, dead_letter_action
from engine.run.destinations import destination_of
from engine.run.functions import EngineFunctions
from engine.run.metrics import RuleMetrics
from engine.run.outlet import Letters
from engine.run.parts import RuleInput, RuleParts
from engine.run.properties import Properties, SinkOptions
from engine.run.relief import Relief
from engine.run.reports import Report
from engine.run.resources import ResourcePool
from engine.run.rule import Rule
from engine.run.schedule import zone_of
from engine.run.sink import SinkRunner
from engine.run.source import SourceRunner, StreamReader, decoder_for
from engine.run.tables import JoinedTable, LookupTables, runner_of
from engine.run.threaded import ThreadedPipeline, interruptible
from engine.run.tokens import Start
from engine.run.tracing import trace_parts
from engine.schemas.registry import SchemaRegistry
from engine.sql.assemble import PipelineOptions, assemble
from engine.sql.code import CallSite
from engine.sql.compile import QueryOptions, calls_of, has_state
from engine.sql.emissions import WindowOptions
from engine.sql.event_time import EventTimeOptions
from engine.sql.fingerprint import fingerprint
from engine.sql.functions import FunctionSpec
from engine.sql.pipeline import Pipeline
from engine.sql.plan import Plan, Scan, Window
from engine.state.scope import RuleState
from engine.state.store import CheckpointStore
from engine.tracing.spans import Tracing

logger = logging.getLogger(__name__)


class SharedStreams(Protocol):
    """Hands out the running source of a shared stream."""

    def shared_source(
        self, stream: Stream, config: Config, make: Callable[[Report], SourceRunner]
    ) -> StreamReader:
        """Return the source of ``stream``, made by ``make`` if none runs with its ``config``."""


class Builder:
    """Builds rules from definitions and everything that an engine knows."""

    def __init__(
        self,
        *,
        root: Path,
        clock: Clock,
        catalog: Catalog,
        plugins: PluginRegistry,
        functions: EngineFunctions,
        schemas: SchemaRegistry,
        properties: Properties,
        resources: ResourcePool,
        shared: SharedStreams,
        checkpoints: Callable[[], CheckpointStore],
        tracing: Tracing,
        private_hosts: Sequence[str] | None = None,
        file_folders: FileFolders | None = None,
    ) -> None:
        """``checkpoints`` opens the file of checkpoints, when a rule first needs it."""
        self._checkpoints = checkpoints
        self._tracing = tracing
        self.tables = LookupTables(self._lookup_link, clock)
        self._root = root
        self._clock = clock
        self._catalog = catalog
        self._plugins = plugins
        self._functions = functions
        self._schemas = schemas
        self._properties = properties
        self._resources = resources
        self._shared = shared
        self._private_hosts = private_hosts
        self._file_folders = file_folders
        self._states: dict[str, RuleState] = {}

    def beside(
        self,
        *,
        catalog: Catalog,
        properties: Properties,
        shared: SharedStreams,
        checkpoints: Callable[[], CheckpointStore],
    ) -> Builder:
        """Return a builder for the same engine that has no part in what this one has built."""
        return Builder(
            root=self._root,
            clock=self._clock,
            catalog=catalog,
            plugins=self._plugins,
            functions=self._functions,
            schemas=self._schemas,
            properties=properties,
            resources=self._resources,
            shared=shared,
            checkpoints=checkpoints,
            tracing=Tracing(),
            private_hosts=self._private_hosts,
            file_folders=self._file_folders,
        )

    def forget_state(self, rule_id: str, *, is_durable: bool) -> None:
        """Drop what a rule remembers, ``is_durable`` also in its checkpoints."""
        self._states.pop(rule_id, None)
        if is_durable:
            self._checkpoints().delete(rule_id)

    def forget_caches(self, rule_id: str) -> None:
        """Drop what the sinks of a deleted rule keep for a later delivery."""
        remove_caches(self._root, rule_id)

    def take_state(self, rule_id: str) -> RuleState | None:
        """Take away what the functions of a stopped rule remember, None if nothing is there."""
        return self._states.pop(rule_id, None)

    def give_state(self, rule_id: str, state: RuleState) -> None:
        """Give back what ``take_state`` took."""
        self._states[rule_id] = state

    # -- planning ------------------------------------------------------------------------------

    def plan(self, definition: RuleDef) -> Plan:
        """Return the plan of a rule's query.

        Raises:
            SqlError: the query is wrong; the position is that in the rule's file.
        """
        # sqlglot takes a while to import and isn't needed by rules that are only listed
        from engine.sql.analyse import analyse
        from engine.sql.parse import parse_select
        from engine.sql.source import SourceText

        start = definition.sql_place(1, 1) or Position(1, 1)
        try:
            text = SourceText(definition.sql)
            return analyse(
                parse_select(definition.sql),
                text,
                self._catalog.schemas(),
                self._functions,
                self._catalog.tables(),
                self._timestamps(definition),
            )
        except SqlError as error:
            if error.at is not None:
                place = definition.sql_place(error.at.line, error.at.column)
                error.moved_to(place or Position(error.at.line, error.at.column, start.file))
            raise

    # -- building ------------------------------------------------------------------------------

    def build(self, rule: Rule, extra_sinks: tuple[Sink[Any], ...] = ()) -> RuleParts:
        """Return the parts for one run of a rule.

        Raises:
            EngineError: something about the rule is wrong; nothing was opened.
        """
        definition = rule.definition
        plan = self.plan(definition)
        inputs = [self._input(rule, scan) for scan in plan.scans if scan.role != "lookup"]
        letters = self._letters(rule, writers=len(definition.actions) + 1)
        sinks = [self._sink(rule, action, letters) for action in definition.actions]
        sinks += [self._extra_sink(rule, sink, index) for index, sink in enumerate(extra_sinks)]
        tables = self.tables.of(plan, self._catalog.__getitem__)
        pipeline = self._pipeline(rule, plan, inputs, sinks, tables)
        parts = RuleParts(pipeline, inputs, sinks, Start.of_run(rule.id), letters)
        parts.tables = list(tables.values())
        parts.holds_rows = plan.find(Window) is not None or definition.options.is_event_time
        caches = [sink.cache for sink in parts.all_sinks if sink.cache is not None]
        find_folders(self._root, rule.id, caches)
        parts.streams = frozenset(scan.stream for scan in plan.scans)
        gathering = [sink for sink in sinks if sink.options.is_batched]
        if gathering:
            parts.relief = Relief([each.reader for each in inputs], gathering, self._clock)
        if definition.options.qos and not definition.temp:
            self._resume(rule, plan, parts)
        trace_parts(rule, parts, self._tracing, self._clock)
        return parts

    def _resume(self, rule: Rule, plan: Plan, parts: RuleParts) -> None:
        """Let a rule go on from its last checkpoint, and take further ones."""
        options = rule.definition.options
        store = self._checkpoints()
        state = self._states.setdefault(rule.id, RuleState())
        query = fingerprint(plan, self._functions)
        if options.timezone:
            query = f"{query} {options.timezone}"  # its windows have other ends
        streams = {scan.label: scan.stream for scan in plan.scans if scan.role != "lookup"}
        restored = restore(rule.id, store, state, query, streams)
        if restored.message:
            logger.warning("rule=%s %s", rule.id, restored.message)
            rule.metrics.failed(restored.message, self._clock.now())
        if restored.pipeline is not None:
            parts.pipeline.restore(restored.pipeline)
            parts.saved_at = restored.at
        for source in parts.inputs:
            # without the rows that the state had of a table its source must give them again
            is_forgotten = source.is_table and restored.pipeline is None
            if source.label in restored.positions and not is_forgotten:
                parts.positions[source.label] = restored.positions[source.label]
                source.reader.begin_at(restored.positions[source.label])
            if why := getattr(source.reader.config, "forgets", ""):
                logger.warning(
                    "rule=%s has qos %d, but a crash costs messages of the stream %s: %s",
                    rule.id,
                    options.qos,
                    source.reader.stream.name,
                    why,
                )
            if options.qos > 1:
                source.reader.recognise(restored.known.get(source.label, ()))
        if any(source.reader.is_shared and not source.is_table for source in parts.inputs):
            logger.warning(
                "rule=%s reads a shared stream, which goes on where it is: messages that come "
                "again after a restart count again (leave out shared, or set qos: 0)",
                rule.id,
            )
        parts.plugins = state
        parts.start = restored.start
        if not all(source.reader.is_rewindable for source in parts.inputs):
            parts.start = Start.of_run(rule.id, restored.start.checkpoint)
        parts.covers = (
            options.qos > 1
            or not self._forgets_rows(plan)
            or any(source.reader.hears_offsets for source in parts.inputs)
        )
        parts.checkpoints = Checkpoints(
            rule.id,
            store,
            state,
            int(options.checkpoint_interval * 1000),
            self._clock,
            query,
            streams,
            rule.checkpoint_failed,
            parts.start,
            window=min((w for s in parts.inputs if (w := s.reader.window)), default=None),
            known=KnownMessages(
                restored.known, {source.label: source.reader.repeats for source in parts.inputs}
            )
            if options.qos > 1
            else None,
        )

    def _forgets_rows(self, plan: Plan) -> bool:
        """Tell whether nothing of a row is kept once its results are made."""
        return plan.is_rowwise and not has_state(plan, self._functions)

    def _timestamps(self, definition: RuleDef) -> dict[str, str]:
        """Return the columns that rows have their time in, for a rule in event time.

        Raises:
            ConfigError: no stream has one.
        """
        if not definition.options.is_event_time:
            return {}
        found = {s.name: s.options.timestamp for s in self._catalog if s.options.timestamp}
        if not found:
            at = definition.where.below("options").of("isEventTime")
            hint = 'name the column that has it in the stream: WITH (TIMESTAMP="ts")'
            raise ConfigError(
                f"rule {definition.id}: isEventTime needs a stream with a timestamp",
                at=at,
                hint=hint,
            )
        return found

    def _check_timestamps(self, definition: RuleDef, plan: Plan) -> None:
        for scan in plan.scans:
            if scan.role == "stream" and not scan.timestamp:
                at = definition.where.below("options").of("isEventTime")
                hint = f'name the column that has it: WITH (TIMESTAMP="ts") of {scan.stream}'
                message = f"rule {definition.id}: isEventTime, but {scan.stream} has no timestamp"
                raise ConfigError(message, at=at, hint=hint)

    def _input(self, rule: Rule, scan: Scan) -> RuleInput:
        reader = self._reader(rule, self._catalog[scan.stream])
        return RuleInput(scan.label, reader, is_table=scan.role != "stream")

    def _pipeline(
        self,
        rule: Rule,
        plan: Plan,
        inputs: list[RuleInput],
        sinks: list[SinkRunner],
        tables: Mapping[str, JoinedTable],
    ) -> Pipeline:
        definition = rule.definition
        options = definition.options
        if options.is_event_time:
            self._check_timestamps(definition, plan)
        if options.send_meta_to_sink and (len(plan.scans) > 1 or plan.find(Window) is not None):
            raise ConfigError(
                f"rule {definition.id}: sendMetaToSink is for queries of single rows",
                at=definition.where.below("options").of("sendMetaToSink"),
                hint="select what you need: meta(topic) AS topic",
            )
        stream = self._catalog[plan.scan.stream]
        forwards = (
            plan.is_rowwise
            and plan.root.is_identity
            and not (options.send_meta_to_sink or options.send_error or options.is_event_time)
            and not options.dead_letter
            and stream.options.format.lower() == "json"
            and (plan.condition is not None or any(sink.forwards_payloads for sink in sinks))
        )
        layouts = {source.label: source.reader.layout for source in inputs}
        for scan in plan.scans:
            if scan.label in layouts:
                # dead letters are to have all of a row, whatever the query reads
                whole = (scan.whole or bool(options.dead_letter)) and not forwards
                layouts[scan.label].require(scan.columns, whole=whole, payloads=forwards)
        made = PipelineOptions(
            QueryOptions(
                send_nil_field=options.send_nil_field,
                send_error=options.send_error,
                send_meta_to_sink=options.send_meta_to_sink,
                plain_numbers=any(sink.writes_json for sink in sinks),
            ),
            WindowOptions(
                self._clock.now(),
                zone_of(definition) or UTC,
                max_partitions=options.max_partitions,
            ),
            _event_time_options(options),
            {
                scan.label: self._catalog[scan.stream].options.timestamp_format
                for scan in plan.scans
            },
            retained={
                scan.label: self._catalog[scan.stream].retain_size
                for scan in plan.scans
                if scan.role == "scan"
            },
            lookups={label: joined.table for label, joined in tables.items()},
            forwards_payloads=forwards,
        )
        if not any(spec is not None and spec.is_blocking for spec in self._called(plan)):
            return assemble(plan, layouts, self._functions, made, partial(self._bind, rule))
        if made.lookups:
            raise ConfigError(
                f"rule {definition.id}: a query with lookup tables can't call functions that wait",
                hint="let a rule look up, and another one call, with a memory topic in between",
            )
        stopped = threading.Event()
        bind = partial(self._bind, rule, stopped=stopped)
        return ThreadedPipeline(assemble(plan, layouts, self._functions, made, bind), stopped)

    def _called(self, plan: Plan) -> Iterator[FunctionSpec | None]:
        return (self._functions.get(call.name) for call in calls_of(plan))

    def _reader(self, rule: Rule, stream: Stream) -> StreamReader:
        if not stream.options.shared:
            return self._source(rule.id, rule.status.connection, stream)
        with _placing(stream.at):
            plugin = self._plugins.stream_source(stream.source_type)
        return self._shared.shared_source(
            stream,
            self._properties.for_source(stream, plugin),
            lambda report: self._source(f"stream:{stream.name}", report, stream),
        )

    def _lookup_link(self, table: Stream, report: Report) -> tuple[LookupLink, LookupOptions]:
        with _placing(table.at):
            plugin = self._plugins.lookup_source(table.source_type)
        with _blaming(f"lookup table {table.name}", table.at):
            config, options = self._properties.for_lookup(table, plugin)
            instance: LookupSource[Any] = plugin.instance()
            owner, operator = f"table:{table.name}", runner_of(table.name)
            ctx = self._context(owner, operator, 0, report, plugin)
            _bind_use(plugin, instance, config, ctx)
        link = LookupLink(table.name, instance, Use(config, ctx), self._clock, options)
        return link, options

    def _source(
        self, owner: str, report: Callable[[str, bool, str], None], stream: Stream
    ) -> SourceRunner:
        with _placing(stream.at):
            plugin = self._plugins.stream_source(stream.source_type)
        config = self._properties.for_source(stream, plugin)
        instance = plugin.instance()
        ctx = self._context(owner, f"source[{stream.name}]", 0, report, plugin)
        with _blaming(f"source {plugin.name} of {stream.kind} {stream.name}", stream.at):
            message = self._schemas.message(stream.options.format, stream.options.schema_id)
            decoder_for(stream, Layout(), message)
            _bind_use(plugin, instance, config, ctx)
        return SourceRunner(stream, instance, config, ctx, self._clock, message)

    def _letters(self, rule: Rule, *, writers: int) -> DeadLetters | None:
        """Return where a rule's dead letters go; ``writers`` is how many write them."""
        action = dead_letter_action(rule.definition)
        if action is None:
            return None
        sink = self._sink(rule, action, LostLetters(rule.id))
        return DeadLetters(rule.id, sink, self._clock, writers)

    def _sink(self, rule: Rule, action: ActionDef, letters: Letters | None) -> SinkRunner:
        with _placing(action.at):
            plugin = self._plugins.get(PluginKind.SINK, action.type)
        config, options = self._properties.for_sink(action, plugin)
        instance = plugin.instance()
        op_id = f"sink[{action.name}]"
        ctx = self._context(rule.id, op_id, 0, rule.status.connection, plugin)
        with _blaming(f"sink {action.type}", action.at):
            _bind_use(plugin, instance, config, ctx)
            cache = None
            if options.enable_cache:
                is_account = action.name != DEAD_LETTER  # letters are no rows of the rule
                role = "" if is_account else DEAD_LETTER
                cache = Cache(
                    action.name,
                    destination_of(action.type, config, role=role),
                    cache_folder(self._root, rule.id, action.name),
                    options,
                    rule.metrics if is_account else RuleMetrics(),
                    is_durable=rule.definition.options.qos > 0,
                )
            elif options.unused:
                names = ", ".join(options.unused)
                logger.warning(
                    "rule=%s %s: without enableCache these do nothing: %s", rule.id, op_id, names
                )
            return SinkRunner(
                op_id,
                instance,
                config,
                options,
                ctx,
                self._clock,
                cache=cache,
                letters=letters,
                takes_tokens=Capability.TOKEN in plugin.capabilities,
                message=self._schemas.message(options.format, options.schema_id),
            )

    def _extra_sink(self, rule: Rule, sink: Sink[Any], index: int) -> SinkRunner:
        op_id = f"sink[results_{index}]"
        ctx = self._context(rule.id, op_id, 0, rule.status.connection)
        sink.config, sink.ctx = Config(), ctx
        return SinkRunner(op_id, sink, sink.config, SinkOptions(), ctx, self._clock)

    def _bind(
        self, rule: Rule, site: CallSite, stopped: threading.Event | None = None
    ) -> tuple[Callable[..., Any], Any]:
        spec = site.spec
        op_id = f"function[{spec.name}]"
        plugin = self._functions.plugin(spec.name)
        ctx = self._context(rule.id, op_id, site.number, rule.status.connection, plugin)
        call = spec.call
        if spec.make is not None:
            instance: Function = spec.make()
            call = instance.exec
        if stopped is not None and spec.is_blocking and not spec.has_batch_form:
            call = interruptible(call, stopped)
        return call, ctx

    def _context(
        self,
        rule_id: str,
        op_id: str,
        instance_id: int,
        report: Callable[[str, bool, str], None],
        plugin: Plugin | None = None,
    ) -> Context:
        state = self._states.setdefault(rule_id, RuleState())
        return PluginContext(
            rule_id=rule_id,
            op_id=op_id,
            instance_id=instance_id,
            root_path=self._root,
            data_path="etc" if plugin is None else plugin.data_path,
            clock=self._clock,
            state=state.scope(op_id, instance_id),
            resources=self._resources,
            on_connection=lambda connected, message: report(op_id, connected, message),
            private_hosts=self._private_hosts,
            file_folders=self._file_folders,
        )


def _event_time_options(options: RuleOptions) -> EventTimeOptions | None:
    if not options.is_event_time:
        return None
    idle, ahead = options.idle_timeout, options.max_ahead
    return EventTimeOptions(
        int(options.late_tolerance * 1000),
        None if idle is None else int(idle * 1000),
        None if ahead is None else int(ahead * 1000),
        options.late,
    )


def _bind_use(plugin: Plugin, instance: Any, config: Config, ctx: Context) -> None:
    """Give an isolated instance its configuration; a shared one looks it up for each call.

    Raises:
        ConfigError: the plugin says that the configuration can't work.
    """
    if not plugin.is_shared:
        instance.config = config
        instance.ctx = ctx
    token = CURRENT_USE.set(Use(config, ctx))
    try:
        instance.validate()
    except EngineError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{plugin.kind.singular} {plugin.name}: validate() failed: {told(error)}",
            hint="it should raise ConfigError for what can't work",
        ) from error
    finally:
        CURRENT_USE.reset(token)


@contextmanager
def _placing(at: Position | None) -> Iterator[None]:
    """Say in errors about a plugin where it is asked for."""
    try:
        yield
    except PluginError as error:
        error.at = error.at or at
        raise


@contextmanager
def _blaming(who: str, at: Position | None) -> Iterator[None]:
    """Say in errors whose configuration is wrong, and where it stands."""
    try:
        yield
    except ConfigError as error:
        error.message = f"{who}: {error.message}"
        error.at = error.at or at
        raise
