"""The plugin contract: all that a source, a sink or a function imports.

A plugin is one Python file. It exports a symbol named like the file with an upper-case first
letter; the symbol is a class or factory (each use in a rule gets an instance of its own) or an
instance (one object shared by all rules). Plugins raise; the engine decides: ``NotConnected`` means
"try again later", ``Rejected`` "this will never be taken", ``EndOfStream`` "nothing more comes".
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

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
from engine.state.scope import StateScope

__all__ = (
    "API_VERSION",
    "Batch",
    "ColumnMetadata",
    "Config",
    "ConfigError",
    "Context",
    "Duration",
    "Emit",
    "EndOfStream",
    "EngineError",
    "Function",
    "Metadata",
    "NotConnected",
    "PickedMetadata",
    "PluginError",
    "Rejected",
    "Row",
    "RowError",
    "RowMetadata",
    "SameMetadata",
    "Sink",
    "Size",
    "Source",
    "Template",
)

API_VERSION = "1.0.0"
"""Semantic version of this module's contract."""

T = TypeVar("T")


class Config(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of a plugin's configuration: one typed field per property of the rule file.

    A field ``send_interval`` is the property ``sendInterval``. A field without default is required,
    an unknown property is refused. Fields of type ``Duration`` (seconds) and ``Size`` (bytes) take
    numbers or text with units; one of type ``Template`` may hold ``{{.field}}`` and is then
    computed for each message.
    """


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
    clock: Clock
    started_at: int
    """When this run of the rule began, in epoch milliseconds."""

    state: StateScope

    def put_state(self, key: str, value: Any) -> None:
        """Remember ``value`` (any data) under ``key``, for this instance only."""
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
        counters[key] = value = counters.get(key, 0) + amount
        return value

    def get_counter(self, key: str) -> int:
        """Return the counter ``key``, 0 before the first increment."""
        return self.state.counters.get(key, 0)

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
    """What sources and sinks share: configuration, context, opening and closing."""

    config: ConfigT = _PerUse("config")  # type: ignore[assignment]
    ctx: Context = _PerUse("ctx")  # type: ignore[assignment]
    config_type: ClassVar[type[Config]] = Config

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
        """Let go of everything; always called once after ``open``, even when that failed."""


class Source(_Configured[ConfigT], ABC):
    """Where rows come from."""

    @abstractmethod
    async def run(self, emit: Emit) -> None:
        """Hand batches to ``await emit(batch)`` until cancelled; return when nothing more comes.

        ``emit`` waits while the rule is full. Give payloads for the stream's FORMAT to decode or
        rows that are already decoded.
        """


class Sink(_Configured[ConfigT], ABC):
    """Where results go."""

    takes_payloads: ClassVar[bool] = False
    """True: ``collect`` gets encoded ``payloads``, one per message; False: ``rows``."""

    @abstractmethod
    async def collect(self, batch: Batch) -> None:
        """Take a batch; returning means that all of it is delivered.

        Called for one batch at a time. Raising ``NotConnected`` makes the engine offer the same
        batch again later; raising ``Rejected`` gives it up, counted.
        """


class Function(ABC):
    """A function for use in SQL; each call site in a rule has an instance and state of its own."""

    stateless: ClassVar[bool] = False
    """True promises that a call depends on nothing but its arguments."""

    def validate(self, args: Sequence[object]) -> None:  # noqa: B027  # optional
        """Raise ``ConfigError`` if the arguments can't be right; called when a rule is planned.

        ``args`` holds the value of each literal argument and ``...`` for all others.
        """

    @abstractmethod
    def exec(self, ctx: Context, *args: Any) -> Any:
        """Return the value for one row. Missing columns arrive as None."""


Emit = Callable[[Batch], Awaitable[None]]
"""What a source calls to hand over a batch; it returns once there is room for the next one."""
