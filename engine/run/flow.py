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


class Lane:
    """The part of a queue that one producer may fill, and what happens when it has.

    A batch larger than the whole capacity is let in when nothing of the producer waits.
    """

    __slots__ = ("capacity", "is_released", "overflow", "rows")

    def __init__(self, capacity: int, overflow: Overflow) -> None:
        self.capacity = capacity
        self.overflow = overflow
        self.is_released = False
        """It has no bound any more."""
        self.rows = 0
        """Rows that wait."""

    def has_room(self, item: Sized) -> bool:
        """Tell whether a batch may be added now."""
        return not self.rows or self.is_released or self.rows + len(item) <= self.capacity


class Flow(Generic[T]):
    """A queue of batches for one consumer, in the order in which its producers gave them.

    Each producer has a lane, bounded by its rows; a full one takes no room from the others.
    ``dropped`` is called with each batch that the policy of its lane gives up.
    """

    def __init__(self, dropped: Callable[[T], None]) -> None:
        self._dropped = dropped
        self._items: deque[tuple[T, Lane | None]] = deque()
        self._rows = 0
        self.closed = Flag()
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

    async def put(self, item: T, lane: Lane) -> None:
        """Add a batch, after waiting for room where the policy says so.

        It is dealt with even if the caller is cancelled meanwhile.
        """
        if lane.has_room(item):
            self.put_anyway(item, lane)
        elif lane.overflow is Overflow.BLOCK:
            try:
                while not lane.has_room(item):
                    await self._emptied.wait()
            finally:
                self.put_anyway(item, lane)
        else:
            self._make_room(item, lane)
            # a producer that never waits for anything would drop all, for nobody else gets a turn
            await anyio.lowlevel.checkpoint()

    def _make_room(self, item: T, lane: Lane) -> None:
        """Add a batch to a full lane as its policy says."""
        if lane.overflow is Overflow.DROP_NEWEST:
            self._dropped(item)
            return
        at = 0
        while not lane.has_room(item):
            while self._items[at][1] is not lane:
                at += 1
            self._dropped(self._pop(at))
        self.put_anyway(item, lane)

    def put_anyway(self, item: T, lane: Lane | None = None) -> None:
        """Add a batch beyond the capacity, rather than lose it when a producer is stopped.

        Without a lane it is one that is never dropped.
        """
        self._items.append((item, lane))
        self._rows += len(item)
        if lane is not None:
            lane.rows += len(item)
        self._filled.pulse()

    def release(self, lane: Lane) -> None:
        """Let a producer in that waits for room, for nobody may take anything any more."""
        lane.is_released = True
        self._emptied.pulse()

    async def get(self) -> T:
        """Return the next batch.

        Raises:
            FlowClosed: the queue is empty and closed.
        """
        while not self._items:
            if self.closed.is_set():
                raise FlowClosed
            await self._filled.wait()
        item = self._pop(0)
        self._emptied.pulse()
        return item

    def close(self) -> None:
        """Let the consumer take what is left and then stop."""
        if not self.closed.is_set():
            self.closed.set()
            self._filled.pulse()

    def _pop(self, at: int) -> T:
        item, lane = self._items[at]
        del self._items[at]
        self._rows -= len(item)
        if lane is not None:
            lane.rows -= len(item)
        return item
