"""What the client owes the broker for QoS 1 and 2 messages, in order and without repeats."""

from __future__ import annotations

import secrets
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from engine.mqtt.arrivals import PUBREC, REPEATED, Arrivals, Origin, Parcel

_KIND = 0xFFFF_0000
_ID = 0x0000_FFFF
_HALF = 0x8000  # of all packet identifiers
_IN_HAND, _ASKED_AGAIN, _DONE = range(3)


def _nowhere(_: bytes) -> None:
    """Write to no connection."""


class Session:
    """What survives a lost connection as long as the broker keeps the session."""

    def __init__(self) -> None:
        self.generation = 0
        self.name = _new_name()
        """By what messages of this session are told from those of others."""
        self.received = 0
        self.reuses_ids = False
        self.incoming: dict[int, int] = {}  # QoS 2 messages received and not released: their state
        self.outgoing: set[int] = set()  # QoS 2 messages sent whose exchange did not end
        self.half_received: OrderedDict[int, Any] = OrderedDict()  # kept for a client library
        self.write: Callable[[bytes], None] = _nowhere

    def begin(self, write: Callable[[bytes], None], *, is_present: bool) -> None:
        """Go on with a new connection; without ``is_present`` the broker has forgotten all."""
        self.write = write
        if is_present:
            for packet_id, state in self.incoming.items():
                if state == _ASKED_AGAIN:
                    self.incoming[packet_id] = _IN_HAND
            return
        self.generation += 1
        self.name = _new_name()
        self.incoming.clear()
        self.outgoing.clear()
        self.half_received.clear()

    @property
    def note(self) -> tuple[int, bool]:
        """Its name, and whether the broker reuses packet identifiers at once."""
        return self.name, self.reuses_ids

    def recall(self, name: int, *, reuses_ids: bool) -> None:
        """Go on with what is known of an earlier process, unless the broker has forgotten it.

        Where identifiers are reused at once, what that process had is not known by them.
        """
        self.reuses_ids = reuses_ids
        if not reuses_ids:
            self.name = name

    def pause(self) -> None:
        """Note that there is no connection."""
        self.write = _nowhere


class Inbox:
    """The acknowledgements of one connection.

    They leave in the order in which the messages came, as MQTT demands, a whole read at a time.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._generation = session.generation
        self._order: deque[Parcel] = deque()
        self._repeated: list[int] = []
        self._is_open = True
        self._last_id = -1

    def is_repeat(self, packet_id: int) -> bool:
        """Say whether a QoS 2 message is known; one that is done gets its answer again."""
        incoming = self._session.incoming
        state = incoming.get(packet_id)
        if state is None:
            incoming[packet_id] = _IN_HAND
            return False
        if state == _DONE:
            self._repeated.append(PUBREC | packet_id)
        else:
            incoming[packet_id] = _ASKED_AGAIN
        return True

    def release(self, packet_id: int) -> None:
        """Forget a QoS 2 message: the broker knows that it has arrived."""
        self._session.incoming.pop(packet_id, None)

    def answers_to_repeats(self) -> bytes:
        answers, self._repeated = _packed(self._repeated), []
        return answers

    def owe(self, arrivals: Arrivals) -> None:
        """Owe an acknowledgement for each QoS 1 or 2 message that has just arrived."""
        session = self._session
        if words := arrivals.words:
            session.received += len(words)
            self._watch_ids(words[0] & _ID, words[-1] & _ID, arrivals)
            parcel = Parcel(words, self)
            self._order.append(parcel)
            arrivals.parcels.append((parcel, words))
        arrivals.origin = Origin(session.name, session.received, session.reuses_ids)

    def settle(self, parcel: Parcel) -> None:
        if not (self._is_open and parcel.in_order):
            self._send(parcel.words)
            return
        words: list[int] = []
        while self._order and self._order[0].is_settled:
            words += self._order.popleft().words
        self._send(words)

    def forget(self, words: Sequence[int]) -> None:
        if self._generation == self._session.generation:
            for word in words:
                if word & _KIND == PUBREC:
                    self._session.incoming.pop(word & _ID, None)

    def close(self) -> None:
        """The connection is gone: QoS 1 messages will come again, QoS 2 ones stay in hand."""
        self._is_open = False
        self._order.clear()

    def _watch_ids(self, first: int, last: int, arrivals: Arrivals) -> None:
        """Notice a broker that doesn't count identifiers up to the end before it reuses them.

        Looking at the ends of each read is enough to find that out soon.
        """
        if 0 <= self._last_id - first < _HALF:
            if arrivals.has_flag(REPEATED):
                return
            self._session.reuses_ids = True
        self._last_id = last

    def _send(self, words: list[int]) -> None:
        if self._generation != self._session.generation:
            return
        if self._session.incoming:
            words = [word for word in words if self._is_due(word)]
        elif not self._is_open:
            return
        if words:
            self._session.write(_packed(words))

    def _is_due(self, word: int) -> bool:
        """Say whether an acknowledgement can go out now; remember that a QoS 2 message is done."""
        if word & _KIND != PUBREC:
            return self._is_open
        state = self._session.incoming.get(word & _ID)
        if state is None:
            return False
        self._session.incoming[word & _ID] = _DONE
        return self._is_open or state == _ASKED_AGAIN


def _new_name() -> int:
    return secrets.randbits(32)


def _packed(words: list[int]) -> bytes:
    return struct.pack(f">{len(words)}I", *words)
