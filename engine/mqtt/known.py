"""Messages that a rule has taken already, for when the broker delivers them again.

After a crash or a lost connection a broker repeats what was not acknowledged, with the same packet
identifiers and a flag (MQTT 5, section 4.4). Identifiers are used again later, so topic and payload
count as well, and a message without the flag is always a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from engine.mqtt.arrivals import Arrivals

_REPEATED = 0b1000
_QOS = 0b0110
_ID = 0xFFFF
_CHECKSUM = 0xFFFF_FFFF


class KnownMessages:
    """The QoS 1 and 2 messages that a reader has had, by packet identifier.

    The identity of a message is a number: its packet identifier above a checksum of 32 bits.
    """

    def __init__(self, identities: Iterable[int] = ()) -> None:
        self._checksums = {identity >> 32: identity & _CHECKSUM for identity in identities}

    def sift(self, arrivals: Arrivals) -> tuple[Arrivals, Sequence[int]]:
        """Return the messages that are new, and the identities of all.

        Those that are new owe the acknowledgements of all.
        """
        if not arrivals.parcels:
            return arrivals, ()
        identities = _identities(arrivals)
        if any(arrivals.flags(run) & _REPEATED for run in range(len(arrivals.runs))):
            return self._fresh(arrivals, identities), identities
        self._checksums.update((each >> 32, each & _CHECKSUM) for each in identities)
        return arrivals, identities

    def _fresh(self, arrivals: Arrivals, identities: Sequence[int]) -> Arrivals:
        fresh = Arrivals()
        fresh.parcels = arrivals.parcels
        known = iter(identities)
        for run, (start, stop, _) in enumerate(arrivals.runs):
            flags = arrivals.flags(run)
            begin = start
            for index in range(start, stop) if flags & _QOS else ():
                is_known = self._notes(next(known))
                if is_known and flags & _REPEATED:
                    if begin < index:
                        fresh.take_range(arrivals, begin, index, run)
                    begin = index + 1
            if begin < stop:
                fresh.take_range(arrivals, begin, stop, run)
        return fresh

    def _notes(self, identity: int) -> bool:
        """Note a message; say whether it was the last one with its packet identifier."""
        packet_id, checksum = identity >> 32, identity & _CHECKSUM
        was_known = self._checksums.get(packet_id) == checksum
        self._checksums[packet_id] = checksum
        return was_known


def _identities(arrivals: Arrivals) -> list[int]:
    words, payloads = arrivals.all_words, arrivals.payloads
    identities: list[int] = []
    for run, (start, stop, topic) in enumerate(arrivals.runs):
        if arrivals.flags(run) & _QOS:
            of_topic = crc32(topic.encode())
            identities += [
                (word & _ID) << 32 | crc32(payload, of_topic)
                for word, payload in zip(words[start:stop], payloads[start:stop], strict=True)
            ]
    return identities
