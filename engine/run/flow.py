"""The bounded queue in front of a consumer: the one place where a full queue is dealt with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import anyio.lowlevel

from engine.run.waiting import Flag


class Sized(Protocol):
    def __len__(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Overflow(StrEnum):
    """What a full queue does with rows that come."""

    BLOCK = "block"
    DROP_OLDEST = "dropOldest"
    DROP_NEWEST = "dropNewest"


class FlowClosed(Exception):
    """Nothing more will come."""


class Flow(Generic[T]):
    """A queue of batches, bounded by their rows, for one consumer.

    A batch larger than the whole capacity is let in when the queue is empty. ``dropped`` is called
    with each batch that the policy gives up.
    """

    def __init__(self, capacity: int, overflow: Overflow, dropped: Callable[[T], None]) -> None:
        self._capacity = capacity
        self._overflow = overflow
        self._dropped = dropped
        self._items: deque[T] = deque()
        self._rows = 0
        self.closed = Flag()
        self._error: Exception | None = None
        self._filled = Flag()
        self._emptied = Flag()

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._rows

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, not even a batch without rows."""
        return not self._items

    async def put(self, item: T) -> None:
        """Add a batch, after waiting for room where the policy says so.

        It is dealt with even if the caller is cancelled meanwhile.
        """
        if not self._items or self._rows + len(item) <= self._capacity:
            self.put_anyway(item)
        elif self._overflow is Overflow.BLOCK:
            try:
                while self._items and self._rows + len(item) > self._capacity:
                    await self._emptied.wait()
            finally:
                self.put_anyway(item)
        else:
            self._make_room(item)
            # a producer that never waits for anything would drop all, for nobody else gets a turn
            await anyio.lowlevel.checkpoint()

    def _make_room(self, item: T) -> None:
        """Add a batch to a full queue as the policy says."""
        if self._overflow is Overflow.DROP_NEWEST:
            self._dropped(item)
            return
        while self._items and self._rows + len(item) > self._capacity:
            self._dropped(self._pop())
        self.put_anyway(item)

    def put_anyway(self, item: T) -> None:
        """Add a batch beyond the capacity, rather than lose it when a producer is stopped."""
        self._items.append(item)
        self._rows += len(item)
        self._filled.pulse()

    async def get(self) -> T:
        """Return the next batch.

        Raises:
            FlowClosed: the queue is empty and closed (or the error that it was closed with).
        """
        while not self._items:
            if self.closed.is_set():
                raise self._error or FlowClosed
            await self._filled.wait()
        item = self._pop()
        self._emptied.pulse()
        return item

    def close(self, error: Exception | None = None) -> None:
        """Let the consumer take what is left and then stop, or fail with ``error``."""
        if not self.closed.is_set():
            self._error = error
            self.closed.set()
            self._filled.pulse()

    def _pop(self) -> T:
        item = self._items.popleft()
        self._rows -= len(item)
        return item
