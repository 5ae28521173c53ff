"""What a source that several rules use says of its connection, told to each of them."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, bool, str], None]
"""Hears of a connection: operator, whether it is there, and why not."""


class Reports:
    """Passes on each report, and the last one to whoever begins to listen."""

    def __init__(self) -> None:
        self._listeners: list[Report] = []
        self._last: tuple[str, bool, str] | None = None

    def __call__(self, operator: str, connected: bool, message: str) -> None:
        """Take a report."""
        self._last = operator, connected, message
        for listener in list(self._listeners):
            listener(*self._last)

    def attach(self, listener: Report) -> None:
        """Tell somebody of the connection as it is, if that is known, and of each change."""
        self._listeners.append(listener)
        if self._last is not None:
            listener(*self._last)

    def detach(self, listener: Report) -> None:
        """Forget somebody who listens."""
        self._listeners.remove(listener)
