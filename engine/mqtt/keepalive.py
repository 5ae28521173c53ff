"""Pings in time, and the conclusion when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_PING_EVERY = 0.75  # of the interval agreed with the broker


class KeepAlive:
    """Calls ``ping`` on a timer, and ``silence`` when nothing was heard since the last ping.

    The timer runs whether or not the socket is read; while it is not, nothing can be heard and
    nobody is blamed.
    """

    def __init__(self, ping: Callable[[], None], silence: Callable[[], None]) -> None:
        self.has_heard = True
        self.is_listening = True
        self._ping = ping
        self._silence = silence
        self._timer: asyncio.TimerHandle | None = None

    def start(self, interval: float) -> None:
        """Begin; an interval of 0 means never."""
        if interval:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(interval * _PING_EVERY, self._tick, interval)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def listen(self, is_listening: bool) -> None:
        """Take note that the socket is read, or not."""
        self.is_listening = is_listening
        self.has_heard = True

    def _tick(self, interval: float) -> None:
        if not self.has_heard:
            self._silence()
            return
        self.has_heard = not self.is_listening
        self._ping()
        self.start(interval)
