"""The plugin contract: all that a source, a sink or a function imports.

A plugin is one Python file. It exports a symbol named like the file with an upper-case first
letter; the symbol is a class or factory (each use in a rule gets an instance of its own) or an
instance (one object shared by all rules). Plugins raise; the engine decides: ``NotConnected`` means
"try again later", ``Rejected`` "this will never be taken", ``EndOfStream`` "nothing more comes".
"""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    Protocol,
    Self,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

import msgspec

from engine.batch import (
    Batch,
    ColumnMetadata,
    Metadata,
    PickedMetadata,
    Row,
    RowMetadata,
    SameMetadata,
)
from engine.clock import Clock
from engine.config.convert import Duration, Size, Template
from engine.errors import (
    ConfigError,
    EndOfStream,
    EngineError,
    NotConnected,
    PluginError,
    Rejected,
    RowError,
)
from engine.state.codec import CODEC
from engine.state.errors import Unstorable
from engine.state.scope import StateScope

if TYPE_CHECKING:  # it takes SQLite along, which not every plugin's module needs
    from engine.folders import FileFolders

__all__ = (
    "API_VERSION",
    "AcknowledgedSource",
    "AggregateFunction",
    "AnyConfig",
    "Batch",
    "BatchFunction",
    "ChainedPlugin",
    "ColumnMetadata",
    "Config",
    "ConfigError",
    "Context",
    "Duration",
    "Emit",
    "EndOfStream",
    "EngineError",
    "Function",
    "LookupSource",
    "Metadata",
    "NotConnected",
    "Offset",
    "PartitionedSource",
    "PickedMetadata",
    "PluginError",
    "RecognisingSource",
    "Rejected",
    "RewindableSource",
    "Row",
    "RowError",
    "RowMetadata",
    "SameMetadata",
    "Sink",
    "Size",
    "Source",
    "Template",
    "TextualSource",
    "Token",
    "Unstorable",
    "state_codec",
)

API_VERSION = "1.3.0"
"""Semantic version of this module's contract."""

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class _KeywordsOnly(msgspec.StructMeta):
    """Lets the properties of every `Config` stand in any order, with defaults or without."""

    def __new__(cls, *definition: Any, **options: Any) -> Any:
        return super().__new__(cls, *definition, **{"kw_only": True, **options})


class Config(msgspec.Struct, metaclass=_KeywordsOnly, forbid_unknown_fields=True, rename="camel"):
    """Base of a plugin's configuration: one typed field per property of the rule file.

    A field ``send_interval`` is the property ``sendInterval``. A field without default is required,
    an unknown property is refused. Fields of type ``Duration`` (seconds) and ``Size`` (bytes) take
    numbers or text with units; one of type ``Template`` may hold ``{{.field}}`` and is then
    computed for each message.
    """


class AnyConfig(Config):
    """A configuration that takes whatever is given, unchecked; for those who do without types."""

    properties: dict[str, Any] = {}
    """All properties, for a source with ``datasource`` among them."""


ConfigT = TypeVar("ConfigT", bound=Config)


