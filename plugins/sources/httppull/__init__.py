# /// script
# dependencies = ["httpx>=0.27,<1"]
# ///
"""Ask an HTTP server: again and again for a stream, once for each key for a lookup table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.api import (
    Batch,
    ConfigError,
    Emit,
    LookupSource,
    NotConnected,
    Offset,
    Row,
    RowError,
    Source,
)
from engine.lookup.match import matching

from .asking import Question
from .options import HttppullConfig

_ALL = "replies"
"""The one partition."""


class Memory(msgspec.Struct):
    """What a stream remembers of the replies so far."""

    states: dict[str, Any]
    digest: str = ""
    """Of the last reply, by which the same one is known again."""


class Httppull(Source[HttppullConfig], LookupSource[HttppullConfig]):
    """The reply is a JSON object or a list of them, each of which is a row.

    A stream asks at once and then after each interval; a failure is counted, and the next time it
    asks again. A rule with QoS 1 or 2 goes on with the states that belong to its last checkpoint.

    A lookup table takes the rows that have the right keys. Keys that the request names are the
    server's business and aren't compared again; 404 then means that there is no row.
    """

    _question: Question | None = None
    _number = 0
    """How many replies have been taken."""
    _memory: Memory | None = None

    def validate(self) -> None:
        self.config.check_tls(self.ctx.root_path)
        Question(self.config, self.ctx)

    async def open(self) -> None:
        self._question = Question(self.config, self.ctx)
        await self._question.open()

    async def close(self) -> None:
        question, self._question = self._question, None
        if question is not None:
            await question.close()

    # -- stream --------------------------------------------------------------------------------

    def position(self) -> Mapping[str, Offset]:
        if self._memory is None:
            return {}
        # the number comes first, for later positions have to be greater
        return {_ALL: f"{self._number:020} {msgspec.json.encode(self._memory).decode()}"}

    async def seek(self, offsets: Mapping[str, Offset]) -> None:
        number, _, text = str(offsets[_ALL]).partition(" ")
        try:
            self._number = int(number)
            self._memory = msgspec.json.decode(text, type=Memory)
        except (ValueError, msgspec.MsgspecError):
            raise ConfigError(f"{offsets[_ALL]!r} is no position of an httppull stream") from None

    async def run(self, emit: Emit) -> None:
        assert self._question is not None, "it is open"
        await self._question.check()
        clock = self.ctx.clock
        interval = max(1, int(self.config.interval * 1000))
        if self._memory is None:
            self._memory = Memory(dict(self.config.states))
        due = clock.now()
        while True:
            batch = await self._pull(self._memory)
            if batch is not None:
                await emit(batch)
            due = max(due + interval, clock.now())
            await clock.sleep_until(due)

    async def _pull(self, memory: Memory) -> Batch | None:
        """Return what a reply gives, None if that is nothing."""
        assert self._question is not None, "it is open"
        try:
            reply = await self._question.ask(memory.states)
            self.ctx.report_connection(True)
            rows = self._question.rows(reply)
        except NotConnected as error:
            self.ctx.report_connection(False, error.message)
            return Batch([], failures=[RowError(error.message, hint=error.hint, kind=error.kind)])
        except RowError as error:
            return Batch([], failures=[error])
        digest = ""
        if self.config.incremental:
            digest = hashlib.blake2b(reply.content, digest_size=16).hexdigest()
            if digest == memory.digest:
                return None
        if not rows:
            return None
        states = {
            name: next((row[name] for row in reversed(rows) if name in row), value)
            for name, value in memory.states.items()
        }
        self._number += 1
        memory.states, memory.digest = states, digest
        return Batch(rows)

    # -- lookup table --------------------------------------------------------------------------

    async def lookup(
        self, fields: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[Row]:
        assert self._question is not None, "it is open"
        names = self._question.names
        asked = dict(zip(keys, values, strict=True))
        reply = await self._question.ask(asked)
        if reply.status == 404 and names.intersection(keys):
            return []
        rows = self._question.rows(reply)
        others = [key for key in keys if key not in names]
        return matching(rows, others, [asked[key] for key in others]) if others else rows
