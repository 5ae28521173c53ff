"""What a rule file defines, checked and ready to run: rules, streams, connections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from engine.config.fields import Duration
from engine.config.positions import NOWHERE, Positions
from engine.errors import Position

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
OverflowPolicy = Literal["block", "dropOldest", "dropNewest"]
_PLACES = frozenset(("at", "where", "sql_where"))


class Definition(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Base of named definitions; two are equal if they say the same, wherever they stand."""

    at: Position | None = None
    """Where it is named: its key, or the value of ``id``."""
    where: Positions = NOWHERE
    """The places of its keys and values."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            getattr(self, name) == getattr(other, name)
            for name in self.__struct_fields__
            if name not in _PLACES
        )

    def __ne__(self, other: object) -> bool:
        return not self == other  # msgspec's own one would compare identities

    def __repr__(self) -> str:
        # not the properties: they may hold secrets
        name = getattr(self, "id", None) or getattr(self, "name", "")
        return f"<{type(self).__name__} {name} at {self.at}>"

    __hash__ = None  # type: ignore[assignment]  # properties are dicts


class RestartStrategy(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """How a failed rule is restarted: ``attempts`` times, 0 meaning never."""

    attempts: Count = 0
    delay: Duration = Duration(1)
    multiplier: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    max_delay: Duration = Duration(30)
    jitter_factor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1


class DatetimeRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """When a scheduled rule may run; bounds are exclusive.

    Either ``begin`` and ``end`` (``YYYY-MM-DD hh:mm:ss``) or both timestamps (Unix milliseconds).
    """

    begin: str = ""
    end: str = ""
    begin_timestamp: int | None = None
    end_timestamp: int | None = None


class TraceOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Which rows of a rule are traced."""

    strategy: Literal["always", "head"] = "always"
    """``always``: any row; ``head``: those that come with a sampled trace context."""
    rate: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    """At most so many rows a second."""


class RuleOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """The options of a rule (runtime specification, section 1.4); durations are seconds."""

    is_event_time: bool = False
    late_tolerance: Duration = Duration(1)
    late: Literal["drop", "emit", "deadLetter"] = "drop"
    """What happens to a row older than the watermark."""
    idle_timeout: Duration | None = None
    """A stream silent for so long no longer holds the watermark back; None: it always does."""
    max_ahead: Duration | None = None
    """A row dated further than this into the future doesn't move the watermark; None: it does."""
    max_partitions: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = 100_000
    """Partitions that analytic functions and state windows remember; the oldest give way."""
    expect_every: Duration | None = None
    """The rule counts as idle when no row came for so long; None: never."""
    concurrency: Count = 1
    buffer_length: Count = 1024
    """Rows of each stream that wait for the query."""
    overflow: OverflowPolicy | None = None
    """What happens to a stream when so many wait; None: what the stream says, see there."""
    disable_buffer_full_discard: bool | None = None
    """eKuiper's switch: true is ``overflow: block``, an explicit false is ``dropOldest``."""
    send_meta_to_sink: bool = False
    send_nil_field: bool = False
    send_error: bool = False
    dead_letter: dict[str, dict[str, Any] | None] = {}
    """One sink and its properties, for what is given up; empty: it is only counted."""
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0
    checkpoint_interval: Duration = Duration(300)
    enable_save_state_before_stop: bool = False
    restart_strategy: RestartStrategy = RestartStrategy()
    timezone: str = ""
    """Zone of the rule's windows and schedule; "": UTC for windows, the engine's for schedules."""
    cron: str = ""
    duration: Duration | None = None
    """Length of each run with ``cron``; alone, the rule stops that long after its start."""
    cron_datetime_range: tuple[DatetimeRange, ...] = ()
    debug: bool | None = None
    """Debug log of this rule; None: as the engine."""
    log_filename: str = ""
    trace: TraceOptions | None = None
    """None: no row is traced until somebody asks for it."""
    enable_rule_tracer: bool = False
    """eKuiper's switch: true is ``trace: {}``."""
    plan_optimize_strategy: dict[str, Any] = {}
    experiment: dict[str, Any] = {}
    force_exit_timeout: Duration | None = None
    notify_sub: bool = False

    @property
    def tracing(self) -> TraceOptions | None:
        """Which rows are traced from the start."""
        return TraceOptions() if self.trace is None and self.enable_rule_tracer else self.trace


