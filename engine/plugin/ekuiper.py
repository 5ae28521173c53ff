"""Plugins written for eKuiper's Python SDK (the package ``ekuiper``), run as they are.

In eKuiper they live in a process of their own and are reached over sockets; here they are called.
Nothing of the SDK is imported but its classes, by the plugin itself.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from engine.api import (
    AggregateFunction,
    AnyConfig,
    Batch,
    ConfigError,
    Context,
    Function,
    NotConnected,
    SameMetadata,
    Sink,
    Source,
)
from engine.errors import EngineError, PluginError
from engine.plugin.kind import PluginKind

_SDK = "ekuiper."
_CLASSES = {
    PluginKind.SOURCE: "Source",
    PluginKind.SINK: "Sink",
    PluginKind.FUNCTION: "Function",
}
_ACK_WITHIN = 5.0
"""Seconds for a sink with ``requireAck`` to say whether it took a message."""


def from_sdk(export: Any, kind: PluginKind, place: Path) -> Any:
    """Return what a file exports; a class or instance of the SDK in the form of the contract.

    Raises:
        PluginError: its constructor fails.
    """
    made = export if isinstance(export, type) else type(export)
    if not _is_of(made, kind):
        return export
    make = export if isinstance(export, type) else lambda: export
    body: dict[str, Any] = {
        "make": staticmethod(make),
        "__doc__": made.__doc__,
        "__module__": made.__module__,
    }
    return type(made.__name__, (_form_of(kind, make, place),), body)


def sdk_class(module: ModuleType, kind: PluginKind) -> type[Any] | None:
    """Return the one class of the SDK's kind that a module defines, for names are free there.

    With more than one there is no telling which is meant, so that none is returned.
    """
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and _is_of(value, kind)
    ]
    return found[0] if len(found) == 1 else None


def _is_of(made: type[Any], kind: PluginKind) -> bool:
    name = _CLASSES[kind]
    return any(base.__module__.startswith(_SDK) and base.__name__ == name for base in made.__mro__)


def _form_of(kind: PluginKind, make: Any, place: Path) -> type[Any]:
    if kind is not PluginKind.FUNCTION:
        return SdkSource if kind is PluginKind.SOURCE else SdkSink
    try:
        return SdkAggregate if make().is_aggregate() else SdkFunction
    except Exception as error:
        raise PluginError(f"{place}: {type(error).__name__}: {error}") from error


class SdkLogger:
    """The SDK's logger is a stream to some and a logger to others."""

    def __init__(self, ctx: Context | None) -> None:
        self._logger: Any = None if ctx is None else ctx.logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def write(self, text: str) -> int:
        """Log a text; line ends come separately from ``print``."""
        if text.strip() and self._logger is not None:
            self._logger.info(text.rstrip())
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


class SdkContext:
    """What the SDK calls a context."""

    def __init__(self, ctx: Context | None) -> None:
        self._ctx = ctx
        self._logger = SdkLogger(ctx)
        self._emit: Any = None
        self._answer = threading.Event()
        self._refusal: str | None = None

    def get_rule_id(self) -> str:
        return "" if self._ctx is None else self._ctx.rule_id

    def get_op_id(self) -> str:
        return "" if self._ctx is None else self._ctx.op_id

    def get_instance_id(self) -> int:
        return 0 if self._ctx is None else self._ctx.instance_id

    def get_logger(self) -> SdkLogger:
        return self._logger

    def emit(self, message: dict[str, Any], meta: dict[str, Any] | None = None) -> None:
        """Hand a row over; returns when there is room for the next one."""
        self._emit(Batch([message], meta=SameMetadata(1, meta or {})))

    def emit_error(self, error: str) -> None:
        self._logger.error("the source reports: %s", error)

    def ack_ok(self) -> None:
        self._refusal = None
        self._answer.set()

    def ack_error(self, error: str) -> None:
        self._refusal = error
        self._answer.set()

    # -- for the adapters ----------------------------------------------------------------------

    def emits_to(self, emit: Any) -> None:
        """Let ``emit`` call this, in the thread that called it."""
        self._emit = emit

    def ask(self) -> None:
        """Forget earlier answers."""
        self._refusal = None
        self._answer.clear()

    def answered(self, *, is_required: bool) -> None:
        """Return when the sink has taken a message.

        Raises:
            NotConnected: it says that it hasn't, or says nothing although it must.
        """
        if is_required and not self._answer.wait(_ACK_WITHIN):
            raise NotConnected(f"the sink hasn't acknowledged within {_ACK_WITHIN:g} s")
        if self._refusal is not None:
            raise NotConnected(self._refusal)


