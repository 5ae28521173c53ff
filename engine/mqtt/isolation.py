"""Finds the message at which a broker breaks the connection, whenever it is sent.

Brokers part so from what they can't take: before MQTT 5 they have no other way. Such a message must
not be sent for ever, yet a broker that is down, or a bad line, is no reason to give up any.
"""

from __future__ import annotations

from collections.abc import Hashable

from engine.mqtt.reasons import PublishInterrupted

_BREAKS = 2
"""Connections that break under a batch before its messages are sent one by one."""
_STRIKES = 3
"""Connections that break, each at once, under one message that nothing else was sent beside."""
_AT_ONCE = 5.0  # seconds


class Isolation:
    """What one publisher knows of breaks, as long as the same messages are to be sent.

    A break counts if the broker had accepted the connection, and the next one, too, at the first
    attempt: so it was there all the time. ``troubles`` is ``Link.troubles``, which counts what
    speaks against that.
    """

    def __init__(self) -> None:
        self.refused: set[Hashable] = set()
        """Messages that were found; they need not be sent again to be refused again."""
        self._breaks = 0
        self._suspect: Hashable = None
        self._strikes = 0
        self._connection = 0
        self._troubles = 0

    @property
    def is_on(self) -> bool:
        """Whether messages are to be sent one by one."""
        return self._breaks >= _BREAKS

    def condemns(self, message: Hashable, troubles: int) -> bool:
        """Say whether a message is to be refused; asked when there is a connection again."""
        if troubles != self._troubles:
            self._breaks = self._strikes = 0
        elif self._strikes >= _STRIKES and message == self._suspect:
            self.refused.add(message)
            self._breaks = self._strikes = 0
            return True
        return False

    def on_break(
        self, error: PublishInterrupted, message: Hashable, seconds: float, troubles: int
    ) -> None:
        """Note that a connection broke, so many seconds after ``message`` and others were sent."""
        if error.connection in (0, self._connection) or seconds > _AT_ONCE:
            return
        was_on = self.is_on
        if troubles != self._troubles:
            self._breaks = self._strikes = 0
        self._connection, self._troubles = error.connection, troubles
        self._breaks += 1
        if was_on and self.is_on:
            self._strikes = self._strikes + 1 if message == self._suspect else 1
            self._suspect = message

    def on_sent(self) -> None:
        """Note that what was sent last didn't break the connection."""
        self._strikes = 0
        if not self.is_on:
            self._breaks = 0

    def end(self) -> None:
        """Begin anew: nothing is left to be sent."""
        self.refused.clear()
        self._breaks = self._strikes = 0
