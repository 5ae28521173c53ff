"""What a rule gives up goes to one more sink, with the evidence, if the rule names one.

A letter is a row: ``rule``, ``operator``, ``error``, ``attempts``, ``at`` (epoch milliseconds), and
what it was about: ``payload`` as text or, with ``encoding: base64``, as bytes; or ``row``. Where a
topic is known there is ``topic``: that on which it came, or that to which it was to go.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from engine.batch import Batch, Row
from engine.clock import Clock
from engine.config.rule import ActionDef, RuleDef
from engine.errors import ConfigError, RowError
from engine.run.messages import Outgoing
from engine.run.metrics import OperatorMetrics
from engine.run.sink import SinkRunner
from engine.run.source import Arrival

logger = logging.getLogger(__name__)

NAME = "deadLetter"
_LONGEST = 10_000
"""Characters that are kept of a value that JSON can't hold."""


def dead_letter_action(definition: RuleDef) -> ActionDef | None:
    """Return the sink of a rule's dead letters, None if it has none.

    Each letter is a message of its own unless ``sendSingle`` says otherwise.

    Raises:
        ConfigError: there are several, or late rows are to go to one and there is none.
    """
    given = definition.options.dead_letter
    places = definition.where.below("options", "deadLetter")
    if definition.options.late == "deadLetter" and not given:
        raise ConfigError(
            f"rule {definition.id}: late: deadLetter, but no sink for dead letters",
            at=definition.where.below("options").of("late"),
            hint="name one: options: {deadLetter: {mqtt: {server: …, topic: …}}}",
        )
    if len(given) > 1:
        raise ConfigError(
            f"rule {definition.id}: deadLetter is one sink, found {', '.join(given)}",
            at=places.of(),
        )
    for kind, properties in given.items():
        return ActionDef(
            type=kind,
            name=NAME,
            properties={"sendSingle": True, **(properties or {})},
            at=places.of_key(kind),
            where=places.below(kind),
        )
    return None


class LostLetters:
    """What becomes of letters that can't be delivered: they get no letters, but are told of.

    The sink of the letters counts them as its exceptions; the log tells when that begins.
    """

    def __init__(self, rule_id: str) -> None:
        self._rule_id = rule_id
        self._is_told = False

    def refused(
        self, operator: str, error: str, batch: Batch, indexes: Sequence[int], attempts: int
    ) -> None:
        """Tell of letters that their sink refused."""
        self._tell(operator, error)

    def unmade(self, operator: str, error: str, rows: Sequence[Row]) -> None:
        """Tell of letters that no message could be made of."""
        self._tell(operator, error)

    def done(self) -> None:
        """The sink has ended; `DeadLetters` says how many were lost."""

    def _tell(self, operator: str, error: str) -> None:
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "rule=%s %s: dead letters are lost and counted: %s", self._rule_id, operator, error
            )


