"""Queries that call functions which wait for something: they run in a thread, not in the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.to_thread

from engine.layout import Frame
from engine.sql.pipeline import Pipeline, WrappedPipeline
from engine.sql.query import Result


class Abandoned(BaseException):
    """The rule was stopped while its query ran in a thread; nobody waits for the rest."""


class ThreadedPipeline(WrappedPipeline):
    """Runs another pipeline in a thread, one batch at a time, so that other rules go on.

    A rule that is stopped for good in between doesn't wait: the call on its way ends when it ends,
    and is the last one.
    """

    def __init__(self, inner: Pipeline, stopped: threading.Event) -> None:
        """``inner`` must not wait for lookup tables; ``stopped`` is what `interruptible` asks."""
        super().__init__(inner)
        self._stopped = stopped
        self._one = anyio.CapacityLimiter(1)

    async def push(self, stream: str, frame: Frame, now: int) -> Result:
        return await self._away(self.inner.push(stream, frame, now))

    async def tick(self, now: int) -> Result:
        return await self._away(self.inner.tick(now))

    async def set_back(self, before: int, now: int) -> Result:
        return await self._away(self.inner.set_back(before, now))

    async def _away(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return await anyio.to_thread.run_sync(
                _result_of, work, abandon_on_cancel=True, limiter=self._one
            )
        except anyio.get_cancelled_exc_class():
            self._stopped.set()
            raise


def interruptible(function: Callable[..., Any], stopped: threading.Event) -> Callable[..., Any]:
    """Return a function that is not called any more once its rule was stopped for good."""

    def called(*args: Any) -> Any:
        if stopped.is_set():
            raise Abandoned
        return function(*args)

    return called


def _result_of(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that waits for nothing to its end."""
    try:
        work.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    raise AssertionError("only lookup tables make a pipeline wait")
