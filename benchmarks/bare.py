"""The bare loop: what a case costs without an engine, as the yardstick for the engine.

It takes one thing for granted that an engine can't: that all messages are the expected ones. At
SIGTERM it prints its balance just as the engine does.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import mqtt5
from msgspec import Struct, json
from workload import CASES, LIMIT, OUT_TOPIC, PAYLOADS, TOPIC, publish_head

Query = Callable[[list[bytes]], list[bytes]]
Write = Callable[[list[bytes]], None]


class Reading(Struct, gc=False):
    temperature: float
    humidity: float


class Report(Reading, gc=False):
    pressure: float
    deviceId: str  # noqa: N815
    status: str


class Small(Struct, gc=False):
    f: float
    humidity: float


class Large(Small, gc=False):
    pressure: float
    deviceId: str  # noqa: N815
    status: str


class Temperature(Struct, gc=False):
    temperature: float


decode = json.Decoder(Temperature).decode
decode_small = json.Decoder(Reading).decode
decode_large = json.Decoder(Report).decode
encode = json.Encoder().encode


def keep(payloads: list[bytes]) -> list[bytes]:
    return [each for each in payloads if decode(each).temperature > LIMIT]


def project_small(payloads: list[bytes]) -> list[bytes]:
    return [
        encode(Small(row.temperature * 1.8 + 32, row.humidity))
        for row in map(decode_small, payloads)
        if row.temperature > LIMIT
    ]


def project_large(payloads: list[bytes]) -> list[bytes]:
    return [
        encode(
            Large(row.temperature * 1.8 + 32, row.humidity, row.pressure, row.deviceId, row.status)
        )
        for row in map(decode_large, payloads)
        if row.temperature > LIMIT
    ]


def discard(rows: list[bytes]) -> None:
    pass


class Heads(dict[int, bytes]):
    """What precedes a payload, by its size."""

    def __missing__(self, size: int) -> bytes:
        self[size] = head = publish_head(OUT_TOPIC, size)
        return head


class BareLoop(asyncio.Protocol):
    """Read, query, write: whole reads at a time, nothing in between."""

    def __init__(self, query: Query, write: Write | None) -> None:
        self._query = query
        self._write = write or self._publish
        self._rest = b""
        self._heads = Heads()
        self.read = self.written = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(mqtt5.ConnectPacket("bare").write())
        transport.write(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter(TOPIC)]).write())

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, last = 0, len(data) - 1
        payloads = []
        while at < last:
            size, body = data[at + 1], at + 2
            if size > 127:  # at most two bytes here
                if body > last:
                    break
                size, body = size & 127 | data[body] << 7, body + 1
            stop = body + size
            if stop > last + 1:
                break
            if data[at] == 0x30:
                payloads.append(data[body + 3 + (data[body] << 8 | data[body + 1]) : stop])
            at = stop
        self._rest = data[at:]
        rows = self._query(payloads)
        self.read += len(payloads)
        self.written += len(rows)
        if rows:
            self._write(rows)

    def _publish(self, rows: list[bytes]) -> None:
        heads = self._heads
        self._transport.write(b"".join([heads[len(row)] + row for row in rows]))


async def run(port: int, query: Query, write: Write | None) -> None:
    """Run until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    transport, bare = await loop.create_connection(
        lambda: BareLoop(query, write), "127.0.0.1", port
    )
    await stop.wait()
    transport.close()
    filtered = bare.read - bare.written
    sys.stderr.write(
        f"rule bench: in {bare.read} = out {bare.written} + filtered {filtered} + "
        "dropped 0 + errors 0 + pending 0\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--payload", choices=PAYLOADS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    case = CASES[options.case]
    project = project_small if options.payload == "small" else project_large
    with options.file.open("wb", buffering=0) as file:

        def append(rows: list[bytes]) -> None:
            file.write(b"\n".join(rows) + b"\n")

        sinks: dict[str, Write | None] = {"nop": discard, "file": append, "mqtt": None}
        query = project if case.projects else keep
        asyncio.run(run(options.port, query, sinks[case.sink]))


if __name__ == "__main__":
    main()
