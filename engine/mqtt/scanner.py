"""Splits the byte stream of a broker into packets; the commonest kinds are read by hand.

A PUBLISH without properties and the acknowledgements without a reason make up nearly all traffic;
they never become objects. Everything else goes through the codec.
"""

from __future__ import annotations

from typing import Any, Protocol

import mqtt5

from engine.mqtt.arrivals import PUBACK, PUBREC, Arrivals
from engine.topics import flaw_of_topic

_PUBLISH = 0x30
_KIND = 0xF0
_QOS = 0x06
_QOS_2 = 0x04
_ACKS = frozenset({0x40, 0x50, 0x62, 0x70})  # PUBACK, PUBREC, PUBREL, PUBCOMP
_TOPICS_KEPT = 4096


class Malformed(ValueError):
    """The broker sent what is no MQTT."""


class Handler(Protocol):
    """What a scanner calls for packets other than PUBLISH; order is the order on the wire."""

    def on_ack(self, kind: int, packet_id: int, reason: int) -> None:
        """Take a PUBACK, PUBREC, PUBREL or PUBCOMP; ``kind`` is the first byte of the packet."""

    def on_packet(self, packet: Any) -> None:
        """Take any other packet as the codec reads it."""

    def is_repeat(self, packet_id: int) -> bool:
        """Say whether a QoS 2 message was received before, and remember it."""