class DeadLetters:
    """The dead letters of one run of a rule, and the sink that they go to.

    They never hold up the rule: what the queue of their sink can't take is counted as an exception
    of that sink, and so is what the sink refuses, or hasn't taken when the rule ends. The log tells
    when that begins, and at the end how many there were.
    """

    def __init__(self, rule_id: str, sink: SinkRunner, clock: Clock, writers: int) -> None:
        """``writers`` is how many must be `done` before the sink ends."""
        self.sink = sink
        self._rule_id = rule_id
        self._clock = clock
        self._writers = writers
        self._has_dropped = False
        self._unsettled = 0
        """Letters that the sink may still deliver."""

    @property
    def metrics(self) -> OperatorMetrics:
        """The counts of the sink."""
        return self.sink.metrics

    async def run(self) -> None:
        """Deliver letters until nobody writes any more."""
        try:
            await self.sink.run(_nothing)
        finally:
            self._tell_of_lost()

    def done(self) -> None:
        """One of those who write letters has ended."""
        self._writers -= 1
        if self._writers == 0:
            self.sink.flow.close()

    def settle(self, letters: int) -> None:
        """The sink is done with letters, whatever has become of them."""
        self._unsettled -= letters

    def _tell_of_lost(self) -> None:
        metrics = self.metrics
        if self._unsettled:
            metrics.failed("not delivered before the end", self._unsettled, self._clock.now())
        if metrics.exceptions:
            logger.warning(
                "rule=%s dead letters lost: %d, at last: %s",
                self._rule_id,
                metrics.exceptions,
                metrics.last_exception,
            )

    # -- who writes ----------------------------------------------------------------------------

    def undecodable(self, arrival: Arrival) -> None:
        """Take the messages of a batch that gave no row.

        What the source itself found malformed is no message of the batch: there is its error only.
        """
        batch = arrival.batch
        if batch is None:
            return
        topics, size = batch.meta.column("topic"), len(batch)
        self._post(
            {
                **self._head("decode", error.message, topic=topics[index]),
                **_content(batch, index),
            }
            if index < size
            else self._head("decode", error.message)
            for index, error in arrival.failures
        )

    def failed(self, errors: Iterable[RowError]) -> None:
        """Take rows that the query had errors with."""
        self._post(
            {**self._head("query", error.message), **_row(_plain(error.row))} for error in errors
        )

    def late(self, rows: Iterable[Row]) -> None:
        """Take rows that came after their time."""
        self._post({**self._head("query", "late"), **_row(row)} for row in rows)

    def refused(
        self, operator: str, error: str, batch: Batch, indexes: Sequence[int], attempts: int
    ) -> None:
        """Take messages that a sink refused."""
        topics = batch.meta.column("topic")
        self._post(
            {
                **self._head(operator, error, topic=topics[index], attempts=attempts),
                **_content(batch, index),
            }
            for index in indexes
        )

    def unmade(self, operator: str, error: str, rows: Sequence[Row]) -> None:
        """Take rows that no message could be made of."""
        self._post({**self._head(operator, error), **_row(row)} for row in rows)

    # -- how -----------------------------------------------------------------------------------

    def _head(
        self, operator: str, error: str, *, topic: object = None, attempts: int = 1
    ) -> dict[str, Any]:
        head: dict[str, Any] = {"rule": self._rule_id, "operator": operator, "error": error}
        if topic is not None:
            head["topic"] = topic
        return {**head, "attempts": attempts, "at": self._clock.now()}

    def _post(self, letters: Iterable[Row]) -> None:
        rows = list(letters)
        flow = self.sink.flow
        room = max(0, self.sink.options.buffer_length - flow.rows)
        if len(rows) > room:
            self._drop(len(rows) - room)
            rows = rows[:room]
        if rows and not flow.closed.is_set():
            self._unsettled += len(rows)
            flow.put_anyway(Outgoing(rows, None, _LettersClaim(self, len(rows))))

    def _drop(self, letters: int) -> None:
        if not self._has_dropped:
            logger.warning(
                "rule=%s dead letters come faster than %s takes them: some are dropped and counted",
                self._rule_id,
                self.sink.name,
            )
        self._has_dropped = True
        self.metrics.failed("buffer full, letters dropped", letters, self._clock.now())


class _LettersClaim:
    """Letters are no rows of the rule: what becomes of them is in the counts of their sink."""

    def __init__(self, letters: DeadLetters, rows: int) -> None:
        self._letters = letters
        self._rows = rows

    def lose(self, place: str, reason: str, message: str, indexes: Iterable[int]) -> None:
        """Their sink has counted them."""
        lost = len(list(indexes))
        self._rows -= lost
        self._letters.settle(lost)

    def keep(self, indexes: Sequence[int]) -> Sequence[int]:
        """Nobody's rows are in its cache."""
        return ()

    def confirm(self) -> None:
        """The sink has the others, or its cache has."""
        self._letters.settle(self._rows)
        self._rows = 0


def _content(batch: Batch, index: int) -> dict[str, Any]:
    """Return a message of a batch as part of a letter."""
    if batch.payloads is None:
        return _row((batch.rows or [])[index])
    payload = batch.payloads[index]
    try:
        return {"payload": payload.decode()}
    except UnicodeError:
        return {"payload": base64.b64encode(payload).decode(), "encoding": "base64"}


def _row(row: object) -> dict[str, Any]:
    """Return a row as part of a letter, as text where JSON can't hold it; None: nothing."""
    if row is None:
        return {}
    try:
        _encode(row)
    except (TypeError, ValueError, OverflowError, RecursionError):
        text = repr(row)
        return {"row": text if len(text) <= _LONGEST else text[:_LONGEST] + "…"}
    return {"row": row}


_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def _plain(row: object) -> object:
    """Return a row as the query reads it as a dict, a joined one as a list of them."""
    if isinstance(row, msgspec.Struct):
        slots = zip(row.__struct_fields__, row.__struct_encode_fields__, strict=True)
        values = ((name, getattr(row, slot)) for slot, name in slots)
        return {name: value for name, value in values if value is not msgspec.UNSET}
    if isinstance(row, tuple):
        return [_plain(part) for part in row]
    return row


def _nothing() -> None:
    """Whether the sink is open is not what a rule waits for."""
