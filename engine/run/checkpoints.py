"""The checkpoints of a rule: what it remembers and how far it has read, saved together.

A checkpoint is taken between two batches. It is complete when every sink has confirmed what came of
the batches before it and the file has it; only then do the sources of its rule hear that they may
forget those batches. After a crash the rule goes on from the last complete checkpoint, and the
sources give again what came after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from engine.clock import Clock
from engine.errors import EngineError
from engine.run.receipt import Receipt
from engine.run.source import Arrival
from engine.run.tokens import Start
from engine.state.checkpoint import write_checkpoint
from engine.state.codec import CODEC
from engine.state.scope import RuleState, StateSnapshot, scope_key
from engine.state.store import CheckpointStore

logger = logging.getLogger(__name__)

PIPELINE = "pipeline"
"""The part of a checkpoint with the state of the operators."""
SOURCES = "sources"
"""The part with how far the sources have been read."""
_IDLE = 1_000
"""Milliseconds without rows after which a rule saves what its sources wait for."""
_CLOSEST = 50
"""Milliseconds between two checkpoints that are taken because sources get nothing more."""
_MANY = 20_000
"""Rows for which sources may wait before a checkpoint is taken ahead of its time."""


@dataclass(slots=True)
class Epoch:
    """What happened between two checkpoints: batches taken, results that sinks have to confirm."""

    covered: list[Receipt] = field(default_factory=list)
    identities: dict[str, list[int]] = field(default_factory=dict)
    rows: int = 0
    unconfirmed: int = 0
    settled: anyio.Event = field(default_factory=anyio.Event)
    is_over: bool = False

    def cover(self, arrival: Arrival, *, identities: bool) -> None:
        """Note a batch whose rows the state has now."""
        self.covered.append(arrival.receipt)
        self.rows += len(arrival)
        if identities and arrival.identities is not None:
            self.identities.setdefault(arrival.stream, []).extend(arrival.identities)

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


class KnownMessages:
    """By what sources know those messages in the state that they may deliver again.

    Those of earlier checkpoints are among them: their acknowledgements may not have reached the
    other side. That has them in the order in which they came last, so the last ones are kept.
    """

    def __init__(self, known: Mapping[str, Sequence[int]], repeats: Mapping[str, int]) -> None:
        """``known`` holds identities by input, ``repeats`` how many of them to keep."""
        self._known = {name: list(identities) for name, identities in known.items()}
        self._most = {name: max(repeats.get(name, 0), len(known[name])) for name in known}
        self._repeats = repeats

    def add(self, name: str, identities: Sequence[int]) -> None:
        """Take the identities of messages in the order in which they came."""
        most = self._most.get(name, self._repeats.get(name, 0))
        latest = dict.fromkeys([*reversed(identities), *reversed(self._known.get(name, ()))])
        self._known[name] = list(latest)[:most][::-1]

    def snapshot(self) -> dict[str, Sequence[int]]:
        return dict(self._known)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a checkpoint holds, of one instant."""

    plugins: StateSnapshot
    pipeline: Any
    positions: Mapping[str, Any]
    """By input, where its source goes on."""
    at: int
    known: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By input, the identities of messages that are in here and may come again."""


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
        streams: Mapping[str, str],
        failed: Callable[[str], None],
        start: Start,
        *,
        window: int | None,
        known: KnownMessages | None,
    ) -> None:
        """``interval`` is in milliseconds; ``streams`` are the names of the streams and tables that
        are read, by input; ``failed`` hears why a checkpoint couldn't be saved.

        ``start`` is the checkpoint that the rule goes on from.
        ``window`` is how many rows sources give before they wait for a checkpoint (None: any
        number). ``known`` starts with the messages in the last checkpoint; None: messages that come
        again are taken again.
        """
        self._many = _MANY if window is None else max(1, min(_MANY, window // 2))
        self._known = known
        self._rule_id = rule_id
        self._store = store
        self._state = state
        self._interval = interval
        self._clock = clock
        self._meta = {"query": fingerprint, "streams": dict(streams)}
        self._failed = failed
        self._start = start
        self._number = store.newest(rule_id)
        self._epoch = Epoch()
        self._last = clock.now()
        self._busy_at = self._last
        """When the rule has last had something to do that a source waits to hear of."""
        self._is_busy = False
        self._done = anyio.Event()
        self.on_completed: Callable[[], None] = _nothing
        """Called when ``next_due`` has another answer because a checkpoint has ended."""
        self._failures = 0
        """Checkpoints in a row that could not be saved, the last one for this reason:"""
        self._failure = ""
        self.taken = 0
        """Checkpoints of this run that are complete."""

    # -- what the rule does --------------------------------------------------------------------

    def cover(self, arrival: Arrival) -> None:
        """Note a batch that has been processed; its source hears of it after a checkpoint."""
        self._epoch.cover(arrival, identities=self._known is not None)
        self._busy_at = self._clock.now()

    def result(self) -> Receipt:
        """Return the receipt for results of the batches noted last."""
        return self._epoch.result()

    def next_due(self) -> int | None:
        """Return when the next checkpoint is due (epoch milliseconds), None if one is being taken.

        Where sources wait for one, that is soon after the rule has nothing else to do.
        """
        if self._is_busy:
            return None
        now = self._clock.now()
        self._last, self._busy_at = min(self._last, now), min(self._busy_at, now)  # if set back
        due = self._last + self._interval
        if self._epoch.rows >= self._many:
            return min(due, self._last + _CLOSEST)
        if self._epoch.covered:
            return min(due, max(self._busy_at, self._last) + _IDLE)
        return due

    def take(self, snapshot: Snapshot, tasks: TaskGroup) -> Start:
        """Begin a checkpoint; the rule goes on while it is being completed.

        Returns from where results are counted from now on.
        """
        epoch, self._epoch = self._epoch, Epoch()
        epoch.end()
        if self._known is not None:
            for name, identities in epoch.identities.items():
                self._known.add(name, identities)
            snapshot = replace(snapshot, known=self._known.snapshot())
        self._last = snapshot.at
        self._is_busy = True
        self._done = anyio.Event()
        self._number += 1
        name = f"rule[{self._rule_id}].checkpoint"
        tasks.start_soon(self._complete, snapshot, epoch, self._number, name=name)
        return self._start._replace(checkpoint=self._number, at=snapshot.at)

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
            self._note_failure(number, error)
            self._epoch.covered[:0] = epoch.covered  # the next one covers them
            self._epoch.rows += epoch.rows
            return
        finally:
            self._is_busy = False
            self._done.set()
            self.on_completed()
        self.taken += 1
        if self._failures:
            logger.warning(
                "rule=%s checkpoint %d is saved, after %d that failed",
                self._rule_id,
                number,
                self._failures,
            )
            self._failures, self._failure = 0, ""
        for receipt in epoch.covered:
            receipt.done()

    def _note_failure(self, number: int, error: EngineError) -> None:
        """Tell why a checkpoint could not be saved; in the log only if that is news."""
        text = str(error)
        self._failed(text)
        if text != self._failure:  # a full disk is not to be filled with words about it
            logger.error("rule=%s checkpoint %d failed: %s", self._rule_id, number, text)
        self._failures += 1
        self._failure = text

    def _write(self, snapshot: Snapshot, number: int) -> None:
        others: dict[str, bytes | None] = {
            PIPELINE: CODEC.encode(snapshot.pipeline),
            SOURCES: CODEC.encode([dict(snapshot.positions), dict(snapshot.known)]),
        }
        write_checkpoint(
            self._store, self._rule_id, number, snapshot.plugins, others, self._meta, at=snapshot.at
        )


def _nothing() -> None:
    """Nobody waits for the next checkpoint."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a rule goes on from."""

    start: Start
    """From where results are counted, if the sources repeat what came after it."""
    pipeline: Any = None
    """The state of the operators, None if there is none that fits the query."""
    at: int = 0
    """When it was saved, in epoch milliseconds; 0: there is none."""
    positions: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, Sequence[int]] = field(default_factory=dict)
    message: str = ""
    """Why some of it couldn't be used."""


