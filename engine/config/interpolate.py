"""``${VAR}``, ``${VAR:default}`` and ``${file:/path}`` in values, and secrets kept from display."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.config.document import Document
from engine.config.positions import Positions
from engine.config.scalar import resolve
from engine.errors import ConfigError

MASK = "***"
_LONGEST_FILE = 1 << 20
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_KEY = re.compile(r"password|pass|token|secret|key|credential|auth", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]+@")


def interpolate(document: Document, environ: Mapping[str, str]) -> Document:
    """Return the document with references in its text values replaced; keys stay as they are.

    ``$${`` stands for a literal ``${``. A value that is nothing but one reference becomes a
    number, true, false or null if its text reads so in YAML (empty text stays text). The path of
    a ``${file:…}`` counts from the document's own folder; one line break at its end is dropped.

    Raises:
        ConfigError: a variable is missing and has no default, a file can't be read, or a
            reference is malformed; the position is that of the value.
    """
    expander = _Expander(environ, Path(document.file).parent)
    value = expander.expand(document.value, document.positions)
    return Document(value, document.positions, document.file)


def is_secret(key: str) -> bool:
    """Tell whether values under this key must not be shown (runtime specification, section 8.1)."""
    return _SECRET_KEY.search(key) is not None


def mask(properties: Any) -> Any:
    """Return a copy for display: values of secret keys and passwords in URLs become ``***``."""
    if isinstance(properties, Mapping):
        return {
            key: MASK if value is not None and is_secret(str(key)) else mask(value)
            for key, value in properties.items()
        }
    if isinstance(properties, (list, tuple)):
        return [mask(item) for item in properties]
    if isinstance(properties, str):
        return _URL_PASSWORD.sub(rf"\1:{MASK}@", properties)
    return properties


class _Expander:
    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.environ = environ
        self.folder = folder

    def expand(self, value: Any, places: Positions) -> Any:
        if isinstance(value, dict):
            return {key: self.expand(item, places.below(key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.expand(item, places.below(index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return self.expand_text(value, places)
        return value

    def expand_text(self, text: str, places: Positions) -> Any:
        whole = _REFERENCE.fullmatch(text)
        if whole is None or whole[1] is None:
            return _REFERENCE.sub(lambda match: self.replacement(match, places), text)
        expanded = places.raw = self.replacement(whole, places)
        try:
            return resolve(expanded) if expanded else expanded
        except ValueError:
            return expanded

    def replacement(self, match: re.Match[str], places: Positions) -> str:
        if match[1] is None:
            return "${"
        name, colon, default = match[1].partition(":")
        if not match[2]:
            raise _error("'${' has no closing '}'", places, "write '$${' for a literal '${'")
        if "${" in default:
            raise _error("a reference can't be the default of another one", places)
        if name == "file" and colon:
            return self.file_text(default, places)
        if not _NAME.fullmatch(name):
            hint = "write '$${' for a literal '${'"
            raise _error(f"{name!r} isn't the name of a variable", places, hint)
        value = self.environ.get(name, default if colon else None)
        if value is None:
            hint = f"set it, or give a default: ${{{name}:…}}"
            raise _error(f"the environment variable {name} isn't set", places, hint)
        return _checked(value, f"the environment variable {name}", places)

    def file_text(self, name: str, places: Positions) -> str:
        try:
            with (self.folder / name).open("rb") as stream:
                data = stream.read(_LONGEST_FILE + 1)
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise _error(f"can't read {name}: {reason}", places) from None
        if len(data) > _LONGEST_FILE:
            raise _error(f"{name} is longer than 1 MiB", places)
        text = data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
        return _checked(text, name, places)


def _checked(text: str, what: str, places: Positions) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _error(f"{what} isn't UTF-8 text", places) from None
    return text


def _error(message: str, places: Positions, hint: str = "") -> ConfigError:
    return ConfigError(message, at=places.of(), hint=hint)
