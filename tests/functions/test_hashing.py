"""Hash functions, as in the function catalogue, sections 9 and 21."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from engine.errors import EngineError
from tests.functions.calls import example_holds, examples, outcome_of, value_of

NAMES = ("md5", "sha1", "sha256", "sha384", "sha512", "crc32")
BYTES = "decode('/wA=', 'base64')"


@pytest.mark.parametrize("example", examples("hashing"))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize("name", NAMES)
async def test_null_gives_null_and_so_does_what_is_empty(name: str) -> None:
    for value in (None, [], {}):
        assert await outcome_of(f"{name}(a)", a=value) is None


@pytest.mark.parametrize("literal", ["1", "1.5", "true"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_literal_is_a_text(name: str, literal: str) -> None:
    assert await outcome_of(f"{name}({literal})") is EngineError


@pytest.mark.parametrize(
    ("value", "text"),
    [("é", "é"), (5, "5"), (1e6, "1000000"), (1.5, "1.5"), (True, "true"), ([1, "z"], "[1 z]")],
)
@pytest.mark.parametrize("name", NAMES[:5])
async def test_the_text_of_a_value_is_hashed(name: str, value: Any, text: str) -> None:
    expected = hashlib.new(name, text.encode()).hexdigest()
    assert await value_of(f"{name}(a)", a=value) == expected


@pytest.mark.parametrize("name", NAMES[:5])
async def test_bytes_are_hashed_as_they_are(name: str) -> None:
    assert await value_of(f"{name}({BYTES})") == hashlib.new(name, b"\xff\x00").hexdigest()


async def test_a_checksum_has_eight_digits() -> None:
    assert await value_of("crc32('n3')") == "057735c0"
    assert await value_of("crc32('')") == "00000000"
