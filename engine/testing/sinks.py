"""What a sink must do, tried out as the engine will use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.api import CURRENT_USE, Batch, Config, Row, Token
from engine.config.rule import ActionDef
from engine.plugin.contract import Capability
from engine.registry import PluginKind
from engine.run.dynamic import dynamic_properties
from engine.run.messages import Composer, Outgoing
from engine.run.properties import Properties, SinkOptions
from engine.testing.stand import Problems, Stand, Trial

_ROWS: tuple[Row, ...] = ({"device": "a", "value": 1}, {"device": "b", "value": 2.5})


def check_sink(
    plugin: Any,
    root: Path | str = ".",
    properties: Mapping[str, Any] | None = None,
    *,
    rows: Sequence[Row] = _ROWS,
    received: Callable[[], Sequence[Any]] | None = None,
    wrong: Sequence[Mapping[str, Any]] = (),
    seconds: float = 5.0,
) -> None:
    """Check a sink against the contract.

    It is opened and closed, also without having been opened; given batches, an empty one among
    them for a sink of rows; stopped in each of its ``await``; opened again.

    Args:
        plugin: its name, for a plugin that a rule with this root finds, or the class itself.
        root: the folder with ``plugins/`` and ``etc/``.
        properties: those of an action; the other side must be reachable with them.
        rows: what it is given.
        received: returns all that has arrived at the other side, an item for each row; it must have
            grown by ``rows`` when ``collect`` returns, and not at all for a token seen before.
        wrong: properties that must be refused, one mapping for each case.
        seconds: how long any single thing may take.

    Raises:
        ContractBroken: something is wrong.
        PluginError: the plugin can't be loaded.
    """
    stand = Stand(PluginKind.SINK, plugin, root, Problems(), seconds=seconds)
    check = _SinkCheck(stand, dict(properties or {}), list(rows), received)
    stand.run(lambda: check.all(wrong))


class _Lost:
    """Takes note of rows that no message could be made of."""

    def lose(self, place: str, reason: str, message: str, indexes: Iterable[int]) -> None:
        raise AssertionError(f"{place}: {reason}: {message}")

    def keep(self, indexes: Sequence[int]) -> Sequence[int]:
        """There is no cache."""
        return indexes

    def confirm(self) -> None:
        """Nobody waits for it."""


class _SinkCheck:
    def __init__(
        self,
        stand: Stand,
        properties: Mapping[str, Any],
        rows: list[Row],
        received: Callable[[], Sequence[Any]] | None,
    ) -> None:
        self._stand = stand
        self._properties = {"sendSingle": True, **properties}
        self._rows = rows
        self._received = received

    async def all(self, wrong: Sequence[Mapping[str, Any]]) -> None:
        stand = self._stand
        stand.check_unknown(self._properties, self._configure)
        stand.check_wrong(wrong, self._configure)
        await stand.close(self._trial(), "without an open() before it")
        first, second = self._trial(), self._trial()
        stand.check_apart(first.instance, second.instance)
        before = len(stand.problems.found)
        await self._takes(first)
        if len(stand.problems.found) == before:
            await self._takes(first)  # the same instance, as after a lost connection
            stand.check_state(first)
            await self._recognises(second)
            await stand.stop_at_each_step("collect()", self._trial, self._opened_and_given)

    def _configure(self, properties: Mapping[str, Any]) -> Config:
        return self._configured(properties)[0]

    def _configured(self, properties: Mapping[str, Any]) -> tuple[Config, SinkOptions]:
        name = self._stand.plugin.name
        action = ActionDef(type=name, name=f"{name}_0", properties=dict(properties))
        return Properties(self._stand.root).for_sink(action, self._stand.plugin)

    def _trial(self) -> Trial:
        return self._stand.trial(self._configure(self._properties))

    def _batch(self, trial: Trial, rows: Sequence[Row]) -> Batch:
        """Return rows as the sink gets them from the engine."""
        config, options = self._configured(self._properties)
        composer = Composer(
            options,
            dynamic_properties(config, self._stand.clock),
            self._stand.clock,
            lambda claim, reason, error, places: claim.lose("sink", reason, str(error), places),
            takes_payloads=trial.instance.takes_payloads,
        )
        return composer.compose(Outgoing([dict(row) for row in rows], None, _Lost())).batch

    # -- the checks ----------------------------------------------------------------------------

    async def _takes(self, trial: Trial) -> None:
        stand = self._stand
        CURRENT_USE.set(trial.use)
        await stand.within("open()", trial.instance.open())
        before = self._count()
        batch = self._batch(trial, self._rows)
        outcome: Any = await stand.within("collect()", trial.instance.collect(batch))
        if outcome is not None:
            stand.problems.note(f"collect() returns {outcome!r}: to return is to have delivered")
        self._compare(before, len(self._rows), "when collect() has returned")
        if not trial.instance.takes_payloads:  # what an empty window gives; else it is a text
            empty = trial.instance.collect(Batch([], sizes=[0]))
            await stand.within("collect() of an empty batch", empty)
        await stand.close(trial, "after collect()")
        self._compare(before, len(self._rows), "after an empty batch and close()")

    async def _recognises(self, trial: Trial) -> None:
        """A sink that takes tokens drops what it has had."""
        if Capability.TOKEN not in self._stand.plugin.capabilities:
            return
        CURRENT_USE.set(trial.use)
        batch, token = self._batch(trial, self._rows), Token("check", 1, 0, "0")
        await self._stand.within("open()", trial.instance.open())
        before = self._count()
        for _ in range(2):
            collecting = trial.instance.collect(batch, token=token)
            await self._stand.within("collect()", collecting)
        self._compare(before, len(self._rows), "after the same batch came twice with one token")
        await self._stand.close(trial, "after collect()")

    async def _opened_and_given(self, trial: Trial) -> None:
        await trial.instance.open()
        await trial.instance.collect(self._batch(trial, self._rows))

    def _count(self) -> int:
        return 0 if self._received is None else len(self._received())

    def _compare(self, before: int, expected: int, when: str) -> None:
        if self._received is not None and (found := self._count() - before) != expected:
            self._stand.problems.note(f"{found} of {expected} rows have arrived {when}")
