"""Who still has to confirm a batch before its source may forget it."""

from __future__ import annotations

from collections.abc import Callable


class Receipt:
    """Calls ``acknowledge`` once all holders are done with a batch."""

    __slots__ = ("_acknowledge", "_holders")

    def __init__(self, acknowledge: Callable[[], None] | None, holders: int) -> None:
        self._acknowledge = acknowledge
        self._holders = holders
        if holders == 0:
            self._finish()

    @property
    def is_done(self) -> bool:
        """Whether all holders are done with the batch."""
        return self._holders <= 0

    def done(self) -> None:
        """One holder needs the batch no longer."""
        self._holders -= 1
        if self._holders == 0:
            self._finish()

    def _finish(self) -> None:
        acknowledge, self._acknowledge = self._acknowledge, None
        if acknowledge is not None:
            acknowledge()
