"""Results on their way to those who watch: sampled, bounded, never holding anybody back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import msgspec

from engine.sql.query import Result

_WAITING = 256
"""Messages that may wait for a watcher; beyond that the oldest give way."""
_KEPT = 64
"""Messages that are kept for whoever comes later."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Watcher:
    """One who watches; what it can't take in time is skipped, counted."""

    def __init__(self) -> None:
        self.skipped = 0
        """Messages since the last ``take_skipped`` that it didn't get."""
        self.is_over = False
        self._messages: deque[bytes] = deque()
        self._changed = anyio.Event()

    def put(self, message: bytes) -> None:
        """Add a message."""
        if len(self._messages) >= _WAITING:
            self._messages.popleft()
            self.skipped += 1
        self._messages.append(message)
        self._changed.set()

    def end(self) -> None:
        """Nothing more will come."""
        self.is_over = True
        self._changed.set()

    def take_skipped(self) -> int:
        """Return how many messages were skipped since this was last asked."""
        skipped, self.skipped = self.skipped, 0
        return skipped

    async def next(self, seconds: float) -> list[bytes]:
        """Return all messages that wait, or none if nothing came within so many seconds."""
        if not self._messages and not self.is_over:
            self._changed = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._changed.wait()
        taken = list(self._messages)
        self._messages.clear()
        return taken


class Sample(Watcher):
    """Watches the results of a rule, at most ``rate`` of them in a second."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self._rate = rate
        self._left = float(rate)
        self._refilled = time.monotonic()

    def tap(self, result: Result) -> None:
        """Take some of the results."""
        items: list[Any] = (result.payloads if result.rows is None else result.rows) or []
        now = time.monotonic()
        self._left = min(self._rate, self._left + (now - self._refilled) * self._rate)
        self._refilled = now
        allowed = min(len(items), int(self._left))
        self._left -= allowed
        self.skipped += len(items) - allowed
        for item in items[:allowed]:
            try:
                self.put(bytes(item) if result.rows is None else _encode(item))
            except (TypeError, ValueError, RecursionError):
                self.skipped += 1


class Feed:
    """Messages for any number of watchers; the last ones are kept for those who come later."""

    def __init__(self) -> None:
        self._kept: deque[bytes] = deque(maxlen=_KEPT)
        self._watchers: list[Watcher] = []
        self._is_over = False

    def publish(self, message: bytes) -> None:
        """Send a message to all who watch."""
        self._kept.append(message)
        for watcher in self._watchers:
            watcher.put(message)

    def end(self) -> None:
        """Nothing more will come."""
        self._is_over = True
        for watcher in self._watchers:
            watcher.end()

    @contextmanager
    def watched(self) -> Iterator[Watcher]:
        """Watch within the block."""
        watcher = Watcher()
        for message in self._kept:
            watcher.put(message)
        if self._is_over:
            watcher.end()
        self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            self._watchers.remove(watcher)
