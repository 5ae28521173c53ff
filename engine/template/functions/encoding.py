"""JSON, base64, hashes, and text made safe for other languages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import re
import uuid
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import msgspec

from engine.functions.json import to_json
from engine.template.formatting import printed
from engine.template.values import argument_text, checked_text, weigh

_HTML_ESCAPE = re.compile(r"\\(?:u00(3c|3e|26)|.)", re.DOTALL)
_SCRIPT_UNSAFE = re.compile(r"[\\'\"<>&=\x00-\x1f\u2028\u2029]")


def _to_json(value: Any) -> str:
    """JSON with sorted names; < > & are escaped, so that it may stand in HTML."""
    weigh(value)
    text: str = to_json(value)
    return text


def _to_raw_json(value: Any) -> str:
    """JSON without the escapes of < > &."""
    return _HTML_ESCAPE.sub(
        lambda found: chr(int(found[1], 16)) if found[1] else found[0], _to_json(value)
    )


def _to_pretty_json(value: Any) -> str:
    return checked_text(msgspec.json.format(_to_json(value), indent=2))


def _from_json(text: Any) -> Any:
    try:
        return msgspec.json.decode(argument_text(text))
    except msgspec.DecodeError as error:
        raise ValueError(f"malformed JSON: {error}") from None


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else argument_text(value).encode()


def _base64(value: Any) -> str:
    """Any value in base64; objects and lists as JSON."""
    data = _to_json(value).encode() if isinstance(value, (dict, list)) else _bytes(value)
    return base64.b64encode(data).decode()


def _b64enc(value: Any) -> str:
    return base64.b64encode(_bytes(value)).decode()


def _b32enc(value: Any) -> str:
    return base64.b32encode(_bytes(value)).decode()


def _decoded(decode: Callable[[bytes], bytes], name: str) -> Callable[[Any], str]:
    def decoded(value: Any) -> str:
        try:
            return decode(_bytes(value)).decode()
        except UnicodeDecodeError:
            raise ValueError("what it holds isn't UTF-8 text") from None
        except (binascii.Error, ValueError):
            raise ValueError(f"the text isn't {name}") from None

    return decoded


def _hash(algorithm: str) -> Callable[[Any], str]:
    return lambda value: hashlib.new(algorithm, _bytes(value), usedforsecurity=False).hexdigest()


def _adler32sum(value: Any) -> str:
    return str(zlib.adler32(_bytes(value)))


def _html(*values: Any) -> str:
    text = html.escape(printed(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    return checked_text(text)


def _js(*values: Any) -> str:
    """Text that may stand in a string of JavaScript."""
    return checked_text(_SCRIPT_UNSAFE.sub(_script_escape, printed(values)))


def _script_escape(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character in "\\'\"" else f"\\u{ord(character):04X}"


def _urlquery(*values: Any) -> str:
    return checked_text(quote_plus(printed(values)))


def _uuidv4() -> str:
    return str(uuid.uuid4())


ENCODING: dict[str, Callable[..., Any]] = {
    "json": _to_json,
    "toJson": _to_json,
    "mustToJson": _to_json,
    "toRawJson": _to_raw_json,
    "mustToRawJson": _to_raw_json,
    "toPrettyJson": _to_pretty_json,
    "mustToPrettyJson": _to_pretty_json,
    "fromJson": _from_json,
    "mustFromJson": _from_json,
    "base64": _base64,
    "b64enc": _b64enc,
    "b64dec": _decoded(lambda data: base64.b64decode(data, validate=True), "base64"),
    "b32enc": _b32enc,
    "b32dec": _decoded(base64.b32decode, "base32"),
    "sha1sum": _hash("sha1"),
    "sha256sum": _hash("sha256"),
    "sha512sum": _hash("sha512"),
    "md5sum": _hash("md5"),
    "adler32sum": _adler32sum,
    "html": _html,
    "js": _js,
    "urlquery": _urlquery,
    "uuidv4": _uuidv4,
}