class Scanner:
    """Reads what arrives, in pieces of any size."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._pieces: list[bytes] = []
        self._held = 0
        self._needed = 0
        self._topics: dict[bytes, str] = {}  # by their bytes on the wire

    def feed(self, data: bytes, into: Arrivals) -> None:
        """Append the messages in ``data`` to ``into`` and hand on all other packets.

        Raises:
            Malformed: the bytes are no MQTT 5; what came before them has been handed on.
        """
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        at, end = 0, len(data)
        while at < end:
            at = self._scan_messages(data, at, end, into)
            total = packet_size(data, at, end)
            if not total or at + total > end:
                break
            self._read_one(data, at, at + total, into)
            at += total
        if at < end:
            rest = data[at:] if at else data
            self._pieces.append(rest)
            self._held = len(rest)
            self._needed = packet_size(data, at, end) or self._held + 1

    def _scan_messages(self, data: bytes, at: int, end: int, into: Arrivals) -> int:
        """Read PUBLISH packets without properties; return where the first other packet begins."""
        payloads = into.payloads
        known = self._topics
        last = end - 1
        while at < last:
            flags = data[at]
            if flags & _KIND != _PUBLISH or flags & _QOS == _QOS:
                break
            size = data[at + 1]
            body = at + 2
            if size > 127:
                size, body = _length(data, at + 1, end)
            stop = body + size
            if not body or stop > end or size < 4:
                break
            name_end = body + 2 + (data[body] << 8 | data[body + 1])
            properties_at = name_end + 2 if flags & _QOS else name_end
            if properties_at >= stop or data[properties_at]:
                break
            name = data[body:name_end]
            topic = known.get(name) or self._read_topic(name)
            words = into.begin_run(flags, topic)
            if flags & _QOS:
                at = self._scan_owing(data, at, end, name, words, payloads)
                continue
            payloads.append(data[name_end + 1 : stop])
            is_same_topic = data.startswith(name, stop + body - at)  # a guess that costs little
            at = stop
            if is_same_topic and at < last and data[at] == flags:
                at = _scan_plain(data, at, end, name + b"\0", payloads)
        return at

    def _scan_owing(
        self, data: bytes, at: int, end: int, head: bytes, words: list[int], payloads: list[bytes]
    ) -> int:
        """Read QoS 1 or 2 messages as long as flags and topic stay the same."""
        flags = data[at]
        is_exactly_once = flags & _QOS == _QOS_2
        kind = PUBREC if is_exactly_once else PUBACK
        skip = len(head)
        while at + 1 < end and data[at] == flags:
            size, body = _length(data, at + 1, end)
            stop = body + size
            id_at = body + skip
            start = id_at + 3
            if not body or stop > end or start > stop or not data.startswith(head, body):
                break
            if data[id_at + 2]:
                break
            packet_id = data[id_at] << 8 | data[id_at + 1]
            if not packet_id:
                raise Malformed("a PUBLISH has the packet identifier 0")
            at = stop
            if is_exactly_once and self._handler.is_repeat(packet_id):
                continue
            words.append(kind | packet_id)
            payloads.append(data[start:stop])
        return at

    def _read_topic(self, name: bytes) -> str:
        try:
            topic = name[2:].decode()
        except UnicodeDecodeError:
            raise Malformed("a topic is not UTF-8") from None
        if flaw := flaw_of_topic(topic):
            raise Malformed(f"a PUBLISH came in which {flaw}")
        if len(self._topics) >= _TOPICS_KEPT:
            self._topics.clear()
        self._topics[name] = topic
        return topic

    def _read_one(self, data: bytes, at: int, stop: int, into: Arrivals) -> None:
        kind = data[at]
        if kind in _ACKS and stop - at == 4:
            self._handler.on_ack(kind, data[at + 2] << 8 | data[at + 3], 0)
            return
        if kind in _ACKS:
            # by hand: brokers give reasons for which the codec has no name
            _, body = _length(data, at + 1, stop)
            if stop - body < 2:
                raise Malformed("an acknowledgement has no packet identifier")
            reason = data[body + 2] if stop - body > 2 else 0
            self._handler.on_ack(kind, data[body] << 8 | data[body + 1], reason)
            return
        packet = read_packet(data[at:stop])
        if kind & _KIND == _PUBLISH:
            self._take_message(kind, packet, into)
        else:
            self._handler.on_packet(packet)

    def _take_message(self, flags: int, packet: mqtt5.PublishPacket, into: Arrivals) -> None:
        if packet.topic_alias is not None:
            raise Malformed("a PUBLISH has a topic alias, which was not offered")
        topic = packet.topic
        if flaw := flaw_of_topic(topic):
            raise Malformed(f"a PUBLISH came in which {flaw}")
        word = 0
        if flags & _QOS:
            if not packet.packet_id:
                raise Malformed("a PUBLISH has the packet identifier 0")
            if flags & _QOS == _QOS_2 and self._handler.is_repeat(packet.packet_id):
                return
            word = (PUBREC if flags & _QOS == _QOS_2 else PUBACK) | packet.packet_id
        into.add(flags, topic, packet.payload, word, dict(packet.user_properties))


def read_packet(data: bytes) -> Any:
    """Read one whole packet with the codec.

    Raises:
        Malformed: the bytes are no packet of MQTT 5.
    """
    try:
        packet, size = mqtt5.read(memoryview(data))
    except (ValueError, IndexError) as error:
        raise Malformed(str(error)) from error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the codec panics on text that is not UTF-8
        raise Malformed("the codec can't read a packet") from error
    if size != len(data):
        raise Malformed("a packet is shorter than its length says")
    return packet


def packet_size(data: bytes, at: int, end: int) -> int:
    """Return the size of the packet that begins at ``at``, or 0 when not even its length is there.

    Raises:
        Malformed: the length has more than four bytes.
    """
    if at + 1 >= end:
        return 0
    size, body = _length(data, at + 1, end)
    return body + size - at if body else 0


def _scan_plain(data: bytes, at: int, end: int, head: bytes, payloads: list[bytes]) -> int:
    """Read QoS 0 messages as long as flags and topic stay the same; the hottest loop of all."""
    flags = data[at]
    skip = len(head)
    add = payloads.append
    last = end - 1
    while at < last and data[at] == flags:
        size = data[at + 1]
        body = at + 2
        if size > 127:
            if body > last:
                break
            more = data[body]
            if more < 128:  # two bytes, as nearly all long messages have
                size += (more << 7) - 128
                body += 1
            else:
                size, body = _length(data, at + 1, end)
                if not body:
                    break
        stop = body + size
        start = body + skip
        if stop > end or start > stop or data[body:start] != head:
            break
        add(data[start:stop])
        at = stop
    return at


def _length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the remaining length and where the body begins; 0 and 0 when more bytes are needed."""
    size = data[at]
    if size < 128:
        return size, at + 1
    size &= 127
    for shift in (7, 14, 21):
        at += 1
        if at >= end:
            return 0, 0
        byte = data[at]
        size |= (byte & 127) << shift
        if byte < 128:
            return size, at + 1
    raise Malformed("a packet has a length of more than four bytes")
