"""One thing at a time: what is asked of a rule is done in order, never at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

from anyio.abc import TaskGroup

from engine.errors import EngineError
from engine.run.waiting import Flag

T = TypeVar("T")


class Signal(Generic[T]):
    """Something asked of a rule, and what came of it."""

    def __init__(self, kind: str, work: Callable[[], Awaitable[T]]) -> None:
        self.kind = kind
        self._work = work
        self._done = Flag()
        self._value: T | None = None
        self._error: Exception | None = None

    async def carry_out(self) -> None:
        """Do what was asked; whoever asked hears of its failure."""
        try:
            self._value = await self._work()
        except Exception as error:
            self._error = error
        finally:
            self._done.set()

    async def settled(self) -> None:
        """Return once it is done, whatever came of it."""
        await self._done.wait()

    async def outcome(self) -> T:
        """Return what came of it, once it is done; its failure is raised."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


class Signals:
    """The signals of one rule, carried out by a task that lives while there are any.

    Whoever asks may be cancelled: what was begun is finished all the same.
    """

    def __init__(self, tasks: TaskGroup, name: str) -> None:
        self._tasks = tasks
        self._name = name
        self._queue: list[Signal[Any]] = []  # a deque is large, and there are many rules
        """The first is being carried out."""

    @property
    def is_busy(self) -> bool:
        """Whether something is being done or waits to be."""
        return bool(self._queue)

    async def done(self) -> None:
        """Return when nothing is left to do."""
        while self._queue:
            await self._queue[-1].settled()

    def send(
        self, kind: str, work: Callable[[], Awaitable[T]], *, repeats: bool = False
    ) -> Signal[T]:
        """Ask for something; if the last signal is of its kind, it is that one.

        Something that ``repeats`` is always a signal of its own.
        """
        if self._queue and self._queue[-1].kind == kind and not repeats:
            return self._queue[-1]
        signal = Signal(kind, work)
        self._queue.append(signal)
        if len(self._queue) == 1:
            try:
                self._tasks.start_soon(self._work_off, name=self._name)
            except RuntimeError:  # the engine has been left
                self._queue.clear()
                raise EngineError("the engine isn't running any more") from None
        return signal

    async def _work_off(self) -> None:
        while self._queue:
            try:
                await self._queue[0].carry_out()
            finally:
                del self._queue[0]
