"""Functions that turn values into other kinds, as in the function catalogue, sections 8 and 21."""

from __future__ import annotations

import base64
import gzip
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.errors import EngineError
from engine.functions import compression
from tests.functions.calls import Failed, example_holds, examples, outcome_of, value_of

TYPES = ("bigint", "float", "string", "boolean", "datetime", "bytea")


@pytest.mark.parametrize("example", examples("transform"))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize(
    "call",
    [
        *(f"cast(a, '{type_}')" for type_ in TYPES),
        "cast(1, a)",
        "convert_tz(a, 'UTC')",
        "convert_tz(z, a)",
        "to_seconds(a)",
        "encode(a, 'base64')",
        "decode(a, 'base64')",
        "compress(a, 'gzip')",
        "compress('x', a)",
        "decompress(a, 'gzip')",
        "chr(a)",
        "hex2dec(a)",
        "dec2hex(a)",
    ],
)
async def test_null_gives_null(call: str) -> None:
    assert await outcome_of(call, z=0) is None


@pytest.mark.parametrize(
    ("call", "value"),
    [
        *((f"cast(a, '{type_}')", None) for type_ in TYPES),
        ("convert_tz(a, 'UTC')", None),
        ("to_seconds(a)", None),
        ("encode(a, 'base64')", None),
        ("decode(a, 'base64')", None),
        ("compress(a, 'gzip')", Failed),
        ("decompress(a, 'gzip')", Failed),
        ("chr(a)", None),
        ("hex2dec(a)", None),
        ("dec2hex(a)", None),
    ],
)
async def test_an_empty_list_counts_as_null(call: str, value: Any) -> None:
    assert await outcome_of(call, a=[]) == value


@pytest.mark.parametrize(
    ("type_", "value", "result"),
    [
        ("bigint", 3, 3),
        ("bigint", -2.75, -2),
        ("bigint", 1e-7, 0),
        ("bigint", 1e21, Failed),
        ("bigint", 9.3e18, Failed),
        ("bigint", True, 1),
        ("bigint", "42", 42),
        ("bigint", "+12", 12),
        ("bigint", "010", 10),
        ("bigint", "1.0", 1),
        ("bigint", "1.", 1),
        ("bigint", "4.5", Failed),
        ("bigint", "0x1F", 31),
        ("bigint", "-0XfF", -255),
        ("bigint", "0b101", Failed),
        ("bigint", "1_000", Failed),
        ("bigint", " 7 ", Failed),
        ("bigint", "٣", Failed),
        ("bigint", "", Failed),
        ("bigint", "1e3", Failed),
        ("bigint", "9" * 100_000, Failed),
        ("bigint", "9223372036854775807", 9223372036854775807),
        ("bigint", "9223372036854775808", Failed),
        ("bigint", [1], Failed),
        ("bigint", [], None),
        ("bigint", {}, None),
        ("float", 3, 3),
        ("float", False, 0),
        ("float", "1.5e3", 1500),
        ("float", ".5", 0.5),
        ("float", "0x1p-2", 0.25),
        ("float", "inf", None),
        ("float", "NaN", None),
        ("float", "1e999", None),
        ("float", "1_0", Failed),
        ("float", " 1", Failed),
        ("float", "x", Failed),
        ("float", "", Failed),
        ("float", [1], Failed),
        ("string", 3, "3"),
        ("string", 1e6, "1000000"),
        ("string", 1e-7, "0.0000001"),
        ("string", -2.75, "-2.75"),
        ("string", True, "true"),
        ("string", [1, "a"], "[1 a]"),
        ("string", {"m": 1}, "map[m:1]"),
        ("string", [], None),
        ("string", [[]], "[[]]"),
        ("boolean", 3, True),
        ("boolean", 0, False),
        ("boolean", 1e-7, True),
        ("boolean", "T", True),
        ("boolean", "False", False),
        ("boolean", "tRUE", Failed),
        ("boolean", "42", Failed),
        ("boolean", [1], Failed),
        ("datetime", 0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("datetime", 999.9, datetime(1970, 1, 1, 0, 0, 0, 999000, tzinfo=UTC)),
        ("datetime", "2024-02-29T13:45:56+01:00", datetime(2024, 2, 29, 12, 45, 56, tzinfo=UTC)),
        ("datetime", "x", Failed),
        ("datetime", 1e300, Failed),
        ("datetime", True, Failed),
        ("bytea", "abcd", b"abcd"),
        ("bytea", "é", b"\xc3\xa9"),
        ("bytea", 5, Failed),
        ("nosuch", 5, Failed),
        ("BIGINT", 5, Failed),
    ],
)
async def test_casts(type_: str, value: Any, result: Any) -> None:
    assert await outcome_of("cast(a, t)", a=value, t=type_) == result


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("cast(1, 'nosuch')", EngineError),
        ("cast(1, 'BIGINT')", EngineError),
        ("cast(1, 5)", EngineError),
        ("cast(1, a)", Failed),
        ("cast(cast('é', 'bytea'), 'string')", "é"),
        ("cast(cast('é', 'bytea'), 'bytea')", b"\xc3\xa9"),
        ("cast(cast('é', 'bytea'), 'bigint')", Failed),
        ("cast(cast(0, 'datetime'), 'datetime')", datetime(1970, 1, 1, tzinfo=UTC)),
        ("cast(cast(0, 'datetime'), 'boolean')", Failed),
        ("cast(cast(1500, 'datetime'), 'string')", "1970-01-01 00:00:01.5 +0000 UTC"),
        ("cast(convert_tz(z, 'Asia/Tokyo'), 'string')", "1970-01-01 09:00:00 +0900 JST"),
        (
            "cast(cast('2024-02-29T13:00:00+05:30', 'datetime'), 'string')",
            "2024-02-29 13:00:00 +0530 +0530",
        ),
        ("to_seconds('2024-02-29 13:45:56')", 1709214356),
        ("to_seconds(-1)", -1),
        ("to_seconds(1500.5)", 1),
        ("to_seconds('x')", Failed),
        ("to_seconds(true)", Failed),
        ("convert_tz(z, 'nowhere/land')", Failed),
        ("convert_tz(z, '../../etc/passwd')", Failed),
        ("convert_tz(z, 'Europe')", Failed),
        ("convert_tz('x', 'UTC')", Failed),
        ("convert_tz(0, 'UTC')", EngineError),
        ("convert_tz(true, 'UTC')", EngineError),
        ("convert_tz(z, 8)", EngineError),
        ("encode('é', 'base64')", "w6k="),
        ("encode(decode(b, 'base64'), 'base64')", "/wA="),
        ("encode('x', 'hex')", EngineError),
        ("encode('x', 'BASE64')", EngineError),
        ("encode('x', h)", EngineError),
        ("decode('x', h)", EngineError),
        ("encode(1, 'base64')", EngineError),
        ("encode(a, 'base64')", Failed),
        ("decode(b, 'base64')", b"\xff\x00"),
        ("decode(c, 'base64')", b"hello"),
        ("decode('aGVsbG8', 'base64')", Failed),
        ("decode('!!!!', 'base64')", Failed),
        ("decode('é', 'base64')", Failed),
        ("decode(a, 'base64')", Failed),
        ("compress(a, 'gzip')", Failed),
        ("compress(5, 'gzip')", EngineError),
        ("compress('x', 'lzma')", Failed),
        ("decompress('x', 'lzma')", Failed),
        ("chr(65)", "A"),
        ("chr(128512)", "😀"),
        ("chr(x)", "A"),
        ("chr(65.0)", "A"),
        ("chr(65.9)", EngineError),
        ("chr('a')", "a"),
        ("chr('')", Failed),
        ("chr('ab')", Failed),
        ("chr(-1)", Failed),
        ("chr(1114112)", Failed),
        ("chr(55296)", Failed),
        ("chr(1e300)", Failed),
        ("chr(true)", EngineError),
        ("chr(2 > 1)", Failed),
        ("chr(l)", Failed),
        ("hex2dec('1F')", 31),
        ("hex2dec('0x-11')", -17),
        ("hex2dec('+c')", 12),
        ("hex2dec('0XFF')", Failed),
        ("hex2dec('')", Failed),
        ("hex2dec('1_0')", Failed),
        ("hex2dec('8000000000000000')", Failed),
        ("hex2dec(5)", EngineError),
        ("hex2dec(a)", Failed),
        ("dec2hex(16.0)", "0x10"),
        ("dec2hex(-17)", "0x-11"),
        ("dec2hex(1.5)", EngineError),
        ("dec2hex(h)", Failed),
        ("hex2dec(dec2hex(-12345))", -12345),
    ],
)
async def test_values(call: str, value: Any) -> None:
    row = {"a": 5, "b": "/wA=", "c": "aGVs\r\nbG8=", "h": "hex", "l": [1], "x": 65.9, "z": 0}
    assert await outcome_of(call, **row) == value


