"""Compression and encryption of messages, undone with the libraries that a receiver would use."""

from __future__ import annotations

import base64
import gzip
import os
import zlib
from collections.abc import Callable
from typing import Any, Literal

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.functions.compression import decompress
from engine.run.sealing import (
    KEY_VARIABLE,
    CompressionProps,
    EncryptionProps,
    compressor,
    encryptor,
)

KEY = bytes(range(32))
ENVIRON = {KEY_VARIABLE: base64.b64encode(KEY).decode()}
UNDONE: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.decompress,
    "gzip": gzip.decompress,
    "flate": lambda data: zlib.decompress(data, -15),
    "zstd": lambda data: decompress(data, "zstd"),
}


@pytest.mark.parametrize("method", UNDONE)
@given(data=st.binary(max_size=2000))
def test_what_was_compressed_is_there_again(method: str, data: bytes) -> None:
    assert UNDONE[method](compressor(method, CompressionProps())(data)) == data


@pytest.mark.parametrize("method", UNDONE)
def test_a_level_trades_time_for_size(method: str) -> None:
    data = b"".join(b'{"n":%d}' % (n * n % 997) for n in range(20_000))
    low, high = (compressor(method, CompressionProps(level))(data) for level in (1, 9))
    assert len(high) < len(low) < len(data)
    assert UNDONE[method](low) == UNDONE[method](high) == data


@pytest.mark.parametrize(("method", "level"), [("gzip", 10), ("zstd", 23), ("flate", -2)])
def test_a_level_that_isnt_one_is_refused(method: str, level: int) -> None:
    with pytest.raises(ConfigError, match=f"{method} has no level {level}"):
        compressor(method, CompressionProps(level))


@given(data=st.binary(max_size=200))
def test_cfb_writes_a_new_nonce_before_each_message(data: bytes) -> None:
    encrypt = encryptor(EncryptionProps(), ENVIRON)
    first, second = encrypt(data), encrypt(data)
    assert first[:16] != second[:16]
    for sealed in (first, second):
        stream = Cipher(AES(KEY), CFB(sealed[:16])).decryptor()
        assert stream.update(sealed[16:]) + stream.finalize() == data


def test_gcm_notices_a_changed_message() -> None:
    aad = base64.b64encode(b"rule 1").decode()
    sealed = encryptor(EncryptionProps(mode="gcm", aad=aad), ENVIRON)(b"hello")
    cipher = AESGCM(KEY)
    assert cipher.decrypt(sealed[:12], sealed[12:], b"rule 1") == b"hello"
    with pytest.raises(InvalidTag):
        cipher.decrypt(sealed[:12], sealed[12:], b"rule 2")
    with pytest.raises(InvalidTag):
        cipher.decrypt(sealed[:12], sealed[12:-1] + bytes([sealed[-1] ^ 1]), b"rule 1")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "AES Key is not defined"),
        ({KEY_VARIABLE: "not base64!"}, "isn't base64"),
        ({KEY_VARIABLE: base64.b64encode(os.urandom(17)).decode()}, "16, 24 or 32 bytes, not 17"),
    ],
)
@pytest.mark.parametrize("mode", ["cfb", "gcm"])
def test_a_missing_or_wrong_key_is_refused(
    environ: dict[str, str], message: str, mode: Literal["cfb", "gcm"]
) -> None:
    with pytest.raises(ConfigError, match=message):
        encryptor(EncryptionProps(mode=mode), environ)


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"iv": "AAAA"}, "each message must have its own"),
        ({"mode": "gcm", "tagsize": 8}, "tagsize can only be 16"),
        ({"aad": "AAAA"}, "aad is for mode gcm only"),
        ({"mode": "gcm", "aad": "?"}, "encProps.aad isn't base64"),
    ],
)
def test_properties_that_would_weaken_the_encryption_are_refused(
    props: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        encryptor(EncryptionProps(**props), ENVIRON)
