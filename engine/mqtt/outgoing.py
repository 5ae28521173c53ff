"""Messages to publish, and how they become bytes: a prebuilt head per topic and length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

import msgspec

from engine.topics import flaw_of_destination, has_unfit_character

_PUBLISH = 0x30
_RETAIN = 0x01
_USER_PROPERTY = b"\x26"
_NO_PROPERTIES = b"\0"
_KEPT = 1024
_OVERHEAD = 5 + 2 + 2  # longest fixed header, length of the topic, packet identifier

UserProperties = Mapping[str, str] | Sequence[Mapping[str, str] | None] | None


class Messages(msgspec.Struct, frozen=True):
    """A batch to publish; a single topic or mapping of properties stands for all."""

    topics: str | Sequence[str]
    payloads: Sequence[bytes]
    qos: int = 0
    retained: bool = False
    user_properties: UserProperties = None

    def __len__(self) -> int:
        return len(self.payloads)

    def topic(self, index: int) -> str:
        return self.topics if isinstance(self.topics, str) else self.topics[index]

    def properties(self, index: int) -> Mapping[str, str] | None:
        given = self.user_properties
        return given if given is None or isinstance(given, Mapping) else given[index]

    def flaws(self, max_packet_size: int | None) -> dict[int, str]:
        """Return the messages that can't be sent, by index, with the reason."""
        flaws: dict[int, str] = {}
        topics = [self.topics] if isinstance(self.topics, str) else set(self.topics)
        if bad := {topic: flaw for topic in topics if (flaw := flaw_of_destination(topic))}:
            named = ((index, self.topic(index)) for index in range(len(self)))
            flaws = {index: bad[topic] for index, topic in named if topic in bad}
        if self.user_properties is not None or max_packet_size is not None:
            for index in range(len(self)):
                if index not in flaws and (flaw := self._flaw_of(index, max_packet_size)):
                    flaws[index] = flaw
        return flaws

    def _flaw_of(self, index: int, max_packet_size: int | None) -> str:
        given = self.properties(index) or {}
        if any(has_unfit_character(text) for pair in given.items() for text in pair):
            return "a user property holds a control character"
        try:
            properties = user_properties_bytes(given)
        except (OverflowError, UnicodeError):
            return "a user property is longer than 65535 bytes or not valid text"
        if max_packet_size is None:
            return ""
        size = _OVERHEAD + len(self.topic(index).encode()) + len(properties)
        if size + len(self.payloads[index]) > max_packet_size:
            return f"larger than the broker's maximum packet size of {max_packet_size} bytes"
        return ""


class _Heads(dict[int, bytes]):
    """First byte, remaining length and topic of a PUBLISH, by the length of what follows."""

    def __init__(self, flags: int, topic: str) -> None:
        super().__init__()
        self._flags = bytes((_PUBLISH | flags,))
        name = topic.encode()
        self._name = len(name).to_bytes(2, "big") + name

    def __missing__(self, size: int) -> bytes:
        if len(self) >= _KEPT:
            self.clear()
        head = self._flags + variable_length(len(self._name) + size) + self._name
        self[size] = head
        return head


class Writer:
    """Encodes messages for MQTT 5; keeps the heads of the topics it has seen."""

    def __init__(self) -> None:
        self._heads: dict[tuple[int, str], _Heads] = {}

    def encode(self, messages: Messages, indexes: Sequence[int], ids: Sequence[int] = ()) -> bytes:
        """Return the packets of some messages; QoS 1 and 2 need a packet identifier for each."""
        flags = messages.qos << 1 | (_RETAIN if messages.retained else 0)
        payloads = messages.payloads
        if len(indexes) != len(payloads):
            payloads = [payloads[index] for index in indexes]
        parts: list[bytes] = []
        if not isinstance(messages.topics, str) or messages.user_properties:
            items = zip(indexes, payloads, ids or repeat(0), strict=False)
            self._collect(messages, flags, items, parts)
        elif ids:
            heads = self._heads_of(flags, messages.topics)
            for payload, packet_id in zip(payloads, ids, strict=True):
                middle = (packet_id << 8).to_bytes(3, "big")  # ends with the empty properties
                parts += (heads[len(payload) + 3], middle, payload)
        else:
            heads = self._heads_of(flags, messages.topics)
            for payload in payloads:
                parts += (heads[len(payload) + 1], _NO_PROPERTIES, payload)
        return b"".join(parts)

    def _collect(
        self,
        messages: Messages,
        flags: int,
        items: Iterable[tuple[int, bytes, int]],
        parts: list[bytes],
    ) -> None:
        """Append the parts of messages whose topics or properties differ."""
        for index, payload, packet_id in items:
            middle = user_properties_bytes(messages.properties(index))
            if packet_id:
                middle = packet_id.to_bytes(2, "big") + middle
            heads = self._heads_of(flags, messages.topic(index))
            parts += (heads[len(middle) + len(payload)], middle, payload)

    def _heads_of(self, flags: int, topic: str) -> _Heads:
        heads = self._heads.get((flags, topic))
        if heads is None:
            if len(self._heads) >= _KEPT:
                self._heads.clear()
            heads = self._heads[flags, topic] = _Heads(flags, topic)
        return heads


def user_properties_bytes(properties: Mapping[str, str] | None) -> bytes:
    """Return the property section of a PUBLISH with nothing but user properties."""
    if not properties:
        return _NO_PROPERTIES
    body = b"".join(_USER_PROPERTY + _text(key) + _text(value) for key, value in properties.items())
    return variable_length(len(body)) + body


def variable_length(size: int) -> bytes:
    """Return a number as MQTT writes lengths: seven bits a byte, the lowest first."""
    if size < 128:
        return bytes((size,))
    encoded = bytearray()
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def _text(value: str) -> bytes:
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def chunk_size(payloads: Sequence[bytes], indexes: Sequence[int], most_bytes: int) -> int:
    """Return how many of the messages make about ``most_bytes``; at least one."""
    if len(indexes) == len(payloads) and sum(map(len, payloads)) <= most_bytes:
        return len(indexes)
    size = 0
    for count, index in enumerate(indexes, 1):
        size += len(payloads[index])
        if size >= most_bytes:
            return count
    return len(indexes)
