"""Places on earth as short texts: encode, decode, neighbours, distances.

A geohash names a rectangle. Each letter more cuts it into 32; places near each other mostly begin
with the same letters, so that ``GROUP BY substring(hash, 0, 5)`` groups by regions of 5 km.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from engine.api import ConfigError, Context, Function, RowError

_LETTERS = "0123456789bcdefghjkmnpqrstuvwxyz"
_NUMBERS = {letter: number for number, letter in enumerate(_LETTERS)}
_LONGEST = 12
_NO_HASH = "no geohash"
_EARTH = 6_371_008.8
"""Mean radius in metres."""
_STEPS = {
    "North": (1, 0),
    "NorthEast": (1, 1),
    "East": (0, 1),
    "SouthEast": (-1, 1),
    "South": (-1, 0),
    "SouthWest": (-1, -1),
    "West": (0, -1),
    "NorthWest": (1, -1),
}
_DIRECTIONS = {name.lower(): step for name, step in _STEPS.items()}


class _Cell(NamedTuple):
    """A rectangle by its place in the grid of all rectangles of its size."""

    row: int
    column: int
    length: int

    @property
    def bits(self) -> tuple[int, int]:
        """How often latitude and longitude are halved."""
        return self.length * 5 // 2, (self.length * 5 + 1) // 2

    @property
    def sizes(self) -> tuple[float, float]:
        """Height and width in degrees."""
        rows, columns = self.bits
        return 180 / (1 << rows), 360 / (1 << columns)

    @property
    def corner(self) -> tuple[float, float]:
        """Latitude and longitude in the south-west."""
        height, width = self.sizes
        return self.row * height - 90, self.column * width - 180

    @property
    def centre(self) -> tuple[float, float]:
        (south, west), (height, width) = self.corner, self.sizes
        return south + height / 2, west + width / 2

    def moved(self, north: int, east: int) -> _Cell | None:
        """Return a neighbour: around the earth in the east, None beyond a pole."""
        rows, columns = self.bits
        row = self.row + north
        if not 0 <= row < 1 << rows:
            return None
        return _Cell(row, (self.column + east) % (1 << columns), self.length)

    def text(self) -> str:
        number = 0
        rows, columns = self.bits
        for bit in range(self.length * 5):  # longitude first, then in turns
            if bit % 2 == 0:
                columns -= 1
                number = number << 1 | self.column >> columns & 1
            else:
                rows -= 1
                number = number << 1 | self.row >> rows & 1
        letters = range(self.length - 1, -1, -1)
        return "".join(_LETTERS[number >> 5 * place & 31] for place in letters)


def _cell_at(latitude: float, longitude: float, length: int) -> _Cell:
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        what = f"there is no place at latitude {latitude}, longitude {longitude}"
        raise RowError(what, kind="there is no such place")
    height, width = _Cell(0, 0, length).sizes
    rows, columns = _Cell(0, 0, length).bits
    row = min(int((latitude + 90) / height), (1 << rows) - 1)
    return _Cell(row, min(int((longitude + 180) / width), (1 << columns) - 1), length)


def _cell_of(hash_: str) -> _Cell:
    if not 0 < len(hash_) <= _LONGEST:
        raise RowError(f"{hash_[:20]!r} is no geohash of 1 to {_LONGEST} letters", kind=_NO_HASH)
    row = column = 0
    is_column = True
    for letter in hash_.lower():
        if letter not in _NUMBERS:
            raise RowError(f"{hash_!r} is no geohash: it has a {letter!r}", kind=_NO_HASH)
        for place in range(4, -1, -1):
            bit = _NUMBERS[letter] >> place & 1
            if is_column:
                column = column << 1 | bit
            else:
                row = row << 1 | bit
            is_column = not is_column
    return _Cell(row, column, len(hash_))


class GeohashEncode(Function):
    """geohashEncode(latitude, longitude, [length]): the geohash of a place, of 12 letters."""

    stateless = True

    def validate(self, args: Any) -> None:
        length = args[2] if len(args) > 2 else _LONGEST
        if length is not ... and not (type(length) is int and 0 < length <= _LONGEST):
            raise ConfigError(f"a geohash has 1 to {_LONGEST} letters")

    def exec(
        self,
        ctx: Context,
        latitude: float | None,
        longitude: float | None,
        length: int | None = _LONGEST,
    ) -> str | None:
        if latitude is None or longitude is None or length is None:
            return None
        if not 0 < length <= _LONGEST:
            what = f"a geohash has 1 to {_LONGEST} letters"
            raise RowError(f"{what}, not {length}", kind=what)
        return _cell_at(latitude, longitude, length).text()


class GeohashDecode(Function):
    """geohashDecode(hash): the middle of its rectangle, as {Latitude, Longitude} in degrees."""

    stateless = True

    def exec(self, ctx: Context, hash: str | None) -> dict[str, float] | None:  # noqa: A002
        if hash is None:
            return None
        latitude, longitude = _cell_of(hash).centre
        return {"Latitude": latitude, "Longitude": longitude}


class GeohashBoundingBox(Function):
    """geohashBoundingBox(hash): its rectangle, as {MinLat, MaxLat, MinLng, MaxLng} in degrees."""

    stateless = True

    def exec(self, ctx: Context, hash: str | None) -> dict[str, float] | None:  # noqa: A002
        if hash is None:
            return None
        cell = _cell_of(hash)
        (south, west), (height, width) = cell.corner, cell.sizes
        return {
            "MinLat": south,
            "MaxLat": south + height,
            "MinLng": west,
            "MaxLng": west + width,
        }


class GeohashNeighbor(Function):
    """geohashNeighbor(hash, direction): the next rectangle to the North, NorthEast, East …

    Null beyond a pole.
    """

    stateless = True

    def validate(self, args: Any) -> None:
        direction = args[1] if len(args) > 1 else ...
        if direction is not ... and str(direction).lower() not in _DIRECTIONS:
            raise ConfigError(f"{direction!r} is no direction", hint=f"one of {', '.join(_STEPS)}")

    def exec(
        self,
        ctx: Context,
        hash: str | None,  # noqa: A002
        direction: str | None,
    ) -> str | None:
        if hash is None or direction is None:
            return None
        step = _DIRECTIONS.get(direction.lower())
        if step is None:
            what = f"{direction!r} is no direction; one of {', '.join(_STEPS)}"
            raise RowError(what, kind="no such direction")
        cell = _cell_of(hash).moved(*step)
        return None if cell is None else cell.text()


class GeohashNeighbors(Function):
    """geohashNeighbors(hash): the rectangles around it, from the North clockwise.

    They are eight, but five at a pole.
    """

    stateless = True

    def exec(self, ctx: Context, hash: str | None) -> list[str] | None:  # noqa: A002
        if hash is None:
            return None
        cell = _cell_of(hash)
        around = (cell.moved(*step) for step in _STEPS.values())
        return [near.text() for near in around if near is not None]


class GeohashDistance(Function):
    """geohashDistance(hash, hash2): metres between the middles of two rectangles."""

    stateless = True

    def exec(
        self,
        ctx: Context,
        hash: str | None,  # noqa: A002
        hash2: str | None,
    ) -> float | None:
        if hash is None or hash2 is None:
            return None
        ours, theirs = _cell_of(hash).centre, _cell_of(hash2).centre
        lat, lng, lat2, lng2 = map(math.radians, (*ours, *theirs))
        across = math.sin((lat2 - lat) / 2) ** 2
        along = math.cos(lat) * math.cos(lat2) * math.sin((lng2 - lng) / 2) ** 2
        return 2 * _EARTH * math.asin(math.sqrt(min(1.0, across + along)))


functions = {
    "geohashEncode": GeohashEncode,
    "geohashDecode": GeohashDecode,
    "geohashBoundingBox": GeohashBoundingBox,
    "geohashNeighbor": GeohashNeighbor,
    "geohashNeighbors": GeohashNeighbors,
    "geohashDistance": GeohashDistance,
}