def restore(
    rule_id: str,
    store: CheckpointStore,
    state: RuleState,
    fingerprint: str,
    streams: Mapping[str, str],
) -> Restored:
    """Bring back the plugin state of a rule; return the rest of its newest sound checkpoint.

    The state of a query that has changed is left out: nothing is put where it doesn't belong. How
    far a stream has been read still holds, whatever the query calls it; ``streams`` are the names
    of streams by what it calls them now.

    Raises:
        StoreFailed: the file can't be read.
    """
    loaded = store.load(rule_id)
    messages = [f"checkpoint {each.number} is damaged: {each.reason}" for each in loaded.skipped]
    found = loaded.checkpoint
    if found is None:
        state.restore({}, 0)  # in place: the functions of the rule have their scopes already
        state.store_anew()
        return Restored(Start(rule_id), message="; ".join(messages))
    positions, known = CODEC.decode(found.parts[SOURCES])
    before = _names_before(
        streams, found.meta.get("streams") or _unnamed(streams, [*positions, *known])
    )
    positions = {name: positions[old] for name, old in before.items() if old in positions}
    known = {name: known[old] for name, old in before.items() if old in known}
    start = Start(rule_id, found.number, found.at)
    has_changed = found.meta.get("query") != fingerprint
    # functions are told apart by their place in the query, which another query has for others
    parts = {
        name: data
        for name, data in found.parts.items()
        if not (has_changed and (scope_key(name) or ("", 0))[0].startswith("function["))
    }
    state.restore(parts, found.number)
    if has_changed:
        messages.append(
            "the query has changed since the last checkpoint, so its windows and functions "
            "begin anew"
        )
        return Restored(start, None, 0, positions, known, "; ".join(messages))
    pipeline = CODEC.decode(found.parts[PIPELINE])
    return Restored(start, pipeline, found.at, positions, known, "; ".join(messages))


def _names_before(streams: Mapping[str, str], old: Mapping[str, str]) -> dict[str, str]:
    """Return what inputs were called in the checkpoint; one that is of another stream isn't it."""
    found = {name: name for name, stream in streams.items() if old.get(name) == stream}
    for name, stream in streams.items():
        if name not in found:
            unclaimed = (each for each in old if old[each] == stream and each not in found.values())
            if (earlier := next(unclaimed, None)) is not None:
                found[name] = earlier
    return found


def _unnamed(streams: Mapping[str, str], saved: Iterable[str]) -> dict[str, str]:
    """Return the streams of a checkpoint that doesn't name them, as those of old engines.

    What isn't called as an input is now can only have been a stream by its own name.
    """
    return {name: streams.get(name, name) for name in saved}
