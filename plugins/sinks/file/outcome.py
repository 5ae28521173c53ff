"""What becomes of the messages of a batch."""

from __future__ import annotations

from collections.abc import Container, Sequence

from engine.api import NotConnected, Rejected


class Writing:
    """The messages of a batch for one file that haven't been written yet."""

    def __init__(self, places: Sequence[int], payloads: list[bytes]) -> None:
        self.left = places
        """Their places in the batch."""
        self.payloads = payloads

    def done(self, count: int) -> None:
        """The next so many are written."""
        self.left, self.payloads = self.left[count:], self.payloads[count:]

    def drop(self, indexes: Container[int]) -> None:
        """Some will never be written."""
        kept = [index for index in range(len(self.payloads)) if index not in indexes]
        self.left = [self.left[index] for index in kept]
        self.payloads = [self.payloads[index] for index in kept]


class Outcome:
    """What has become of a batch: what has to wait, and what will never be in a file."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._refused: dict[int, str] = {}
        self._troubles: dict[str, None] = {}

    def wait(self, reason: str, places: Sequence[int]) -> None:
        """Note messages to be offered again."""
        self._waiting += places
        self._troubles[reason] = None

    def refuse(self, reason: str, places: Sequence[int]) -> None:
        """Note messages to be given up."""
        self._refused.update(dict.fromkeys(places, reason))

    def check(self) -> None:
        """Tell the engine.

        What is refused is offered again with what has to wait, to be refused then.

        Raises:
            NotConnected: something has to wait.
            Rejected: nothing has, but something was refused.
        """
        if self._waiting:
            left = sorted([*self._waiting, *self._refused])
            raise NotConnected("; ".join(self._troubles), indexes=left)
        if self._refused:
            raise Rejected.each(self._refused)
