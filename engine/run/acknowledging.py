"""Telling a source how far everything is done with: in order, and no faster than it answers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.api import CURRENT_USE, AcknowledgedSource, Use
from engine.blame import told
from engine.guard import guarded
from engine.offspring import children_of
from engine.run.offsets import Offsets

logger = logging.getLogger(__name__)

_LONGEST = 30.0
"""Seconds that a call may take."""
_LAST = 5.0
"""Seconds that there are for the last calls before a source is closed."""


@dataclass(slots=True)
class _Batch:
    position: Offsets
    is_done: bool = False


class Acknowledgements:
    """Calls ``ack`` of one source with the offsets before which everything is done with.

    Batches may be done with in any order; a source hears of one when all before it are, too. It is
    called for one position at a time: those that come up meanwhile are told together. A call that
    fails is no harm, as the next one says the same and more.
    """

    def __init__(self, source: AcknowledgedSource, name: str, use: Use) -> None:
        """``name`` is that of the source in messages."""
        self._source = source
        self._name = name
        self._use = use
        self._batches: deque[_Batch] = deque()
        self._due: Offsets | None = None
        self._telling: asyncio.Task[None] | None = None
        self._is_open = False
        self._has_failed = False

    def expect(self, position: Offsets) -> Callable[[], None]:
        """Note a batch that ends at a position; return what to call when it is done with."""
        batch = _Batch(position)
        self._batches.append(batch)

        def done() -> None:
            batch.is_done = True
            self._advance()

        return done

    def open(self) -> None:
        """The source is open, and may be called."""
        self._is_open = True
        self._tell()

    async def close(self) -> None:
        """Tell what is still to be told, within a few seconds; then nothing more."""
        self._tell()
        self._is_open = False
        telling = self._telling
        if telling is None:
            return
        done, _ = await asyncio.wait({telling}, timeout=_LAST)
        if not done:
            telling.cancel()
            await asyncio.wait({telling})

    def _advance(self) -> None:
        batches = self._batches
        before = self._due
        while batches and batches[0].is_done:
            self._due = batches.popleft().position
        if self._due is not before:
            self._tell()

    def _tell(self) -> None:
        if self._is_open and self._due is not None and self._telling is None:
            self._telling = asyncio.create_task(self._tell_all(), name=f"{self._name}.ack")

    async def _tell_all(self) -> None:
        """Call the source until it has heard the last position, or fails."""
        CURRENT_USE.set(self._use)  # whoever was done with the batch, this is for the source
        try:
            while (due := self._due) is not None:
                with children_of(self._source):
                    work = self._source.ack(due)
                    await guarded(work, f"{self._name}: ack()", seconds=_LONGEST)
                self._has_failed = False
                if self._due is due:
                    self._due = None
        except Exception as error:
            if not self._has_failed:  # the next one may well work
                logger.warning("%s: ack failed: %s", self._name, told(error))
            self._has_failed = True
        finally:
            self._telling = None
