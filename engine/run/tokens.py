"""Names for the batches that a sink gets, by which it can tell one that it has had already."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, Self
from uuid import uuid4

import msgspec

from engine.api import Token
from engine.batch import Batch
from engine.state.codec import CODEC
from engine.state.errors import Unstorable

_BYTES = 16

_pack = msgspec.msgpack.Encoder().encode


class Start(NamedTuple):
    """From where the results of a rule are counted: a checkpoint, or the start of this run."""

    rule_id: str
    checkpoint: int = 0
    at: int = 0
    """When the checkpoint was taken, as the number of one that was never completed comes again."""
    run: str = ""
    """This run of the rule, if the next one gives other results: its sources don't repeat all."""

    @classmethod
    def of_run(cls, rule_id: str, checkpoint: int = 0) -> Self:
        """Return a start whose results will never come again."""
        return cls(rule_id, checkpoint, run=uuid4().hex)


class Tokens:
    """The tokens of one sink.

    A token holds a checksum over all messages since the start. So no batch gets that of another
    one, even if the rule does things in another order when it repeats them: a sink that drops what
    it has had never drops anything else.
    """

    def __init__(self, operator: str, properties: Sequence[str]) -> None:
        """``properties`` are those that are computed for each message."""
        self._operator = operator
        self._properties = properties
        self._start: Start | None = None
        self._number = 0
        self._check = b""

    def next(self, batch: Batch, start: Start) -> Token:
        """Return the token of the next batch, made of results since ``start``."""
        if start != self._start:
            self._start, self._number = start, 0
            self._check = _hash(_pack((self._operator, start)))
        self._check = _hash(self._check + self._content(batch))
        number, self._number = self._number, self._number + 1
        return Token(start.rule_id, start.checkpoint, number, self._check.hex())

    def _content(self, batch: Batch) -> bytes:
        """Return a batch as bytes that differ if anything in it does."""
        properties = [batch.meta.column(name) for name in self._properties]
        if batch.payloads is not None:
            return _pack((batch.payloads, properties))
        try:
            return CODEC.encode([batch.rows, list(batch.sizes or ()), properties])
        except Unstorable:  # it can't be told from others, so no other one gets its token
            return uuid4().bytes


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=_BYTES).digest()
