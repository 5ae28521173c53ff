"""What the benchmarks send and ask for: payloads, the packets that carry them, and the cases."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal

import msgspec

TOPIC = "sensors/1/data"
OUT_TOPIC = "out"
LIMIT = 50
"""The filter lets temperatures above this pass; temperatures are 0 to 100."""

Sink = Literal["nop", "file", "mqtt"]


@dataclass(frozen=True)
class Payload:
    """A kind of message."""

    name: str
    count: int
    quick_count: int
    in_chunk: int
    """How many packets are prebuilt; the flood repeats them."""
    build: Callable[[random.Random], dict[str, Any]]
    projection: str
    """What the projection cases select."""

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages of one chunk, the same at each call."""
        numbers = random.Random(self.name)
        return [self.build(numbers) for _ in range(self.in_chunk)]

    def packets(self) -> list[bytes]:
        """Return the PUBLISH packets of one chunk."""
        return [publish(TOPIC, msgspec.json.encode(each)) for each in self.messages()]

    def flood(self, count: int) -> Iterator[bytes]:
        """Yield the bytes of ``count`` packets, chunk by chunk."""
        packets = self.packets()
        whole, rest = divmod(count, len(packets))
        yield from repeat(b"".join(packets), whole)
        if rest:
            yield b"".join(packets[:rest])

    def passing(self, count: int) -> int:
        """Return how many of ``count`` messages the filter lets pass."""
        passes: list[bool] = [each["temperature"] > LIMIT for each in self.messages()]
        whole, rest = divmod(count, len(passes))
        return whole * sum(passes) + sum(passes[:rest])


@dataclass(frozen=True)
class Case:
    """A rule to time, whatever the payload."""

    name: str
    projects: bool
    sink: Sink

    def sql(self, payload: Payload) -> str:
        columns = payload.projection if self.projects else "*"
        return f"SELECT {columns} FROM demo WHERE temperature > {LIMIT}"


def _small(numbers: random.Random) -> dict[str, Any]:
    return {"temperature": numbers.randint(0, 100), "humidity": numbers.randint(10, 99)}


def _large(numbers: random.Random) -> dict[str, Any]:
    """Return the report of a machine: 36 fields, about 870 bytes."""
    return {
        "deviceId": f"press-{numbers.randint(100, 999)}.stamping",
        "site": "plant-north/hall-3",
        "line": "assembly-2/stamping",
        "cell": "C-17/station-4",
        "firmware": "4.18.2+build.20250611",
        "timestamp": numbers.randint(1_700_000_000_000, 1_799_999_999_999),
        "sequence": numbers.randint(100_000, 999_999),
        "status": numbers.choice(["running", "waiting", "stopped", "changing tool"]),
        "operator": "shift-b/badge-20417",
        "temperature": numbers.randint(0, 100),
        "humidity": numbers.randint(10, 99),
        "pressure": round(numbers.uniform(900, 1100), 2),
        "vibrationX": round(numbers.uniform(0, 9), 4),
        "vibrationY": round(numbers.uniform(0, 9), 4),
        "vibrationZ": round(numbers.uniform(0, 9), 4),
        "rotationalSpeed": numbers.randint(1000, 3000),
        "torque": round(numbers.uniform(10, 99), 2),
        "voltageL1": round(numbers.uniform(225, 235), 2),
        "voltageL2": round(numbers.uniform(225, 235), 2),
        "voltageL3": round(numbers.uniform(225, 235), 2),
        "currentL1": round(numbers.uniform(10, 60), 3),
        "currentL2": round(numbers.uniform(10, 60), 3),
        "currentL3": round(numbers.uniform(10, 60), 3),
        "powerFactor": round(numbers.uniform(0.8, 0.99), 3),
        "energyTotal": round(numbers.uniform(10_000, 90_000), 2),
        "oilLevel": numbers.randint(20, 99),
        "oilTemperature": round(numbers.uniform(40, 90), 1),
        "bearingTemperature": round(numbers.uniform(40, 90), 1),
        "ambientTemperature": round(numbers.uniform(10, 40), 1),
        "cycleCount": numbers.randint(1_000_000, 9_999_999),
        "cycleTime": round(numbers.uniform(1, 9), 3),
        "rejectCount": numbers.randint(0, 99),
        "toolWear": round(numbers.uniform(0, 1), 4),
        "doorClosed": numbers.random() < 0.9,
        "alarmCode": None,
        "remark": "nominal operation, next service due in calendar week 32: grease the spindle, "
        "replace filter 3, check belt",
    }


PAYLOADS = {
    each.name: each
    for each in [
        Payload("small", 500_000, 50_000, 20_000, _small, "temperature * 1.8 + 32 AS f, humidity"),
        Payload(
            "large",
            200_000,
            20_000,
            1_000,
            _large,
            "temperature * 1.8 + 32 AS f, humidity, pressure, deviceId, status",
        ),
    ]
}
CASES = {
    each.name: each
    for each in [
        Case("filter-nop", projects=False, sink="nop"),
        Case("filter-file", projects=False, sink="file"),
        Case("filter-mqtt", projects=False, sink="mqtt"),
        Case("projection-mqtt", projects=True, sink="mqtt"),
    ]
}


def publish(topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH of QoS 0 without properties."""
    return publish_head(topic, len(payload)) + payload


def publish_head(topic: str, size: int) -> bytes:
    """Return what precedes a payload of ``size`` bytes."""
    name = topic.encode()
    left = size + len(name) + 3
    length = bytearray()
    while left > 127:
        length.append(left & 127 | 128)
        left >>= 7
    length.append(left)
    return b"\x30" + length + len(name).to_bytes(2, "big") + name + b"\0"
