"""Long lists in snapshots: taken in an instant, made into values while the rule goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload


class Frozen(Sequence[Any]):
    """A list of values that are made each time they are read, best one after the other.

    They are those of the instant at which it was taken, whatever has happened since. Reading may
    be in another thread than what happens. It is stored as a list.
    """

    def __init__(self, length: int, values: Callable[[], Iterator[Any]]) -> None:
        """``values`` gives ``length`` values, the same ones whenever it is called."""
        self._length = length
        self._values = values

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return self._values()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, list | Frozen) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal ones need not be the same for good
