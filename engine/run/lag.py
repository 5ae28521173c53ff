"""How far the reading of a source is behind what its other side has, by partition."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from engine.api import Offset
from engine.blame import message_of
from engine.clock import Clock
from engine.errors import PluginError
from engine.guard import guarded
from engine.offspring import children_of
from engine.run.offsets import Offsets, checked_offsets

logger = logging.getLogger(__name__)

_EVERY = 5_000
"""Milliseconds between two looks."""
_LONGEST = 10.0
"""Seconds that a call may take."""


class PartitionLag(msgspec.Struct, frozen=True):
    """One partition of a source at one instant."""

    partition: str
    position: Offset | None
    """Behind the last batch that was read; None: nothing was read yet, as far as is known."""
    head: Offset | None
    """Of the next new message; None: the source doesn't say."""
    lag: int | None
    """From ``position`` to ``head``, in the units of the source; None: they aren't two numbers."""


class LagMonitor:
    """Asks an open source every few seconds where its partitions end.

    What it has found is forgotten when the source is closed or can't answer: an old lag is none.
    """

    def __init__(
        self,
        source: Any,
        name: str,
        clock: Clock,
        position: Callable[[], Offsets | None],
    ) -> None:
        """``source`` has ``head`` and perhaps ``partitions``; ``name`` is its own in messages.

        ``position`` tells where it has come to.
        """
        self.partitions: tuple[PartitionLag, ...] = ()
        """As they were at the last look; empty before the first one."""
        self._source = source
        self._name = name
        self._clock = clock
        self._position = position
        self._has_partitions = callable(getattr(source, "partitions", None))
        self._watching: asyncio.Task[None] | None = None
        self._is_failing = False

    def open(self) -> None:
        """Begin to ask the source, which is open; to be called where its use is the current one."""
        with children_of(None):  # this task is the engine's, not one that the plugin has started
            self._watching = asyncio.create_task(self._watch(), name=f"{self._name}.lag")

    async def close(self) -> None:
        """Call the source no more."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})
        self.partitions = ()

    async def _watch(self) -> None:
        while True:
            try:
                self.partitions = await self._look()
                self._is_failing = False
            except Exception as error:
                self.partitions = ()
                if not self._is_failing:  # the next ones will likely say the same
                    logger.warning("the lag of %s is not known: %s", self._name, message_of(error))
                self._is_failing = True
            await self._clock.sleep_until(self._clock.now() + _EVERY)

    async def _look(self) -> tuple[PartitionLag, ...]:
        head = checked_offsets(await self._ask("head"), self._name, "head")
        names: Iterable[str] = head
        if self._has_partitions:
            names = self._checked_names(await self._ask("partitions"))
        position = self._position() or {}
        return tuple(_partition(name, position.get(name), head.get(name)) for name in names)

    async def _ask(self, method: str) -> Any:
        with children_of(self._source):
            work = getattr(self._source, method)()
            return await guarded(work, f"{self._name}: {method}()", seconds=_LONGEST)

    def _checked_names(self, found: Any) -> Sequence[str]:
        if isinstance(found, (list, tuple)) and all(isinstance(name, str) for name in found):
            return tuple(dict.fromkeys(found))
        raise PluginError(
            f"{self._name}: partitions() gives {found!r}"[:200],
            hint="return a list of the names of all partitions",
        )


def _partition(name: str, position: Offset | None, head: Offset | None) -> PartitionLag:
    lag = None
    if isinstance(position, int) and isinstance(head, int):
        lag = max(0, head - position)  # reading went on after the head was told
    return PartitionLag(name, position, head, lag)


def flat_lag(partitions: Sequence[PartitionLag]) -> dict[str, int | str]:
    """Return what a flat status has of the partitions of a source.

    That is ``lag``, over all partitions for which it is known; if there is none, ``position`` and
    ``head``, each as a JSON object by partition.
    """
    known = [each.lag for each in partitions if each.lag is not None]
    if known:
        return {"lag": sum(known)}
    if not partitions:
        return {}
    return {
        "position": _by_partition((each.partition, each.position) for each in partitions),
        "head": _by_partition((each.partition, each.head) for each in partitions),
    }


def _by_partition(offsets: Iterable[tuple[str, Offset | None]]) -> str:
    return msgspec.json.encode(dict(offsets)).decode()
