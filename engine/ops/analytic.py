"""The state of analytic functions: a tracker for each partition, no more than there may be."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any

from engine.functions.stateful import Tracker
from engine.sql.keys import typed_key
from engine.state.frozen import Frozen

MAX_PARTITIONS = 100_000


class Partitions:
    """The trackers of one call site, by the values of its PARTITION BY (none: one partition).

    1 and 1.0 are the same value, ``'1'`` and true are others, and so is null. When there are too
    many partitions, the one that was used least recently is forgotten, and ``evicted`` counts it.
    """

    def __init__(self, make: Callable[[], Tracker], max_partitions: int = MAX_PARTITIONS) -> None:
        if max_partitions < 1:
            raise ValueError("there must be room for one partition")
        self._make = make
        self._most = max_partitions
        self._trackers: OrderedDict[Hashable, tuple[tuple[Any, ...], Tracker]] = OrderedDict()
        self._saved: weakref.WeakSet[_Saved] = weakref.WeakSet()
        """What keeps trackers as they were for the snapshots that are still to be read."""
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._trackers)

    def step(self, partition: tuple[Any, ...], *args: Any, valid: bool = True) -> Any:
        """Return the function's value for the next row, which is in ``partition``.

        Raises:
            RowError: an argument is of a wrong kind; nothing has changed.
        """
        return self.tracker(partition).step(*args, valid=valid)

    def tracker(self, partition: tuple[Any, ...]) -> Tracker:
        """Return the tracker of a partition, a new one if it has none, for one step."""
        key = typed_key(partition)
        found = self._trackers.get(key)
        if found is not None:
            self._trackers.move_to_end(key)
            if self._saved:
                for saved in self._saved:
                    saved.keep(found[1])
            return found[1]
        return self._put(key, partition)

    def _put(self, key: Hashable, partition: tuple[Any, ...]) -> Tracker:
        tracker = self._make()
        self._trackers[key] = partition, tracker
        if len(self._trackers) > self._most:
            self._trackers.popitem(last=False)
            self.evicted += 1
        return tracker

    def partitions(self) -> list[tuple[Any, ...]]:
        """Return the partitions, the one used least recently first."""
        return [partition for partition, _ in self._trackers.values()]

    def snapshot_of(self, partition: tuple[Any, ...]) -> Any:
        """Return what is remembered of one partition, None if it has nothing."""
        found = self._trackers.get(typed_key(partition))
        return None if found is None else [found[1].snapshot()]

    def restore_of(self, partition: tuple[Any, ...], value: Any) -> None:
        """Go on from the snapshot of one partition, which is then the one used last."""
        self._trackers.pop(typed_key(partition), None)
        if value is not None:
            self._put(typed_key(partition), partition).restore(value[0])

    def snapshot(self) -> Any:
        """Return all partitions with what is remembered, as a value for msgpack.

        What a tracker remembers is saved when it is read, or just before the tracker changes.
        """
        trackers = list(self._trackers.values())
        saved = _Saved()
        self._saved.add(saved)
        return [self.evicted, Frozen(len(trackers), partial(_values, trackers, saved))]

    def restore(self, value: Any) -> None:
        """Go on from a snapshot, of another number of partitions, too."""
        self._trackers.clear()
        self.evicted, partitions = value
        for partition, state in partitions:
            self._put(typed_key(tuple(partition)), tuple(partition)).restore(state)


class _Saved:
    """The values of those trackers that have changed since a snapshot was taken."""

    __slots__ = ("__weakref__", "_values")

    def __init__(self) -> None:
        self._values: dict[Tracker, Any] = {}

    def keep(self, tracker: Tracker) -> None:
        """Note the value of a tracker that is about to change, unless it has changed before."""
        if tracker not in self._values:
            self._values[tracker] = tracker.snapshot()

    def value_of(self, tracker: Tracker) -> Any:
        """Return the value that a tracker had, in any thread."""
        value, is_torn = None, False
        if tracker not in self._values:
            try:
                value = tracker.snapshot()
            except RuntimeError:  # a collection of it changed meanwhile
                is_torn = True
        # whoever changes a tracker has kept its value before, so that what was read is sound
        # where there is still none
        if tracker in self._values or is_torn:
            return self._values[tracker]
        return value


def _values(trackers: list[tuple[tuple[Any, ...], Tracker]], saved: _Saved) -> Iterator[list[Any]]:
    return ([list(partition), saved.value_of(tracker)] for partition, tracker in trackers)
