"""Messages that a rule has in its state already, for when the broker delivers them again.

After a crash a broker repeats what was not acknowledged, with the same packet identifiers and a
flag (MQTT 5, section 4.4). Identifiers are used again later, so the payload counts as well, and a
message without the flag is always a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from engine.mqtt.arrivals import Arrivals

_REPEATED = 0b1000
_QOS = 0b0110
_ID = 0xFFFF


def identities(arrivals: Arrivals) -> list[int]:
    """Return a number for each QoS 1 or 2 message: packet identifier and checksum."""
    return [
        (word & _ID) << 32 | crc32(payload)
        for word, payload in zip(arrivals.all_words, arrivals.payloads, strict=False)
        if word
    ]


class KnownMessages:
    """Identities of messages that need not be taken again."""

    def __init__(self, known: Iterable[int] = ()) -> None:
        self._checksums = {identity >> 32: identity & 0xFFFF_FFFF for identity in known}

    def unknown(self, arrivals: Arrivals) -> Arrivals:
        """Return the messages that are new; all acknowledgements stay owed by what is returned."""
        if not self._checksums or not arrivals.parcels:
            return arrivals
        fresh = Arrivals()
        fresh.parcels = arrivals.parcels
        words = arrivals.all_words
        for run, (start, stop, _) in enumerate(arrivals.runs):
            flags = arrivals.flags(run)
            if not flags & _QOS:
                fresh.take_range(arrivals, start, stop, run)
                continue
            begin = start
            for index in range(start, stop):
                checksum = self._checksums.pop(words[index] & _ID, None)
                if checksum is None or not flags & _REPEATED:
                    continue
                if checksum == crc32(arrivals.payloads[index]):
                    if begin < index:
                        fresh.take_range(arrivals, begin, index, run)
                    begin = index + 1
            if begin < stop:
                fresh.take_range(arrivals, begin, stop, run)
        return fresh
