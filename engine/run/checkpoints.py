"""The checkpoints of a rule: what it remembers and how far it has read, saved together.

A checkpoint is taken between two batches. It is complete when every sink has confirmed what came of
the batches before it and the file has it; only then do the sources of its rule hear that they may
forget those batches. After a crash the rule goes on from the last complete checkpoint, and the
sources give again what came after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from engine.clock import Clock
from engine.errors import EngineError
from engine.run.receipt import Receipt
from engine.state.checkpoint import write_checkpoint
from engine.state.codec import CODEC
from engine.state.scope import RuleState, StateSnapshot
from engine.state.store import CheckpointStore

logger = logging.getLogger(__name__)

PIPELINE = "pipeline"
"""The part of a checkpoint with the state of the operators."""
SOURCES = "sources"
"""The part with how far the sources have been read."""
_SOON = 100
"""Milliseconds after which a rule that has nothing to do saves what sources wait for."""
_MANY = 20_000
"""Rows that sources may wait for before a checkpoint is taken ahead of its time."""


@dataclass(slots=True)
class Epoch:
    """What happened between two checkpoints: batches taken, results that sinks have to confirm."""

    covered: list[Receipt] = field(default_factory=list)
    rows: int = 0
    unconfirmed: int = 0
    settled: anyio.Event = field(default_factory=anyio.Event)
    is_over: bool = False

    def cover(self, receipt: Receipt, rows: int) -> None:
        """Note a batch whose rows the state has now."""
        self.covered.append(receipt)
        self.rows += rows

    def result(self) -> Receipt:
        """Return the receipt of results that sinks get now."""
        self.unconfirmed += 1
        return Receipt(self._confirmed, 1)

    def end(self) -> None:
        """Nothing more will happen in this epoch; it is settled when all sinks have confirmed."""
        self.is_over = True
        if not self.unconfirmed:
            self.settled.set()

    def _confirmed(self) -> None:
        self.unconfirmed -= 1
        if self.is_over and not self.unconfirmed:
            self.settled.set()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a checkpoint holds, of one instant."""

    plugins: StateSnapshot
    pipeline: Any
    sources: Mapping[str, Any]
    at: int


class Checkpoints:
    """Takes the checkpoints of one run of a rule, one at a time."""

    def __init__(
        self,
        rule_id: str,
        store: CheckpointStore,
        state: RuleState,
        interval: int,
        clock: Clock,
        fingerprint: str,
        failed: Callable[[str], None],
    ) -> None:
        """``interval`` is in milliseconds; ``failed`` hears why a checkpoint couldn't be saved."""
        self._rule_id = rule_id
        self._store = store
        self._state = state
        self._interval = interval
        self._clock = clock
        self._fingerprint = fingerprint
        self._failed = failed
        self._number = store.newest(rule_id)
        self._epoch = Epoch()
        self._last = clock.now()
        self._is_busy = False
        self._done = anyio.Event()
        self.taken = 0
        """Checkpoints of this run that are complete."""

    # -- what the rule does --------------------------------------------------------------------

    def cover(self, receipt: Receipt, rows: int) -> None:
        """Note a batch that has been processed; its source hears of it after a checkpoint."""
        self._epoch.cover(receipt, rows)

    def result(self) -> Receipt:
        """Return the receipt for results of the batches noted last."""
        return self._epoch.result()

    def next_due(self) -> int | None:
        """Return when the next checkpoint is due (epoch milliseconds), None if one is being taken.

        Where sources wait for one, that is soon after the rule has nothing else to do.
        """
        if self._is_busy:
            return None
        if self._epoch.rows >= _MANY:
            return self._clock.now()
        due = self._last + self._interval
        if self._epoch.covered:
            due = min(due, max(self._last, self._clock.now()) + _SOON)
        return due

    def take(self, snapshot: Snapshot, tasks: TaskGroup) -> None:
        """Begin a checkpoint; the rule goes on while it is being completed."""
        epoch, self._epoch = self._epoch, Epoch()
        epoch.end()
        self._last = snapshot.at
        self._is_busy = True
        self._done = anyio.Event()
        self._number += 1
        name = f"rule[{self._rule_id}].checkpoint"
        tasks.start_soon(self._complete, snapshot, epoch, self._number, name=name)

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being taken."""
        return self._is_busy

    async def completed(self) -> None:
        """Return when no checkpoint is being taken."""
        if self._is_busy:
            await self._done.wait()

    # -- completing ----------------------------------------------------------------------------

    async def _complete(self, snapshot: Snapshot, epoch: Epoch, number: int) -> None:
        try:
            await epoch.settled.wait()
            await anyio.to_thread.run_sync(self._write, snapshot, number)
        except EngineError as error:
            self._failed(str(error))
            logger.error("rule=%s checkpoint %d: %s", self._rule_id, number, error)
            self._epoch.covered[:0] = epoch.covered  # the next one covers them
            self._epoch.rows += epoch.rows
            return
        finally:
            self._is_busy = False
            self._done.set()
        self.taken += 1
        for receipt in epoch.covered:
            receipt.done()

    def _write(self, snapshot: Snapshot, number: int) -> None:
        others: dict[str, bytes | None] = {
            PIPELINE: CODEC.encode(snapshot.pipeline),
            SOURCES: CODEC.encode(dict(snapshot.sources)),
        }
        meta = {"query": self._fingerprint}
        write_checkpoint(
            self._store, self._rule_id, number, snapshot.plugins, others, meta, at=snapshot.at
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """What a rule goes on from."""

    pipeline: Any = None
    """The state of the operators, None if there is none that fits the query."""
    sources: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    """Why some of it couldn't be used."""


def restore(
    rule_id: str, store: CheckpointStore, state: RuleState, fingerprint: str
) -> Restored:
    """Bring back the plugin state of a rule; return the rest of its newest sound checkpoint.

    The state of a query that has changed is left out, and so are positions in its sources: nothing
    is put where it doesn't belong.

    Raises:
        StoreFailed: the file can't be read.
    """
    loaded = store.load(rule_id)
    messages = [f"checkpoint {each.number} is damaged: {each.reason}" for each in loaded.skipped]
    found = loaded.checkpoint
    if found is None:
        state.clear()
        return Restored(message="; ".join(messages))
    state.restore(found.parts, found.number)
    sources = CODEC.decode(found.parts[SOURCES])
    if found.meta.get("query") != fingerprint:
        messages.append(
            "the query has changed since the last checkpoint, so its windows and analytic "
            "functions begin anew"
        )
        return Restored(None, sources, "; ".join(messages))
    return Restored(CODEC.decode(found.parts[PIPELINE]), sources, "; ".join(messages))
