"""Compression and encryption of encoded messages."""

from __future__ import annotations

import base64
import binascii
import os
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec

from engine.errors import ConfigError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Seal = Callable[[bytes], bytes]
CompressionMethod = Literal["", "zlib", "gzip", "flate", "zstd"]

KEY_VARIABLE = "KUIPER__BASIC__AESKEY"
"""The environment variable that holds the AES key: base64 of 16, 24 or 32 bytes."""

_WINDOW_BITS = {"zlib": 15, "gzip": 31, "flate": -15}
_HIGHEST_LEVEL = {"zlib": 9, "gzip": 9, "flate": 9, "zstd": 22}
_NONCE_BYTES = {"cfb": 16, "gcm": 12}
_TAG_BYTES = 16


class CompressionProps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """``compressionProps``; no level is the method's own default."""

    level: int | None = None


class EncryptionProps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """``encProps``: the mode, and for GCM data that is authenticated but not sent (base64)."""

    mode: Literal["cfb", "gcm"] = "cfb"
    iv: str = ""
    aad: str = ""
    tagsize: Annotated[int, msgspec.Meta(ge=0)] = _TAG_BYTES


def compressor(method: str, props: CompressionProps) -> Seal:
    """Return what compresses a message.

    Raises:
        ConfigError: the method has no such level.
    """
    level = props.level
    if level is not None and not -1 <= level <= _HIGHEST_LEVEL[method]:
        raise ConfigError(
            f"compressionProps: {method} has no level {level}",
            hint=f"it can be 1 to {_HIGHEST_LEVEL[method]}",
        )
    if method == "zstd":
        zstd_level = None if level is None or level < 1 else level
        return lambda data: zstd.compress(data, zstd_level)
    bits = _WINDOW_BITS[method]
    zlib_level = -1 if level is None else level

    def compress(data: bytes) -> bytes:
        stream = zlib.compressobj(zlib_level, wbits=bits)
        return stream.compress(data) + stream.flush()

    return compress


def encryptor(props: EncryptionProps, environ: Mapping[str, str] = os.environ) -> Seal:
    """Return what encrypts a message with AES; a new random nonce is written before each.

    GCM notices when a message was changed on its way, CFB (eKuiper's default) does not.

    Raises:
        ConfigError: there is no usable key, or a property would make the encryption unsafe.
    """
    if props.iv:
        raise ConfigError(
            "encProps: iv can't be fixed: each message must have its own",
            hint="leave it out; a random one is written before each message",
        )
    if props.tagsize != _TAG_BYTES:
        raise ConfigError(f"encProps: tagsize can only be {_TAG_BYTES} bytes")
    if props.aad and props.mode != "gcm":
        raise ConfigError("encProps: aad is for mode gcm only")
    key = _key(environ)
    aad = _decoded(props.aad, "encProps.aad")
    try:
        return _gcm(key, aad) if props.mode == "gcm" else _cfb(key)
    except ImportError:
        raise ConfigError(
            "encryption needs the package cryptography",
            hint="install it with: pip install 'headrace[crypto]'",
        ) from None


def _gcm(key: bytes, aad: bytes) -> Seal:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key)

    def encrypt(data: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES["gcm"])
        return nonce + cipher.encrypt(nonce, data, aad or None)

    return encrypt


def _cfb(key: bytes) -> Seal:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES

    algorithm = AES(key)

    def encrypt(data: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES["cfb"])
        stream = Cipher(algorithm, CFB(nonce)).encryptor()
        return nonce + stream.update(data) + stream.finalize()

    return encrypt


def _key(environ: Mapping[str, str]) -> bytes:
    text = environ.get(KEY_VARIABLE, "")
    if not text:
        raise ConfigError(
            "AES Key is not defined",
            hint=f"set the environment variable {KEY_VARIABLE} to a key in base64",
        )
    key = _decoded(text, KEY_VARIABLE)
    if len(key) not in (16, 24, 32):
        raise ConfigError(f"{KEY_VARIABLE}: an AES key has 16, 24 or 32 bytes, not {len(key)}")
    return key


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{where} isn't base64") from None
