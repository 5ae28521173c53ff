"""The hand-written reading of packets against the codec."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mqtt.arrivals import PUBACK, PUBREC, Arrivals
from engine.mqtt.outgoing import Messages, Writer, chunk_size, variable_length
from engine.mqtt.scanner import Malformed, Scanner

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=8)
TOPICS = st.sampled_from(["a", "a/b", "ä/ö", "demo/sensor"]) | TEXT
PAYLOADS = st.binary(max_size=20) | st.sampled_from([b"x" * 126, b"y" * 200, b"z" * 16_400])
PROPERTIES = st.none() | st.lists(st.tuples(TEXT, TEXT), max_size=2)
# The codec panics on text that is not UTF-8; the scanner makes an error of it, pytest sees both.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Log:
    """Remembers what a scanner hands on."""

    def __init__(self) -> None:
        self.acks: list[tuple[int, int, int]] = []
        self.packets: list[str] = []
        self.known: set[int] = set()

    def on_ack(self, kind: int, packet_id: int, reason: int) -> None:
        self.acks.append((kind, packet_id, reason))

    def on_packet(self, packet: Any) -> None:
        self.packets.append(repr(packet))

    def is_repeat(self, packet_id: int) -> bool:
        return packet_id in self.known


@st.composite
def messages(draw: st.DrawFn) -> mqtt5.PublishPacket:
    qos = draw(st.integers(0, 2))
    return mqtt5.PublishPacket(
        draw(TOPICS),
        draw(PAYLOADS),
        qos=mqtt5.QoS(qos),
        retain=draw(st.booleans()),
        duplicate=draw(st.booleans()) if qos else False,
        packet_id=draw(st.integers(1, 65_535)) if qos else None,
        user_properties=draw(PROPERTIES),
    )


OTHERS = st.sampled_from(
    [
        mqtt5.PingRespPacket(),
        mqtt5.PubAckPacket(7),
        mqtt5.PubAckPacket(8, reason_code=mqtt5.PubAckReasonCode.NOT_AUTHORIZED),
        mqtt5.PubRecPacket(9),
        mqtt5.PubRelPacket(10),
        mqtt5.PubCompPacket(11, reason_code=mqtt5.PubCompReasonCode.PACKET_ID_NOT_FOUND),
        mqtt5.SubAckPacket(3, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]),
    ]
)


@given(st.lists(messages() | OTHERS, max_size=30), st.lists(st.integers(0, 5000), max_size=12))
def test_packets_cut_anywhere_are_read_as_the_codec_reads_them(
    packets: list[Any], cuts: list[int]
) -> None:
    log, arrivals = Log(), Arrivals()
    scanner = Scanner(log)
    stream = b"".join(packet.write() for packet in packets)
    at = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    for start, stop in pairwise(at):
        scanner.feed(stream[start:stop], arrivals)
    published = [each for each in packets if isinstance(each, mqtt5.PublishPacket)]
    assert arrivals.payloads == [each.payload for each in published]
    assert arrivals.topics == [each.topic for each in published]
    assert arrivals.qos == [int(each.qos) for each in published]
    assert arrivals.retained == [each.retain for each in published]
    assert arrivals.message_ids == [each.packet_id or 0 for each in published]
    kinds = {1: PUBACK, 2: PUBREC}
    owed = [kinds[int(each.qos)] | each.packet_id for each in published if each.packet_id]
    assert arrivals.words == owed
    given_properties = [dict(each.user_properties) or None for each in published]
    assert (arrivals.properties or [None] * len(published)) == given_properties
    acks = [each for each in packets if hasattr(each, "packet_id") and each not in published]
    expected = [
        (each.write()[0], each.packet_id, int(each.reason_code))
        for each in acks
        if hasattr(each, "reason_code")
    ]
    assert log.acks == expected
    assert len(log.packets) == len(packets) - len(published) - len(expected)


@given(st.binary(max_size=60), st.integers(1, 7))
def test_garbage_is_malformed_or_something_but_never_a_crash(data: bytes, step: int) -> None:
    scanner = Scanner(Log())
    try:
        for at in range(0, len(data), step):
            scanner.feed(data[at : at + step], Arrivals())
    except Malformed:
        pass


@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\x06\x00\x01\xff\x00xy",  # topic is not UTF-8
        b"\x30\x06\x00\x01+\x00xy",  # wildcard in a topic
        b"\x30\x06\x00\x01\x00\x00xy",  # NUL in a topic
        b"\x30\x05\x00\x00\x00xy",  # no topic and no alias
        b"\x30\x08\x00\x01a\x03\x23\x00\x05x",  # an alias that was not offered
        b"\x36\x08\x00\x01a\x00\x05\x00xy",  # QoS 3
        b"\x32\x08\x00\x01a\x00\x00\x00xy",  # packet identifier 0
        b"\x30\x06\x00\x09a\x00xy",  # topic longer than the packet
        b"\x30\xff\xff\xff\xff\xff",  # length of five bytes
        b"\x30\x0c\x00\x01a\x07\x26\x00\x01\xff\x00\x01vx",  # property is not UTF-8
        b"\x00\x00",
        b"\x40\x01\x00",
    ],
)
def test_malformed_packets_are_named_so(packet: bytes) -> None:
    arrivals = Arrivals()
    with pytest.raises(Malformed):
        Scanner(Log()).feed(b"\x30\x06\x00\x01a\x00ok" + packet, arrivals)
    assert arrivals.payloads == [b"ok"]


def test_repeated_qos_2_messages_are_left_out() -> None:
    log, arrivals = Log(), Arrivals()
    log.known = {2}
    plain = [
        mqtt5.PublishPacket("t", b"%d" % at, qos=mqtt5.QoS(2), packet_id=at) for at in (1, 2, 3)
    ]
    rich = mqtt5.PublishPacket(
        "t", b"2", qos=mqtt5.QoS(2), packet_id=2, user_properties=[("a", "b")]
    )
    Scanner(log).feed(b"".join(each.write() for each in [*plain, rich]), arrivals)
    assert arrivals.payloads == [b"1", b"3"]
    assert arrivals.message_ids == [1, 3]


@given(
    st.lists(st.tuples(TOPICS, PAYLOADS, PROPERTIES), min_size=1, max_size=8),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_written_messages_equal_those_of_the_codec(
    items: list[tuple[str, bytes, list[tuple[str, str]] | None]],
    qos: int,
    retained: bool,
    is_one_topic: bool,
) -> None:
    topics: list[str] = [items[0][0] if is_one_topic else topic for topic, _, _ in items]
    properties = None if is_one_topic else [dict(each or ()) for _, _, each in items]
    batch = Messages(
        topics[0] if is_one_topic else topics,
        [payload for _, payload, _ in items],
        qos,
        retained,
        properties,
    )
    ids = list(range(1, len(items) + 1)) if qos else []
    expected = b"".join(
        mqtt5.PublishPacket(
            topics[at],
            payload,
            qos=mqtt5.QoS(qos),
            retain=retained,
            packet_id=ids[at] if qos else None,
            user_properties=list(properties[at].items()) if properties else None,
        ).write()
        for at, (_, payload, _) in enumerate(items)
    )
    writer = Writer()
    assert writer.encode(batch, range(len(items)), ids) == expected
    assert writer.encode(batch, [0], ids[:1]) == expected[: len(writer.encode(batch, [0], ids[:1]))]


@given(st.integers(0, 268_435_455))
def test_lengths_are_written_seven_bits_a_byte(size: int) -> None:
    encoded = variable_length(size)
    assert sum((byte & 127) << 7 * at for at, byte in enumerate(encoded)) == size
    assert all(byte & 128 for byte in encoded[:-1])
    assert not encoded[-1] & 128


def test_a_chunk_holds_at_least_one_message() -> None:
    payloads = [b"x" * 10] * 5
    assert chunk_size(payloads, range(5), 1000) == 5
    assert chunk_size(payloads, range(5), 25) == 3
    assert chunk_size(payloads, range(2, 5), 1) == 1


def test_a_message_in_many_small_pieces_takes_linear_time() -> None:
    payload = b"x" * 10_000_000
    packet = mqtt5.PublishPacket("big", payload).write()
    arrivals = Arrivals()
    scanner = Scanner(Log())
    for at in range(0, len(packet), 1000):  # 10 000 pieces; joining each time would copy 50 GB
        scanner.feed(packet[at : at + 1000], arrivals)
    assert arrivals.payloads == [payload]


def test_arrivals_merge_and_split_without_mixing_columns() -> None:
    first, second = Arrivals(), Arrivals()
    first.add(0, "a", b"0")
    first.add(2, "a", b"1", PUBACK | 5, {"k": "v"})
    first.add(0, "b", b"2")
    second.add(0, "c", b"3")
    second.add(4, "c", b"4", PUBREC | 6)
    second.add(1, "c", b"5", 0, {"x": "y"})
    first.take(second)
    assert first.payloads == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert first.topics == ["a", "a", "b", "c", "c", "c"]
    assert first.qos == [0, 1, 0, 0, 2, 0]
    assert first.message_ids == [0, 5, 0, 0, 6, 0]
    assert first.retained == [False] * 5 + [True]
    assert first.properties == [None, {"k": "v"}, None, None, None, {"x": "y"}]
    owing = first.owing
    assert owing.payloads == [b"1", b"4"]
    assert owing.message_ids == [5, 6]
    assert owing.properties == [{"k": "v"}, None]
    plain = Arrivals()
    plain.add(0, "z", b"z")
    plain.take_range(first, 5, 6, len(first.runs) - 1)
    assert (plain.message_ids, plain.properties) == ([0, 0], [None, {"x": "y"}])
