"""Messages that a rule has taken already, for when the broker delivers them again.

After a crash or a lost connection a broker repeats what was not acknowledged, with the same packet
identifiers and a flag (MQTT 5, section 4.4). The flag says only that the broker has sent a message
before, not that it arrived, and identifiers are used again. So topic, payload and the session count
as well, a message without the flag is always a new one, and nothing is known for longer than its
identifier can belong to no other message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from engine.mqtt.arrivals import REPEATED, Arrivals, Origin

_QOS = 0b0110
_ID = 0xFFFF
_CHECKSUM = 0xFFFF_FFFF


class KnownMessages:
    """The QoS 1 and 2 messages that a reader has had, by packet identifier.

    The identity of a message is a number: its packet identifier above a checksum of 32 bits, in
    which its session is, too.
    """

    span = 16_384
    """How many messages are known at the least. It is twice as many at most, half of what a broker
    can number before it begins anew."""

    def __init__(self, identities: Iterable[int] = ()) -> None:
        self._recent = {identity >> 32: identity & _CHECKSUM for identity in identities}
        self._older: dict[int, int] = {}
        self._began = 0  # how many messages the session had had when the recent ones began
        self._forgets_done = False

    def sift(self, arrivals: Arrivals) -> tuple[Arrivals, Sequence[int]]:
        """Return the messages that are new, and the identities of all.

        Those that are new owe the acknowledgements of all.
        """
        if not arrivals.parcels:
            return arrivals, ()
        self._age(arrivals.origin)
        identities = _identities(arrivals)
        if arrivals.has_flag(REPEATED):
            return self._fresh(arrivals, identities), identities
        self._recent.update((each >> 32, each & _CHECKSUM) for each in identities)
        return arrivals, identities

    def settle(self, identities: Sequence[int]) -> None:
        """Note that messages are acknowledged.

        A broker that hands out identifiers again at once may give theirs to others from now on.
        """
        if self._forgets_done:
            for identity in identities:
                if self._recent.get(identity >> 32) == identity & _CHECKSUM:
                    del self._recent[identity >> 32]

    def _age(self, origin: Origin) -> None:
        if origin.reuses_ids and not self._forgets_done:
            self._forgets_done = True
            self._recent.clear()
            self._older.clear()
        if not 0 <= origin.received - self._began < self.span:
            self._began = origin.received
            if not self._forgets_done:  # else all there is may still be repeated
                self._older, self._recent = self._recent, {}

    def _fresh(self, arrivals: Arrivals, identities: Sequence[int]) -> Arrivals:
        fresh = Arrivals()
        fresh.parcels = arrivals.parcels
        known = iter(identities)
        for run, (start, stop, _) in enumerate(arrivals.runs):
            flags = arrivals.flags(run)
            begin = start
            for index in range(start, stop) if flags & _QOS else ():
                is_known = self._notes(next(known))
                if is_known and flags & REPEATED:
                    if begin < index:
                        fresh.take_range(arrivals, begin, index, run)
                    begin = index + 1
            if begin < stop:
                fresh.take_range(arrivals, begin, stop, run)
        return fresh

    def _notes(self, identity: int) -> bool:
        """Note a message; say whether it was the last one with its packet identifier."""
        packet_id, checksum = identity >> 32, identity & _CHECKSUM
        last = self._recent.get(packet_id)
        was_known = checksum == (self._older.get(packet_id) if last is None else last)
        self._recent[packet_id] = checksum
        return was_known


def _identities(arrivals: Arrivals) -> list[int]:
    words, payloads = arrivals.all_words, arrivals.payloads
    session = arrivals.origin.session
    identities: list[int] = []
    for run, (start, stop, topic) in enumerate(arrivals.runs):
        if arrivals.flags(run) & _QOS:
            of_topic = crc32(topic.encode(), session)
            identities += [
                (word & _ID) << 32 | crc32(payload, of_topic)
                for word, payload in zip(words[start:stop], payloads[start:stop], strict=True)
            ]
    return identities
