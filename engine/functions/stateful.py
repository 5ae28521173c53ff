"""What functions over several rows are made of: accumulators and trackers.

Both are pure and synchronous: rows are passed in one by one, nothing reads a clock, and what they
remember can be taken out as a value and put back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from engine.errors import RowError
from engine.sql.kinds import kind_of


class Accumulator(ABC):
    """What an aggregate remembers of the rows of one group.

    An accumulator that can also take the oldest row back has a method ``remove``, called with the
    arguments with which that row was added; its result is then the same as without the row.
    """

    __slots__ = ()

    inline: ClassVar[InlineAggregate | None] = None
    """The same in generated code, where that is offered."""
    is_compact: ClassVar[bool] = False
    """Whether it takes the same space for any number of rows."""

    @abstractmethod
    def add(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of the next row, nulls included.

        It never raises for arguments of the declared kinds.

        Raises:
            RowError: an argument is of another kind; nothing has changed.
        """

    @abstractmethod
    def merge(self, newer: Self) -> Self:
        """Return a new one with all rows of this and then all of ``newer``; both stay as they are.

        The result is the same as if the rows had been added one by one.
        """

    @abstractmethod
    def result(self) -> Any:
        """Return the value of the aggregate, which later rows don't change.

        Raises:
            RowError: there is none for these rows.
        """

    @abstractmethod
    def snapshot(self) -> Any:
        """Return all that is remembered as a value for msgpack, which later rows don't change."""

    @abstractmethod
    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""


class Tracker(ABC):
    """What an analytic function remembers of the rows of one partition."""

    __slots__ = ()

    @abstractmethod
    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Return the function's value for the next row.

        The only keyword argument is ``valid``: a row whose WHEN condition isn't true gets a value,
        but isn't remembered.

        Raises:
            RowError: an argument is of a wrong kind; nothing has changed.
        """

    @abstractmethod
    def snapshot(self) -> Any:
        """Return all that is remembered as a value for msgpack, which later rows don't change."""

    @abstractmethod
    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""


@dataclass(frozen=True, slots=True)
class InlineAggregate:
    """An aggregate as Python text that works on places of a list, its slots, with equal results.

    ``initial`` are expressions for the slots of a new group. ``number`` are statements for an
    argument that is an int or a float, ``other`` for any other one but null, which changes nothing.
    ``result`` is an expression; it may raise ``RowError``. ``merge`` is an expression for the slots
    of both groups, which it leaves as they are.

    In them ``{0}``, ``{1}`` … stand for the slots, such as ``g[3]``, ``{newer0}`` … for those of
    the group with the newer rows, ``{value}`` for the argument, other names for ``names``.
    """

    initial: tuple[str, ...]
    number: str
    other: str
    result: str
    merge: str
    names: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def text(
        template: str,
        slots: Sequence[str],
        *,
        value: str = "",
        newer: Sequence[str] = (),
        **names: str,
    ) -> str:
        """Return one of the texts, for the places of the slots and the names of the constants."""
        places = {f"newer{index}": place for index, place in enumerate(newer)}
        return template.format(*slots, value=value, **places, **names)


def wrong_kind(function: str, argument: str, wanted: str, value: Any) -> RowError:
    """Return the error of an argument of a wrong kind."""
    return RowError(f"{function}: {argument} must be {wanted}, not {kind_of(value)}")


def packed(value: float | None) -> float | str | None:
    """Return an integer of any size as a value for msgpack, whose integers have 64 bits.

    Floats and null stay as they are.
    """
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        return f"{value:x}"
    return value


def unpacked(value: Any) -> Any:
    """Return what was packed."""
    return int(value, 16) if isinstance(value, str) else value
