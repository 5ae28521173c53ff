"""A stand-in for a broker that does, byte for byte, what a test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import mqtt5

P = TypeVar("P")
WITHIN = 10.0  # seconds


async def eventually(condition: Callable[[], object], seconds: float = WITHIN) -> None:
    """Return as soon as a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def publish(topic: str, payload: bytes, *, qos: int = 0, packet_id: int = 0, **more: Any) -> bytes:
    """Return a PUBLISH."""
    return mqtt5.PublishPacket(
        topic, payload, qos=mqtt5.QoS(qos), packet_id=packet_id or None, **more
    ).write()


class Peer:
    """One client as the broker sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.pings = 0
        self.answers_pings = True

    def send(self, *data: bytes) -> None:
        self._writer.write(b"".join(data))

    async def drain(self) -> None:
        await self._writer.drain()

    async def packet(self) -> Any:
        """Return the next packet, or None when the client has closed; pings are answered."""
        while True:
            try:
                head = await self._reader.readexactly(2)
                size, shift = head[1] & 127, 7
                while head[-1] & 128:
                    head += await self._reader.readexactly(1)
                    size |= (head[-1] & 127) << shift
                    shift += 7
                data = head + await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            if data[0] != 0xC0:
                return mqtt5.read(memoryview(data))[0]
            self.pings += 1
            if self.answers_pings:
                self.send(b"\xd0\x00")

    async def expect(self, kind: type[P]) -> P:
        """Return the next packet, which must be of this kind."""
        async with asyncio.timeout(WITHIN):
            packet = await self.packet()
        assert isinstance(packet, kind), packet
        return packet

    async def greet(self, **limits: Any) -> mqtt5.ConnectPacket:
        """Accept the client."""
        packet = await self.expect(mqtt5.ConnectPacket)
        self.send(mqtt5.ConnAckPacket(**limits).write())
        return packet

    async def subscribed(self, *codes: int) -> mqtt5.SubscribePacket:
        """Answer a SUBSCRIBE, by default with what was asked for."""
        packet = await self.expect(mqtt5.SubscribePacket)
        granted = codes or [int(each.max_qos) for each in packet.topic_filters]
        reasons = [mqtt5.SubAckReasonCode(code) for code in granted]
        self.send(mqtt5.SubAckPacket(packet.packet_id, reasons).write())
        return packet

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()


class Standin:
    """Listens; ``accept`` gives the clients one after the other."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Peer] = asyncio.Queue()
        self._peers: list[Peer] = []
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def accept(self) -> Peer:
        async with asyncio.timeout(WITHIN):
            return await self._waiting.get()

    async def serve(self, **limits: Any) -> Peer:
        """Accept a client, and the one subscription that it is about to make."""
        peer = await self.accept()
        await peer.greet(**limits)
        await peer.subscribed()
        return peer

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self._peers:
            peer.abort()
            with suppress(ConnectionError):
                await peer._writer.wait_closed()
        await self._server.wait_closed()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._peers.append(peer)
        self._waiting.put_nowait(peer)
