"""Hash functions (function catalogue, section 9): bytes as they are, all else as its text.

The result is in lower-case hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

from engine.sql.functions import Text, scalar
from engine.sql.text import to_text


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else to_text(value).encode()


@scalar(example="md5('abc') = '900150983cd24fb0d6963f7d28e17f72'")
def md5(value: Text) -> str:
    """Return the MD5 hash; not for security."""
    return hashlib.md5(_bytes(value), usedforsecurity=False).hexdigest()


@scalar(example="sha1('abc') = 'a9993e364706816aba3e25717850c26c9cd0d89d'")
def sha1(value: Text) -> str:
    """Return the SHA-1 hash; not for security."""
    return hashlib.sha1(_bytes(value), usedforsecurity=False).hexdigest()


@scalar(example="length(sha256('abc')) = 64")
def sha256(value: Text) -> str:
    """Return the SHA-256 hash."""
    return hashlib.sha256(_bytes(value)).hexdigest()


@scalar(example="length(sha384('abc')) = 96")
def sha384(value: Text) -> str:
    """Return the SHA-384 hash."""
    return hashlib.sha384(_bytes(value)).hexdigest()


@scalar(example="length(sha512('abc')) = 128")
def sha512(value: Text) -> str:
    """Return the SHA-512 hash."""
    return hashlib.sha512(_bytes(value)).hexdigest()


@scalar(example="crc32('abc') = '352441c2'")
def crc32(value: Text) -> str:
    """Return the CRC-32 checksum (IEEE), always eight digits."""
    return f"{zlib.crc32(_bytes(value)):08x}"
