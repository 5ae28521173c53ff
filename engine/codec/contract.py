"""What all formats have in common: the roles of decoder and encoder, and their failures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from engine.batch import Batch, Row
from engine.errors import RowError
from engine.layout import Frame
from engine.sql.ast import FieldDef

Failure = tuple[int, RowError]
"""The place of an item in its batch, and what is wrong with it."""

UNREADABLE = (ValueError, RecursionError)
"""What decoding raises for a message that isn't in the format."""
UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)
"""What encoding raises for a value that has no place in the format."""


class Decoder(Protocol):
    """Turns the batches of a source into rows of the stream's layout."""

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        """Return the rows of all good messages, and the failures of the others."""


class Encoder:
    """Turns results into messages, each by itself, in the format that ``encode`` writes."""

    def __init__(self, name: str, encode: Callable[[Any], bytes]) -> None:
        self.name = name
        self._encode = encode

    def encode(self, items: Sequence[Any]) -> list[bytes]:
        """Return one payload for each item: a row, a list of rows or any other value.

        Raises:
            TypeError, ValueError, OverflowError, RecursionError: some item can't be written; see
                ``encode_one_by_one``.
        """
        return list(map(self._encode, items))

    def encode_one_by_one(
        self, items: Sequence[Any]
    ) -> tuple[list[bytes], list[int], list[Failure]]:
        """Return the payloads of all items that can be written, their places, and the failures."""
        payloads: list[bytes] = []
        places: list[int] = []
        failures: list[Failure] = []
        for index, item in enumerate(items):
            try:
                payloads.append(self._encode(item))
                places.append(index)
            except UNWRITABLE as error:
                failures.append((index, RowError(f"can't be written as {self.name}: {error}")))
        return payloads, places, failures


class Message(Protocol):
    """A kind of message that a schema describes."""

    @property
    def columns(self) -> tuple[FieldDef, ...]:
        """What it holds, as far as the schema tells."""

    def reader(self, names: Collection[str] | None) -> Callable[[bytes], list[Row]]:
        """Return what gives the rows of a payload; columns that ``names`` lacks aren't needed.

        None means all. It raises ``ValueError`` for a payload that is no such message.
        """

    def encode(self, row: Row) -> bytes:
        """Return the message that a row is.

        Raises:
            ValueError, TypeError: it can't be one.
        """
