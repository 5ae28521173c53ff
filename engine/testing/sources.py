"""What a source must do, tried out as the engine will use it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.api import CURRENT_USE, Batch, Config, EndOfStream, Row
from engine.catalog import resolve
from engine.config.positions import NOWHERE
from engine.config.streams import streams_from
from engine.registry import PluginKind
from engine.run.properties import Properties
from engine.state.scope import StateScope
from engine.testing.offsets import check_offsets
from engine.testing.stand import Problems, Stand, Trial

_HELD = 0.05
"""Seconds for which the first batch is held up, to see whether the source waits."""


@dataclass
class SeenSource:
    """What a source gave while it was checked, for further assertions."""

    rows: list[Row] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    meta: list[dict[str, Any]] = field(default_factory=list)
    """The metadata of each of them."""

    def __len__(self) -> int:
        return len(self.rows) + len(self.payloads)


def check_source(
    plugin: Any,
    root: Path | str = ".",
    properties: Mapping[str, Any] | None = None,
    *,
    rows: int = 1,
    wrong: Sequence[Mapping[str, Any]] = (),
    seconds: float = 5.0,
) -> SeenSource:
    """Check a source against the contract; return the first ``rows`` rows that it gave.

    It is opened and closed, also without having been opened; held up, to see that it waits; stopped
    in each of its ``await``; opened again, as after a lost connection; with ``position`` and
    ``seek`` asked to repeat what it gave. Waiting for the context's clock takes no time.

    Args:
        plugin: its name, for a plugin that a rule with this root finds, or the class itself.
        root: the folder with ``plugins/`` and ``etc/``.
        properties: those of a stream; the other side must be reachable with them.
        rows: how many rows or payloads to wait for.
        wrong: properties that must be refused, one mapping for each case.
        seconds: how long any single thing may take.

    Raises:
        ContractBroken: something is wrong.
        PluginError: the plugin can't be loaded.
    """
    stand = Stand(PluginKind.SOURCE, plugin, root, Problems(), seconds=seconds)
    check = _SourceCheck(stand, dict(properties or {}), rows)
    stand.run(lambda: check.all(wrong))
    return check.seen


class _Enough(Exception):
    """Ends a run that has given what was wanted."""


class _SourceCheck:
    def __init__(self, stand: Stand, properties: Mapping[str, Any], wanted: int) -> None:
        self.seen = SeenSource()
        self._stand = stand
        self._properties = properties
        self._wanted = wanted

    async def all(self, wrong: Sequence[Mapping[str, Any]]) -> None:
        stand = self._stand
        stand.check_unknown(self._properties, self._configure)
        stand.check_wrong(wrong, self._configure)
        await stand.close(self._trial(), "without an open() before it")
        first, second = self._trial(), self._trial()
        stand.check_apart(first.instance, second.instance)
        if await self._gives(first, self.seen):
            await self._opens_again(first)
            stand.check_state(first)
            await self._waits(second)
            await stand.stop_at_each_step("run()", self._trial, self._opened_and_run)
            await self._repeats()

    def _configure(self, properties: Mapping[str, Any]) -> Config:
        section = {"check": {**properties, "type": self._stand.plugin.name}}
        (definition,) = streams_from(section, "stream", NOWHERE)
        return Properties(self._stand.root).for_source(resolve(definition), self._stand.plugin)

    def _trial(self, state: StateScope | None = None) -> Trial:
        return self._stand.trial(self._configure(self._properties), state)

    # -- the checks ----------------------------------------------------------------------------

    async def _gives(self, trial: Trial, seen: SeenSource, *, more: int = 0) -> bool:
        """Open, run until there is enough, close; tell whether it worked."""
        stand = self._stand
        CURRENT_USE.set(trial.use)
        before = len(stand.problems.found)
        wanted = len(seen) + (more or self._wanted)
        emitted = 0

        def emit(batch: Batch) -> Any:
            nonlocal emitted
            emitted += 1
            return take(batch)

        async def take(batch: Batch) -> None:
            self._look_at(batch, seen)
            if len(seen) >= wanted:
                raise _Enough

        async def work() -> None:
            await trial.instance.open()
            await trial.instance.run(emit)

        await stand.within("open() and run()", _ignoring_enough(work()))
        await stand.close(trial, "after run()")
        if emitted and not len(seen):
            stand.problems.note("emit(batch) is called, but not awaited: write await emit(batch)")
        elif len(seen) < wanted:
            stand.problems.note(f"it gave {len(seen)} of {wanted} rows")
        return len(stand.problems.found) == before

    def _look_at(self, batch: Any, seen: SeenSource) -> None:
        note = self._stand.problems.note
        if not isinstance(batch, Batch):
            note(f"emit() gets a {type(batch).__name__}, not a Batch")
            raise _Enough
        for row in batch.rows or ():
            if not (isinstance(row, dict) and all(isinstance(key, str) for key in row)):
                note(f"a row is {row!r}, no dict with texts as keys")
        for payload in batch.payloads or ():
            if not isinstance(payload, (bytes, bytearray, memoryview)):
                note(f"a payload is a {type(payload).__name__}, not bytes")
        seen.rows += batch.rows or []
        seen.payloads += batch.payloads or []
        try:
            seen.meta += [batch.meta.row(index) for index in range(len(batch))]
        except Exception as error:
            note(f"the metadata has no row for each message: {type(error).__name__}: {error}")

    async def _opens_again(self, trial: Trial) -> None:
        """After a lost connection the same instance is opened once more."""
        before = len(self._stand.problems.found)
        await self._gives(trial, SeenSource(), more=1)
        found = self._stand.problems.found
        found[before:] = [f"opened a second time: {problem}" for problem in found[before:]]

    async def _waits(self, trial: Trial) -> None:
        """While one batch is held up, no other may come."""
        inside = most = 0
        arrived, gate = asyncio.Event(), asyncio.Event()

        async def emit(batch: Batch) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            arrived.set()
            try:
                await gate.wait()
            finally:
                inside -= 1
            raise _Enough

        CURRENT_USE.set(trial.use)
        await self._stand.within("open()", trial.instance.open())
        task = asyncio.ensure_future(_ignoring_enough(trial.instance.run(emit)))
        await self._stand.within("the first batch", arrived.wait())
        await asyncio.sleep(_HELD)
        if most > 1:
            self._stand.problems.note("it emits while an emit before hasn't returned: await each")
        await check_offsets(self._stand, trial)
        gate.set()
        await asyncio.wait({task}, timeout=self._stand.seconds)
        task.cancel()
        await asyncio.wait({task}, timeout=self._stand.seconds)
        await self._stand.close(trial, "after run()")

    async def _opened_and_run(self, trial: Trial) -> None:
        async def emit(batch: Batch) -> None:
            await asyncio.sleep(0)

        await trial.instance.open()
        await trial.instance.run(emit)

    async def _repeats(self) -> None:
        """A source that can begin anywhere gives the same again from where a batch has ended."""
        trial = self._trial()
        if getattr(trial.instance, "position", None) is None or self._wanted < 2:
            return
        batches: list[tuple[SeenSource, Mapping[str, Any]]] = []

        async def note(batch: Batch) -> None:
            seen = SeenSource()
            self._look_at(batch, seen)
            batches.append((seen, dict(trial.instance.position())))
            if len(batches) >= 2:
                raise _Enough

        CURRENT_USE.set(trial.use)
        await self._stand.within("open()", trial.instance.open())
        await self._stand.within("run()", _ignoring_enough(trial.instance.run(note)))
        await self._stand.close(trial, "after run()")
        if len(batches) < 2:
            return
        (_, position), (expected, _) = batches[:2]
        trial, again = self._trial(), SeenSource()

        async def take(batch: Batch) -> None:
            self._look_at(batch, again)
            raise _Enough

        CURRENT_USE.set(trial.use)
        await self._stand.within("open()", trial.instance.open())
        await self._stand.within("seek()", trial.instance.seek(position))
        await self._stand.within("run()", _ignoring_enough(trial.instance.run(take)))
        await self._stand.close(trial, "after run()")
        if (again.rows, again.payloads) != (expected.rows, expected.payloads):
            self._stand.problems.note(
                f"after seek({position!r}) it doesn't go on behind the batch of that position()"
            )


async def _ignoring_enough(work: Any) -> None:
    try:
        await work
    except (_Enough, EndOfStream):
        return
