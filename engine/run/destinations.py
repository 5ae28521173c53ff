"""Where a sink sends to, as a short text: the rows of a cache go nowhere else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from engine.api import AnyConfig, Config
from engine.config.secrets import is_secret

_INCIDENTAL = frozenset(
    (
        # who asks, and how a connection is made safe
        *("username", "oAuth", "certificationPath", "privateKeyPath", "rootCaPath"),
        *("certificationRaw", "privateKeyRaw", "rootCARaw", "insecureSkipVerify"),
        *("tlsMinVersion", "renegotiationSupport"),
        # how messages travel
        *("clientid", "protocolVersion", "qos", "retained", "keepAlive", "enableClientSession"),
        *("sessionExpiryIntervalSeconds", "clientStatePath", "timeout", "concurrency"),
        *("responseType", "maxResponse", "debugResp"),
        # how they are written
        *("properties", "method", "bodyType", "formData", "fileFieldName", "format", "fields"),
        *("dataTemplate", "hasHeader", "encryption", "compression", "compressionProps"),
        *("fileType", "rollingInterval", "rollingCount", "rollingSize", "rollingNamePattern"),
        *("rollingKeep", "checkInterval", "fsync", "columns", "keyField", "rowkindField"),
    )
)
"""Properties that may change without the rows going anywhere else. Any other one of a sink may
decide where they go: what isn't known isn't taken for harmless."""
_USER = re.compile(r"(?<=://)[^/@\s]*@")


def destination_of(type_: str, config: Config, *, role: str = "") -> str:
    """Return a text that is the same as long as a sink of this type sends to the same place.

    ``role`` tells what shares a place, but not its rows, apart.
    """
    given = config.properties if isinstance(config, AnyConfig) else dict(_given(config))
    kept = {
        key: bare
        for key, value in given.items()
        if not (key in _INCIDENTAL or is_secret(key))
        if (bare := _bare(value)) != {}  # there were only secrets in it, or nothing
    }
    text = msgspec.json.encode([type_, role, kept], enc_hook=str, order="deterministic")
    return f"{type_} {hashlib.sha256(text).hexdigest()[:32]}"


def _given(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield the properties that aren't their defaults, so that new ones change nothing."""
    for field in msgspec.structs.fields(config):
        value = getattr(config, field.name)
        if field.default is not msgspec.NODEFAULT:
            default = field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        else:
            default = msgspec.NODEFAULT
        if default is msgspec.NODEFAULT or value != default:
            yield field.encode_name, value


def _bare(value: Any) -> Any:
    """Return a value without the secrets and users in it."""
    if isinstance(value, str):
        return _USER.sub("", value)
    if isinstance(value, Mapping):
        return {str(key): _bare(item) for key, item in value.items() if not is_secret(str(key))}
    if isinstance(value, (list, tuple)):
        return [_bare(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return _bare(dict(_given(value)) if isinstance(value, Config) else _plain(value))
    return value


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    return {key: getattr(value, name) for key, name in names}
