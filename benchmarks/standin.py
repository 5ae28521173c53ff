"""A stand-in broker: floods whoever subscribes and counts what is published back.

It obeys a controller on standard input, one word a line, and ends with it. ``flood`` sends all
messages, as fast as the subscriber reads; ``state`` answers with a ``State`` as one line of JSON.
The first line it prints is the port it listens on.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import sys
import termios
import time
from pathlib import Path

import mqtt5
from msgspec import Struct, json
from workload import PAYLOADS

_PUBLISH_QOS_0 = 0x30
_CONNACK = b"\x20\x03\x00\x00\x00"
_PINGRESP = b"\xd0\x00"


class State(Struct):
    """How far the stand-in has got; times are of the system-wide monotonic clock."""

    subscribed_at: float | None = None
    began_at: float | None = None
    """When the first byte of the flood was sent."""
    is_flooded: bool = False
    """Whether the kernel has taken all of the flood."""
    unread: int = 0
    """Bytes the subscriber has not read yet, those in its socket included; known once flooded."""
    results: int = 0
    result_bytes: int = 0
    last_result_at: float | None = None


class StandIn:
    """The broker; ``chunks`` is what a subscriber gets."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.state = State()
        self._chunks = chunks
        self._subscriber: Client | None = None

    def subscribed(self, client: Client) -> None:
        self._subscriber = client
        self.state.subscribed_at = time.monotonic()

    async def flood(self) -> None:
        assert self._subscriber is not None
        self.state.began_at = time.monotonic()
        for chunk in self._chunks:
            await self._subscriber.send(chunk)
        self.state.is_flooded = True

    def report(self) -> State:
        if self._subscriber is not None and self.state.is_flooded:
            self.state.unread = self._subscriber.unread()
        return self.state


class Client(asyncio.Protocol):
    """A connection to the stand-in; reads at any time, so that it never holds up a sink."""

    def __init__(self, broker: StandIn) -> None:
        self._broker = broker
        self._rest = b""
        self._can_write = asyncio.Event()
        self._can_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, end, results, result_bytes = 0, len(data), 0, 0
        while at + 1 < end:
            size, body, shift = data[at + 1] & 127, at + 2, 7
            while data[body - 1] > 127 and body < end:
                size |= (data[body] & 127) << shift
                body, shift = body + 1, shift + 7
            if data[body - 1] > 127 or body + size > end:
                break
            if data[at] == _PUBLISH_QOS_0:
                results += 1
                result_bytes += body + size - at
            else:
                self._answer(data[at : body + size])
            at = body + size
        self._rest = data[at:]
        if results:
            self._count(results, result_bytes)

    async def send(self, chunk: bytes) -> None:
        """Return when the kernel has taken the chunk."""
        if self._transport.is_closing():
            raise ConnectionError("the subscriber has gone")
        self._transport.write(chunk)
        await self._can_write.wait()

    def unread(self) -> int:
        """Return how many bytes the peer's program has not read yet, as far as the kernel knows."""
        if self._transport.is_closing():
            return 0
        socket = self._transport.get_extra_info("socket")
        size = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
        unacknowledged = int.from_bytes(size, sys.byteorder)
        return unacknowledged + _receive_queue(socket.getpeername()[1], socket.getsockname()[1])

    def _count(self, results: int, size: int) -> None:
        state = self._broker.state
        state.results += results
        state.result_bytes += size
        state.last_result_at = time.monotonic()

    def _answer(self, data: bytes) -> None:
        packet, _ = mqtt5.read(memoryview(data))
        match packet:
            case mqtt5.ConnectPacket():
                self._transport.write(_CONNACK)
            case mqtt5.SubscribePacket():
                codes = [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE] * len(
                    packet.topic_filters
                )
                self._transport.write(mqtt5.SubAckPacket(packet.packet_id, codes).write())
                self._broker.subscribed(self)
            case mqtt5.UnsubscribePacket():
                gone = [mqtt5.UnsubAckReasonCode.SUCCESS] * len(packet.patterns)
                self._transport.write(mqtt5.UnsubAckPacket(packet.packet_id, gone).write())
            case mqtt5.PublishPacket(packet_id=int(packet_id)):
                self._transport.write(mqtt5.PubAckPacket(packet_id).write())
                self._count(1, len(data))
            case mqtt5.PingReqPacket():
                self._transport.write(_PINGRESP)
            case mqtt5.DisconnectPacket():
                self._transport.close()
            case _:
                raise ValueError(f"an unexpected {type(packet).__name__} came")


def _receive_queue(local_port: int, remote_port: int) -> int:
    """Return the bytes that wait in the socket of a program on this machine."""
    ends = [f":{local_port:04X}", f":{remote_port:04X}"]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, *addresses, _, queues, _ = line.split(maxsplit=5)
        if all(map(str.endswith, addresses, ends)):
            return int(queues.partition(":")[2], 16)
    return 0


async def serve(chunks: list[bytes]) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    broker = StandIn(chunks)
    server = await loop.create_server(lambda: Client(broker), "127.0.0.1", 0)
    _say(json.encode(server.sockets[0].getsockname()[1]))
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    flood: asyncio.Task[None] | None = None
    async for order in orders:
        if order.strip() == b"flood":
            flood = asyncio.create_task(broker.flood(), name="flood")
        elif order.strip() == b"state":
            _say(json.encode(broker.report()))
        if flood is not None and flood.done():
            flood.result()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payload", choices=PAYLOADS, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(serve(list(PAYLOADS[options.payload].flood(options.count))))


if __name__ == "__main__":
    main()
