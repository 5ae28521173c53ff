"""Plain methods where the contract has ``async`` ones: called in the loop, or in a thread.

Which methods need that is looked up once, when an instance is made. An instance whose methods are
all ``async`` is used as it is; any other one gets an adapter before it, and never sees it: when a
plugin calls its own methods it gets what it wrote.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from engine.api import Batch, Config, Context, Emit, LookupSource, Row, Sink, Source

logger = logging.getLogger(__name__)

GRACE = 1.0
"""Seconds that a cancelled call in a thread has to end before it is left alone."""

_ASYNC = (
    "open",
    "close",
    "run",
    "collect",
    "lookup",
    "lookup_many",
    "partitions",
    "head",
    "seek",
    "ack",
)
Call = Callable[..., Awaitable[Any]]


def adapted(instance: Any) -> Any:
    """Return a source or sink whose methods can all be awaited: the instance itself if it can."""
    plain = {
        name: method
        for name in _ASYNC
        if (method := getattr(instance, name, None)) is not None
        and not inspect.iscoroutinefunction(method)
    }
    if not plain:
        return instance
    calls: dict[str, Call] = {}
    for name, method in plain.items():
        if name == "run":
            calls[name] = partial(_run_in_thread, method)
        elif type(instance).blocking:
            calls[name] = partial(_call_in_thread, method)
        else:
            calls[name] = partial(_call, method)
    is_source, is_lookup = isinstance(instance, Source), isinstance(instance, LookupSource)
    if is_source and is_lookup:
        return _SourceAndLookup(instance, calls)
    if is_source:
        return _Source(instance, calls)
    return _Lookup(instance, calls) if is_lookup else _Sink(instance, calls)


async def _call(method: Callable[..., Any], *args: Any, **named: Any) -> Any:
    result = method(*args, **named)
    return await result if inspect.isawaitable(result) else result


async def _call_in_thread(method: Callable[..., Any], *args: Any, **named: Any) -> Any:
    return await in_thread(method, *args, named=named)


async def in_thread(
    method: Callable[..., Any],
    *args: Any,
    named: Mapping[str, Any] = MappingProxyType({}),
    on_cancel: Callable[[], object] | None = None,
) -> Any:
    """Call a method in a thread.

    A cancelled call gets ``GRACE`` seconds to end by itself, for its thread can't be stopped;
    ``on_cancel`` may hasten that.
    """
    loop = asyncio.get_running_loop()
    ended = anyio.Event()
    has_begun = False

    def work() -> Any:
        nonlocal has_begun
        has_begun = True
        try:
            return method(*args, **named)
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended.set)

    limiter = anyio.CapacityLimiter(math.inf)  # one that waits for long must not hold up others
    try:
        result = await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
    except anyio.get_cancelled_exc_class():
        if on_cancel is not None:
            on_cancel()
        if has_begun:
            with anyio.CancelScope(shield=True), anyio.move_on_after(GRACE):
                await ended.wait()
            if not ended.is_set():
                logger.warning("%s still runs in its thread", getattr(method, "__qualname__", "it"))
        raise
    return await result if inspect.isawaitable(result) else result


async def _run_in_thread(run: Callable[[Callable[[Batch], None]], Any], emit: Emit) -> None:
    """Run a source in a thread, in which ``emit`` waits without ``await``."""
    gate = _Gate(emit)
    try:
        await in_thread(run, gate.emit, on_cancel=gate.close)
    finally:
        gate.close()


class _Gate:
    """Lets batches from a thread into the loop until it is closed, which happens in the loop."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._is_closed = False
        self._passing: set[anyio.CancelScope] = set()

    def emit(self, batch: Batch) -> None:
        """Hand a batch over and wait until there is room for the next; called in the thread."""
        is_open = False
        if not self._is_closed:
            with suppress(concurrent.futures.CancelledError):  # of the task that carried it
                is_open = anyio.from_thread.run(self._pass, batch)
        if not is_open:
            raise asyncio.CancelledError  # no Exception, so that the plugin doesn't go on

    def close(self) -> None:
        """Refuse what comes from now on, and let nothing wait any longer."""
        self._is_closed = True
        for scope in self._passing:
            scope.cancel()

    async def _pass(self, batch: Batch) -> bool:
        """Return whether there is room again; the batch is taken in any case once it is emitted."""
        if self._is_closed:
            return False
        with anyio.CancelScope() as scope:
            self._passing.add(scope)
            try:
                await self._emit(batch)
            finally:
                self._passing.discard(scope)
        return not self._is_closed


class _Adapter:
    """Stands before an instance; all that isn't a call goes through to it."""

    def __init__(self, inner: Any, calls: dict[str, Call]) -> None:
        self.inner = inner
        vars(self)["open_timeout"] = inner.open_timeout
        if isinstance(inner, LookupSource):
            vars(self)["lookup_timeout"] = inner.lookup_timeout
        for name in _ASYNC:
            default = getattr(LookupSource, name, None)
            if default is not None and getattr(type(inner), name, None) is default:
                continue  # the adapter has it too, and its lookup_many calls its own lookup
            if (method := calls.get(name) or getattr(inner, name, None)) is not None:
                setattr(self, f"_{name}", method)
                setattr(self, name, method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def config(self) -> Config:
        """That of the instance."""
        found: Config = self.inner.config
        return found

    @config.setter
    def config(self, config: Config) -> None:
        self.inner.config = config

    @property
    def ctx(self) -> Context:
        """That of the instance."""
        found: Context = self.inner.ctx
        return found

    @ctx.setter
    def ctx(self, ctx: Context) -> None:
        self.inner.ctx = ctx

    def validate(self) -> None:
        self.inner.validate()


# The methods below satisfy the abstract ones; on an object, those that _Adapter sets come first.


class _Source(_Adapter, Source[Config]):
    async def run(self, emit: Emit) -> None:
        await self._run(emit)


class _Lookup(_Adapter, LookupSource[Config]):
    async def lookup(
        self, fields: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[Row]:
        found: list[Row] = await self._lookup(fields, keys, values)
        return found


class _SourceAndLookup(_Source, _Lookup):
    pass


class _Sink(_Adapter, Sink[Config]):
    def __init__(self, inner: Any, calls: dict[str, Call]) -> None:
        super().__init__(inner, calls)
        vars(self)["takes_payloads"] = inner.takes_payloads

    async def collect(self, batch: Batch) -> None:
        await self._collect(batch)
