"""Classes that state tests store: they are found again by the name of this module."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

import msgspec


@dataclass
class Reading:
    name: str
    values: list[float] = field(default_factory=list)
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.made = 1


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int


class Span(msgspec.Struct, frozen=True):
    start: int
    end: int = 0


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Opaque:
    """Nothing the codec knows."""

    def __init__(self, number: int) -> None:
        self.number = number