async def test_a_time_in_another_zone_is_the_same_time() -> None:
    found = await value_of("convert_tz(a, 'America/New_York')", a="2024-03-10T07:00:00Z")
    assert found.isoformat() == "2024-03-10T03:00:00-04:00"
    for zone in ("", "UTC", "Local"):
        assert await value_of(f"convert_tz(a, '{zone}')", a=0) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("method", compression.METHODS)
@pytest.mark.parametrize("text", ["", "x", "é" * 10_000])
async def test_what_was_compressed_comes_back(method: str, text: str) -> None:
    call = f"cast(decompress(compress(a, '{method}'), '{method}'), 'string')"
    assert await value_of(call, a=text) == text


@pytest.mark.parametrize("method", compression.METHODS)
async def test_what_is_broken_is_an_error(method: str) -> None:
    assert await outcome_of(f"decompress(a, '{method}')", a="broken!") is Failed
    assert await outcome_of(f"decompress('', '{method}')") is Failed
    half = compression.compress(b"telemetry" * 10, method)[:12]
    call = f"decompress(decode(a, 'base64'), '{method}')"
    assert await outcome_of(call, a=base64.b64encode(half).decode()) is Failed


async def test_the_formats_are_those_of_everyone_else() -> None:
    assert zlib.decompress(await value_of("compress('x', 'zlib')")) == b"x"
    assert gzip.decompress(await value_of("compress('x', 'gzip')")) == b"x"
    assert zlib.decompress(await value_of("compress('x', 'flate')"), -15) == b"x"
    assert (await value_of("compress('x', 'zstd')"))[:4] == b"\x28\xb5\x2f\xfd"


@pytest.mark.parametrize("method", compression.METHODS)
def test_little_data_can_not_become_too_much(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = compression.compress(b"\0" * 100_000, method)
    assert len(compression.decompress(bomb, method)) == 100_000
    monkeypatch.setattr(compression, "LARGEST_RESULT", 99_999)
    with pytest.raises(ValueError, match="more than 99999 bytes"):
        compression.decompress(bomb, method)


@pytest.mark.parametrize("method", ["gzip", "zstd"])
def test_several_parts_are_one(method: str) -> None:
    data = compression.compress(b"a", method) + compression.compress(b"b", method)
    assert compression.decompress(data, method) == b"ab"
