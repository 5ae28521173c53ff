"""Sending what sinks gather where sources wait for it and so can't give the rest."""

from __future__ import annotations

from collections.abc import Sequence

from engine.clock import Clock
from engine.run.sink import SinkRunner
from engine.run.source import StreamReader

_SILENCE = 50
"""Milliseconds without anything new after which a source that may be held up is taken to be."""


class Relief:
    """Keeps ``batchSize`` from waiting for rows that can't come.

    A broker stops sending while it has too many messages unacknowledged, and a message is
    acknowledged when its rows have been sent. Where those wait for others, neither would go on.
    """

    def __init__(
        self, readers: Sequence[StreamReader], sinks: Sequence[SinkRunner], clock: Clock
    ) -> None:
        """``sinks`` are those that gather rows."""
        self._readers = readers
        self._sinks = sinks
        self._clock = clock
        self.due: int | None = None
        """When to look again at the latest (epoch milliseconds), None: when something has come."""

    def look(self, *, has_come: bool) -> None:
        """Send what is gathered if sources are held up and have been silent for a moment.

        ``has_come`` says that something new has just come.
        """
        if not any(reader.is_held_up for reader in self._readers):
            self.due = None
            return
        now = self._clock.now()
        if has_come or (self.due is not None and self.due > now + _SILENCE):  # clock was set back
            self.due = now + _SILENCE
        elif self.due is not None and self.due <= now:
            self.due = None
            self.flush()

    def flush(self) -> None:
        """Have everything sent that is gathered by now."""
        for sink in self._sinks:
            sink.flush()