class Context(ABC):
    """What the engine gives to one use of a plugin in one rule."""

    rule_id: str
    op_id: str
    """The operator within the rule, such as ``source[demo]``."""
    instance_id: int
    """Number of this instance among those of the same operator, from 0."""
    logger: logging.LoggerAdapter[logging.Logger]
    """Carries rule and operator in every line."""
    root_path: Path
    """The root folder, where ``plugins/`` and ``etc/`` stand."""
    data_path: Path
    """The plugin's own folder below it, ``etc/<kind>/<plugin>``; it need not exist."""
    clock: Clock
    started_at: int
    """When this run of the rule began, in epoch milliseconds."""
    private_hosts: Sequence[str] | None = None
    """Hosts, or networks such as ``10.1.0.0/16``, in private address space that may be asked by
    HTTP beside public ones; None: all of them.
    """
    file_folders: FileFolders | None = None
    """Where files may be read and written; None: anywhere. `file` minds it."""

    state: StateScope

    def file(self, path: str | Path) -> Path:
        """Return the file or folder that a property names; relative paths start at the root.

        Open nothing else than what is returned. Ask in ``validate`` for what is fixed, so that a
        rule is refused when it is defined.

        Raises:
            ConfigError: under a server, it is outside of the folders that rules may use.
        """
        if self.file_folders is None:
            return self.root_path / path
        return self.file_folders.file(path)

    def put_state(self, key: str, value: Any) -> None:
        """Remember ``value`` under ``key``, for this instance only.

        It may be plain data, dates, decimals, sets, dataclasses, Structs, enumerations, and types
        with a `state_codec`. It is checked, and copied for the next checkpoint, when it is put:
        changing a value in place without putting it again is not checkpointed.

        Raises:
            Unstorable: it can't be stored; what was there before stays.
        """
        self.state.values[key] = value

    def get_state(self, key: str, default: Any = None) -> Any:
        """Return what was put under ``key``, else ``default``."""
        return self.state.values.get(key, default)

    def delete_state(self, key: str) -> None:
        """Forget value and counter ``key``; unknown keys are no error."""
        self.state.delete(key)

    def incr_counter(self, key: str, amount: int = 1) -> int:
        """Add to the counter ``key`` (from 0) and return its new value."""
        counters = self.state.counters
        value: int = counters.get(key, 0) + amount
        counters[key] = value
        return value

    def get_counter(self, key: str) -> int:
        """Return the counter ``key``, 0 before the first increment."""
        value: int = self.state.counters.get(key, 0)
        return value

    @abstractmethod
    def shared(
        self, key: Hashable, make: Callable[[], AbstractAsyncContextManager[T]]
    ) -> AbstractAsyncContextManager[T]:
        """Share one resource, such as a connection, among all users of the same ``key``.

        The first user makes and enters it, the last one leaves it. Use it as
        ``async with ctx.shared(key, make) as resource``.
        """

    @abstractmethod
    def report_connection(self, connected: bool, message: str = "") -> None:
        """Tell the status of the rule whether the other side is reachable."""


def state_codec(
    type_: type[T], name: str, pack: Callable[[T], Any], unpack: Callable[[Any], T]
) -> None:
    """Declare how instances of exactly ``type_`` are stored in the state of plugins.

    Call it at the top of the plugin's module. ``name`` stands for the type in what is stored and
    must stay the same; ``pack`` returns data that can be stored, ``unpack`` makes an instance of
    it.

    Raises:
        Unstorable: another type has that name.
    """
    CODEC.register(type_, name, pack, unpack)


class Use(msgspec.Struct, frozen=True):
    """One use of a plugin: its configuration and its context."""

    config: Any
    ctx: Context


CURRENT_USE: ContextVar[Use] = ContextVar("engine.api.current_use")


class _PerUse:
    """``config`` or ``ctx`` of a shared instance: that of the rule which is calling.

    An isolated instance has them as plain attributes, which hide this descriptor.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        try:
            return getattr(CURRENT_USE.get(), self._name)
        except LookupError:
            raise AttributeError(
                f"{owner.__name__}.{self._name} is there only while the engine calls the plugin"
            ) from None


class _Configured(Generic[ConfigT]):
    """What sources and sinks share: configuration, context, opening and closing.

    Methods declared ``async`` here may as well be plain ones. Those run inside the event loop, so
    they must be quick, unless the class says ``blocking = True``.
    """

    config: ConfigT = _PerUse("config")  # type: ignore[assignment]
    ctx: Context = _PerUse("ctx")  # type: ignore[assignment]
    config_type: ClassVar[type[Config]] = Config
    blocking: ClassVar[bool] = False
    """True: plain methods run in a thread, because they wait for something."""
    open_timeout: ClassVar[float | None] = 60.0
    """Seconds after which ``open`` counts as ``NotConnected``; None: it may take any time."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base) if get_origin(base) else ():
                if isinstance(argument, type) and issubclass(argument, Config):
                    cls.config_type = argument

    def validate(self) -> None:
        """Raise ``ConfigError`` if the configuration can't work; called before anything runs."""

    async def open(self) -> None:
        """Prepare to work; called once before anything else, again after ``NotConnected``."""

    async def close(self) -> None:
        """Let go of everything; always called once after ``open``, even when that failed.

        It has 5 seconds. Whatever is cancelled must end: what goes on is left behind.
        """