class ActionDef(Definition, frozen=True, kw_only=True, eq=False):
    """One sink of a rule; ``name`` is ``<type>_<index of its list item>``."""

    type: str
    name: str
    properties: dict[str, Any] = {}


class RuleDef(Definition, frozen=True, kw_only=True, eq=False):
    """One rule: a query and its sinks."""

    id: str
    sql: str
    actions: tuple[ActionDef, ...]
    options: RuleOptions = RuleOptions()
    name: str = ""
    version: str = ""
    triggered: bool = True
    tags: tuple[str, ...] = ()
    temp: bool = False
    tests: tuple[dict[str, Any], ...] = ()
    """Test cases beside the rule, as given."""

    @property
    def sql_at(self) -> Position | None:
        """The first character of the SQL."""
        return self.sql_place(1, 1)

    def sql_place(self, line: int, column: int) -> Position | None:
        """Return where in the file a line and column of the SQL are, both from 1."""
        return self.where.below("sql").inside(line, column)


class ColumnDef(Definition, frozen=True, kw_only=True, eq=False):
    """One column of a schema; ``type`` is text such as ``bigint`` or ``array(float)``."""

    name: str
    type: str


class StreamOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """What any stream or table may say of itself (runtime specification, section 2.1)."""

    type: str = ""
    """The source plugin; empty means ``mqtt`` for a stream, ``file`` for a table."""
    datasource: str = ""
    format: str = "json"
    schema_id: str = ""
    delimiter: str = ","
    key: str = ""
    conf_key: str = "default"
    extra: dict[str, Any] = {}
    shared: bool = False
    timestamp: str = ""
    timestamp_format: str = ""
    strict_validation: bool = False
    retain_size: Count | None = None
    """Rows that a scan table keeps; None means 1, for a file all."""
    kind: Literal["scan", "lookup"] = "scan"
    version: str = ""
    temp: bool = False
    overflow: OverflowPolicy | None = None
    """What happens to its rows when a rule is behind that doesn't say itself; None: ``block``."""


class StreamDef(Definition, frozen=True, kw_only=True, eq=False):
    """One stream or table: either ``sql``, a CREATE statement, or everything else."""

    name: str
    kind: Literal["stream", "table"] = "stream"
    sql: str = ""
    options: StreamOptions = StreamOptions()
    given: frozenset[str] = frozenset()
    """Names of the options that were given, in their camelCase spelling."""
    schema: tuple[ColumnDef, ...] | None = None
    """None: schemaless."""
    properties: dict[str, Any] = {}
    """What is left for the source plugin; ``where`` has the places."""
    sql_where: Positions = NOWHERE

    @property
    def sql_at(self) -> Position | None:
        """The first character of the CREATE statement, None if there is none."""
        return self.sql_place(1, 1)

    def sql_place(self, line: int, column: int) -> Position | None:
        """Return where in the file a line and column of the statement are, both from 1."""
        return self.sql_where.inside(line, column)


class PropertySet(Definition, frozen=True, kw_only=True, eq=False):
    """Named properties of one plugin type: a connection, or a section of its configuration."""

    name: str
    type: str = ""
    properties: dict[str, Any] = {}


class Ignored(Definition, frozen=True, kw_only=True, eq=False):
    """A part of an exported file that has no meaning here."""

    key: str
    warning: str


class RuleSet(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """All that the given files define."""

    streams: dict[str, StreamDef] = {}
    tables: dict[str, StreamDef] = {}
    rules: dict[str, RuleDef] = {}
    connections: dict[str, PropertySet] = {}
    plugins: tuple[Any, ...] = ()
    source_configs: dict[tuple[str, str], PropertySet] = {}
    """By source type and configuration key."""
    sink_configs: dict[tuple[str, str], PropertySet] = {}
    """By sink type and resource id."""
    ignored: tuple[Ignored, ...] = ()
    files: tuple[str, ...] = ()
