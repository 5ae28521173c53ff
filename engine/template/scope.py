"""What a template works with while it is compiled (names) and while it runs (values)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.errors import RowError
from engine.template.values import LARGEST

MOST_WORK = 1_000_000
"""Turns of loops and calls of functions in one run; long texts count more."""


class Names:
    """The variables that are known at a place of the template, and their slots."""

    def __init__(self) -> None:
        self.most = 0
        self._slots: list[str] = []

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Forget on leaving what was declared inside."""
        known = len(self._slots)
        try:
            yield
        finally:
            del self._slots[known:]

    def declare(self, name: str) -> int:
        """Return the slot of a new variable, which hides one of the same name."""
        self._slots.append(name)
        self.most = max(self.most, len(self._slots))
        return len(self._slots) - 1

    def find(self, name: str) -> int | None:
        """Return the slot of a variable, None if it isn't known here."""
        for slot in range(len(self._slots) - 1, -1, -1):
            if self._slots[slot] == name:
                return slot
        return None

    def known(self) -> list[str]:
        """Return the names of all variables that are known here."""
        return self._slots


class State:
    """One run: the input, the dot, the variables and what has been written."""

    __slots__ = ("_parts", "_room", "_work", "dot", "root", "slots")

    def __init__(self, root: Any, slots: int) -> None:
        self.root = root
        self.dot = root
        self.slots: list[Any] = [None] * slots
        self._parts: list[str] = []
        self._room = LARGEST
        self._work = MOST_WORK

    def write(self, text: str) -> None:
        """Add to the output; ``RowError`` once it is too long."""
        self._parts.append(text)
        self._room -= len(text)
        if self._room < 0:
            raise RowError(f"template: the output has more than {LARGEST} characters")

    def spend(self, work: int) -> None:
        """Note work done; ``RowError`` once it is too much."""
        self._work -= work
        if self._work < 0:
            raise RowError("template: it takes too many steps")

    @property
    def output(self) -> str:
        """All that was written."""
        return "".join(self._parts)
