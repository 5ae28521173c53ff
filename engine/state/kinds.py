"""Values without members that msgpack can't tell from text or numbers, as bytes and back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec


class Kind(NamedTuple):
    """One type and its form on disk; ``code`` is the msgpack extension type."""

    code: int
    type: type[Any]
    pack: Callable[[Any], bytes]
    """Raises ValueError, with words for the user, for a value that can't be stored."""
    unpack: Callable[[bytes], Any]
    """Raises any exception for bytes that ``pack`` can't have made."""


def pack_int(value: int) -> bytes:
    """Return an integer of any size."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def unpack_int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def pack_text(value: str) -> bytes:
    """Return text that may hold lone surrogates, which UTF-8 proper has no place for."""
    return value.encode("utf-8", "surrogatepass")


def unpack_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _pack_datetime(value: datetime) -> bytes:
    plain = value.replace(tzinfo=None, fold=0)
    return msgspec.msgpack.encode([plain.isoformat(), value.fold, _zone(value.tzinfo)])


def _unpack_datetime(data: bytes) -> datetime:
    text, fold, zone = msgspec.msgpack.decode(data)
    return datetime.fromisoformat(text).replace(tzinfo=_tzinfo(zone), fold=fold)


def _pack_time(value: time) -> bytes:
    plain = value.replace(tzinfo=None, fold=0)
    return msgspec.msgpack.encode([plain.isoformat(), value.fold, _zone(value.tzinfo)])


def _unpack_time(data: bytes) -> time:
    text, fold, zone = msgspec.msgpack.decode(data)
    return time.fromisoformat(text).replace(tzinfo=_tzinfo(zone), fold=fold)


def _zone(info: tzinfo | None) -> int | str | None:
    """Return the microseconds of a fixed offset, the name of a zone, None for no zone."""
    if info is None:
        return None
    if type(info) is timezone:
        return info.utcoffset(None) // timedelta(microseconds=1)
    if type(info) is ZoneInfo and info.key:
        return info.key
    raise ValueError(
        f"a time zone of type {type(info).__name__} can't be stored; use zoneinfo.ZoneInfo"
    )


def _tzinfo(zone: int | str | None) -> tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, str):
        return ZoneInfo(zone)
    return timezone(timedelta(microseconds=zone)) if zone else UTC


def _pack_timedelta(value: timedelta) -> bytes:
    return msgspec.msgpack.encode([value.days, value.seconds, value.microseconds])


def _unpack_timedelta(data: bytes) -> timedelta:
    return timedelta(*msgspec.msgpack.decode(data, type=tuple[int, int, int]))


KINDS = (
    Kind(1, datetime, _pack_datetime, _unpack_datetime),
    Kind(2, date, lambda value: value.isoformat().encode(), lambda b: date.fromisoformat(_text(b))),
    Kind(3, time, _pack_time, _unpack_time),
    Kind(4, timedelta, _pack_timedelta, _unpack_timedelta),
    Kind(5, Decimal, lambda value: str(value).encode(), lambda b: Decimal(_text(b))),
    Kind(6, UUID, lambda value: value.bytes, lambda b: UUID(bytes=b)),
    Kind(7, bytearray, bytes, bytearray),
    Kind(8, int, pack_int, unpack_int),
    Kind(9, str, pack_text, unpack_text),
)
"""Integers and texts are stored so only where msgpack's own form can't hold them."""


def _text(data: bytes) -> str:
    return data.decode("ascii")