class _Sdk:
    """Makes and configures the SDK's object."""

    make: ClassVar[Any]
    blocking: ClassVar[bool] = True
    config: AnyConfig
    ctx: Context

    def __init__(self) -> None:
        self._inner = type(self).make()

    def _configure(self, *args: Any) -> None:
        self._sdk_ctx = SdkContext(self.ctx)
        try:
            self._inner.configure(*args)
        except EngineError:
            raise
        except Exception as error:
            raise ConfigError(f"configure: {type(error).__name__}: {error}") from error


class SdkSource(_Sdk, Source[AnyConfig]):
    """Its ``open`` is what ``run`` is here; it has a thread for that."""

    def validate(self) -> None:
        properties = dict(self.config.properties)
        self._configure(properties.pop("datasource", ""), properties)

    def open(self) -> None:  # type: ignore[override]
        """Nothing yet: the SDK opens and runs in one."""

    def run(self, emit: Any) -> None:  # type: ignore[override]
        self._sdk_ctx.emits_to(emit)
        self._inner.open(self._sdk_ctx)

    def close(self) -> None:  # type: ignore[override]
        self._inner.close(self._sdk_ctx)


class SdkSink(_Sdk, Sink[AnyConfig]):
    """It gets one encoded message at a time; ``requireAck`` makes it say whether it took it."""

    takes_payloads: ClassVar[bool] = True

    def validate(self) -> None:
        properties = dict(self.config.properties)
        self._needs_ack = str(properties.pop("requireAck", False)).lower() == "true"
        self._configure(properties)
        self._batch: Batch | None = None
        self._taken = 0

    def open(self) -> None:  # type: ignore[override]
        self._inner.open(self._sdk_ctx)

    def collect(self, batch: Batch) -> None:  # type: ignore[override]
        if batch is not self._batch:  # else it is offered again, because one wasn't taken
            self._batch, self._taken = batch, 0
        for payload in (batch.payloads or [])[self._taken :]:
            self._sdk_ctx.ask()
            self._inner.collect(self._sdk_ctx, payload)
            self._sdk_ctx.answered(is_required=self._needs_ack)
            self._taken += 1
        self._batch = None

    def close(self) -> None:  # type: ignore[override]
        self._inner.close(self._sdk_ctx)


def _validated(inner: Any, args: Sequence[object]) -> None:
    problem = inner.validate([None if arg is ... else arg for arg in args])
    if problem:
        raise ConfigError(str(problem))


class SdkFunction(Function):
    """A function of one row."""

    make: ClassVar[Any]

    def __init__(self) -> None:
        self._inner = type(self).make()
        self._contexts: tuple[Context, SdkContext] | None = None

    def validate(self, args: Sequence[object]) -> None:
        _validated(self._inner, args)

    def exec(self, ctx: Context, *args: Any) -> Any:
        if self._contexts is None or self._contexts[0] is not ctx:
            self._contexts = ctx, SdkContext(ctx)
        return self._inner.exec([*args], self._contexts[1])


class SdkAggregate(AggregateFunction):
    """A function that gets, for each argument, the list of its values in the group."""

    make: ClassVar[Any]

    def __init__(self) -> None:
        self._inner = type(self).make()
        self._rows: list[tuple[Any, ...]] = []

    def validate(self, args: Sequence[object]) -> None:
        _validated(self._inner, args)

    def add(self, *args: Any) -> None:
        self._rows.append(args)

    def remove(self, *args: Any) -> None:
        del self._rows[0]

    def merge(self, newer: SdkAggregate) -> None:
        self._rows += newer._rows

    def result(self) -> Any:
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        return self._inner.exec(columns or [[]], SdkContext(None))

    def snapshot(self) -> Any:
        return [*self._rows]

    def restore(self, value: Any) -> None:
        self._rows = [*value]