class Source(_Configured[ConfigT], ABC):
    """Where rows come from."""

    @abstractmethod
    async def run(self, emit: Emit) -> None:
        """Hand batches to ``await emit(batch)`` until cancelled; return when nothing more comes.

        ``emit`` waits while the rule is full. Give payloads for the stream's FORMAT to decode or
        rows that are already decoded.

        A plain ``def run`` has a thread of its own, in which ``emit(batch)`` is called without
        ``await``; when the rule stops, ``emit`` raises and ``close`` is called, which should wake
        a ``run`` that waits for something else.
        """


class LookupSource(_Configured[ConfigT], ABC):
    """Where the rows of a lookup table are found by key; it lives with the sources.

    A class may be ``Source`` and ``LookupSource`` at once and then serves as either.
    """

    lookup_timeout: ClassVar[float | None] = 30.0
    """Seconds after which a question counts as ``NotConnected``; None: it may take any time."""

    @abstractmethod
    async def lookup(
        self, fields: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[Row]:
        """Return the rows whose columns ``keys`` equal ``values``; none is no error.

        ``fields`` are the columns that the query reads, empty for all; others may be left out.
        Several calls may be on their way at once. ``NotConnected`` means "try again later".
        """

    async def lookup_many(
        self, fields: Sequence[str], keys: Sequence[str], rows_of_values: Sequence[Sequence[Any]]
    ) -> list[list[Row]]:
        """Return what ``lookup`` gives for each of several rows of values, in their order.

        Override it where one request can ask for many keys.
        """
        return [await self.lookup(fields, keys, values) for values in rows_of_values]


class Sink(_Configured[ConfigT], ABC):
    """Where results go."""

    takes_payloads: ClassVar[bool] = False
    """True: ``collect`` gets encoded ``payloads``, one per message; False: ``rows``."""
    shared_options: ClassVar[frozenset[str]] = frozenset()
    """Options that every sink has, by their names in files, which the engine applies although the
    configuration declares them, to know them. What else it declares is the sink's own to apply.
    """

    @abstractmethod
    async def collect(self, batch: Batch) -> None:
        """Take a batch; returning means that all of it is delivered.

        Called for one batch at a time. Raising ``NotConnected`` makes the engine offer the same
        batch again later; raising ``Rejected`` gives it up, counted.

        A sink that can recognise a batch which it has had already takes a second argument,
        ``token: Token | None = None``. None has what comes from the sink's cache (``enableCache``),
        which is no batch of its own.
        """


class Function(ABC):
    """A function for use in SQL; each call site in a rule has an instance and state of its own.

    A function may offer a second form for many rows at once, see ``BatchFunction``.
    """

    stateless: ClassVar[bool] = False
    """True promises that a call depends on nothing but its arguments."""
    blocking: ClassVar[bool] = False
    """True: ``exec`` waits for something. Queries that call it run in a thread, a batch at a time;
    of ``ctx`` it may use state, clock and logger there."""

    def validate(self, args: Sequence[object]) -> None:  # noqa: B027  # optional
        """Raise ``ConfigError`` if the arguments can't be right; called when a rule is planned.

        ``args`` holds the value of each literal argument and ``...`` for all others.
        """

    @abstractmethod
    def exec(self, ctx: Context, *args: Any) -> Any:
        """Return the value for one row. Missing columns arrive as None."""


class AggregateFunction(ABC):
    """A function over the rows of a group; each object holds what one group needs.

    The engine makes an object for each group, without arguments, and gives it the rows. It must be
    exported as a class, for an instance can't be shared by groups. What it remembers are its
    attributes; they must be data that can be stored (see ``Context.put_state``), else override
    ``snapshot`` and ``restore``. A class that can also give up the oldest row has a method
    ``remove`` with the arguments of ``add``.

    It must not read clocks or files: the same rows give the same result, now and after a restart.
    """

    def validate(self, args: Sequence[object]) -> None:  # noqa: B027  # optional
        """Raise ``ConfigError`` if the arguments can't be right; as for ``Function``."""

    @abstractmethod
    def add(self, *args: Any) -> None:
        """Take the arguments of the next row; missing columns arrive as None."""

    @abstractmethod
    def merge(self, newer: Self) -> None:
        """Take over all rows of ``newer``, which come after this object's own."""

    @abstractmethod
    def result(self) -> Any:
        """Return the value for the rows so far; more may follow."""

    def snapshot(self) -> Any:
        """Return all that is remembered as data that later rows don't change."""
        return copy.deepcopy(vars(self))

    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""
        vars(self).clear()
        vars(self).update(copy.deepcopy(value))


class Token(NamedTuple):
    """Names a batch for its sink: the same token means the same messages, once more.

    A batch that is offered again has its token again; what is left of one after ``NotConnected``
    with ``indexes`` has that of the whole. So a token is to be remembered when all of the batch is
    delivered, best in one transaction with it.

    After a restart the batches since the last checkpoint have their tokens again if the rule has
    checkpoints (``qos``), all its sources can be rewound (see ``RewindableSource``), and they come
    as they came before. Where they don't they have others: nothing is ever taken for what it isn't.
    """

    rule_id: str
    checkpoint: int
    """Number of the checkpoint from which the rule has gone on, 0 if there is none."""
    number: int
    """Number of the batch since that checkpoint, from 0."""
    check: str
    """A checksum of all messages since that checkpoint, different for each sink of the rule."""


Offset = int | str
"""A place in one partition of a source; a later one compares as greater."""


class BatchFunction(Protocol):
    """What a ``Function`` may have beside ``exec``: the same for all rows of a batch in one call.

    ``exec_batch`` gets a list of values for each argument, all of the same length, and returns a
    list of that length (or an array, which is turned into one). It must give what ``exec`` would
    give row by row; when it raises, the engine asks ``exec`` instead. It is used for functions that
    are ``stateless``, where the query is sure to need the value of each row.
    """

    def exec_batch(self, ctx: Context, *columns: Sequence[Any]) -> Sequence[Any]: ...


class PartitionedSource(Protocol):
    """What a ``Source`` may have to tell how far its rules are behind: ``head`` at least.

    While it is open ``head`` is called every few seconds, and ``partitions`` after it. Each may
    take 10 seconds; failing does no harm.
    """

    async def partitions(self) -> Sequence[str]:
        """Return the names of all partitions that there are now."""

    async def head(self) -> Mapping[str, Offset]:
        """Return, by partition, the offset that its next new message will have."""


class TextualSource(Protocol):
    """What a ``Source`` may have if the rows that it gives hold texts, as those of a CSV file do.

    They are then read as the stream declares its columns.
    """

    gives_texts: bool


class ChainedPlugin(Protocol):
    """What a ``Source`` or ``Sink`` may have that passes rows on inside the engine, by topic.

    A rule is refused whose results would come back to it by topics. Those of a source are filters,
    those of a sink may hold ``{{…}}``.
    """

    topics: Sequence[str]


class RewindableSource(Protocol):
    """What a ``Source`` may have if it can give messages again."""

    def position(self) -> Mapping[str, Offset]:
        """Return, by partition, the offset behind the last batch that ``run`` has emitted.

        Called while ``run`` waits in ``emit``, so it must be a plain, quick method.
        """

    async def seek(self, offsets: Mapping[str, Offset]) -> None:
        """Make the next ``run`` begin at these offsets; partitions not named begin as usual.

        Called after ``open`` and before ``run``.
        """


class RecognisingSource(Protocol):
    """What a ``Source`` may have whose other side delivers unacknowledged messages again.

    Its batches carry ``identities``, and it is told those that the rule has in its state already,
    where that must count each message once (``qos: 2``). A message that it passes over is named in
    the identities of a batch all the same, for its acknowledgement may be lost once more.
    """

    repeats: int
    """How many of the last messages may be delivered again."""

    def recognise(self, identities: Sequence[int]) -> None:
        """Pass over messages with these identities, and all that are emitted from now on.

        Called before ``open``; if it isn't, nothing need be recognised.
        """


class AcknowledgedSource(Protocol):
    """What a ``RewindableSource`` may have if its other side wants to know what is done with."""

    async def ack(self, offsets: Mapping[str, Offset]) -> None:
        """Note that everything before these offsets is done with and will never be asked for.

        Called when all rules are done with it: those with checkpoints when one of them has it,
        others when their sinks have it. One call at a time, while the source is open, with offsets
        that grow. What a call that fails has said, the next one says too.
        """


Emit = Callable[[Batch], Awaitable[None]]
"""What a source calls to hand over a batch; it returns once there is room for the next one."""
