"""Windows by a clock that may be set back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from engine.ops.pane import Pane
from engine.ops.windows.operator import Arrivals, Timing, WindowOperator

S = TypeVar("S")
R = TypeVar("R")


class SettableWindow(Generic[S, R]):
    """A window in processing time; see ``WindowOperator``.

    If nothing were done when the clock is set back by an hour, the open window would end in an
    hour.
    """

    def __init__(
        self, make: Callable[[Timing], WindowOperator[S, R]], timing: Timing, longest: int
    ) -> None:
        """``longest`` is how long (ms) a row can be in some window."""
        self._make = make
        self._timing = timing
        self._longest = longest
        self._window = make(timing)

    def add(self, arrivals: Arrivals[R]) -> list[Pane[S]]:
        return self._window.add(arrivals)

    def tick(self, now: int) -> list[Pane[S]]:
        return self._window.tick(now)

    def next_deadline(self) -> int | None:
        return self._window.next_deadline()

    def snapshot(self) -> Any:
        return self._window.snapshot()

    def restore(self, value: Any) -> None:
        self._window.restore(value)

    def set_back(self, before: int, now: int) -> list[Pane[S]]:
        """Begin anew at ``now``; return the panes of what was open at ``before``."""
        panes = self._window.tick(before + self._longest)
        self._window = self._make(replace(self._timing, opened_at=now))
        return [pane for pane in panes if not pane.is_empty]


def set_back(window: WindowOperator[S, R] | None, before: int, now: int) -> list[Pane[S]]:
    """Tell any window that the clock was set back; for many that means nothing."""
    return window.set_back(before, now) if isinstance(window, SettableWindow) else []
