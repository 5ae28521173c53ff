"""Values from files to typed Structs, with errors in plain words at the right place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from engine.config.annotation import choices_at, fields_at
from engine.config.document import Document
from engine.config.fields import Duration as Duration
from engine.config.fields import Size as Size
from engine.config.fields import Template as Template
from engine.config.interpolate import is_secret
from engine.config.positions import NOWHERE, Path, Positions
from engine.errors import ConfigError
from engine.suggest import did_you_mean

T = TypeVar("T")

# plain patterns: `re` compiles and keeps them when the first error comes
_AT = r" - at (?:`key` in )?`\$([^`]*)`$"
_STEP = r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]"
_UNKNOWN = r"Object contains unknown field `(.*)`"
_MISSING = r"Object missing required field `(.*)`"
_EXPECTED = r"Expected `([^`]*)`(.*?)(?:, got `([^`]*)`)?"
_PLAIN = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_BOUNDS = (
    (">=", "of at least"),
    ("<=", "of at most"),
    (">", "greater than"),
    ("<", "less than"),
)
_LONGEST_SHOWN = 40


def convert(document: Document, path: Path, kind: type[T]) -> T:
    """Return the value at ``path`` of a document as a ``kind``; see `value_from` for the rules.

    Raises:
        ConfigError: it doesn't fit, or nothing is at ``path``.
    """
    value = document.value
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            where = _dotted(path) or "the file"
            raise ConfigError(f"{where} is missing", at=document.at(*path)) from None
    return value_from(value, kind, where=_dotted(path), positions=document.positions.below(*path))


def config_from(
    properties: Mapping[str, Any], kind: type[T], *, where: str, positions: Positions = NOWHERE
) -> T:
    """Return a plugin's or rule's properties as a Struct.

    Keys match the Struct's encoded names exactly; whether unknown keys are refused is the
    Struct's choice (``forbid_unknown_fields``). ``where`` names the owner in messages, such as
    ``source mqtt``; ``positions`` are the places of ``properties``. See `value_from`.

    Raises:
        ConfigError: a key is unknown or missing, or a value doesn't fit.
    """
    return value_from(dict(properties), kind, where=where, positions=positions)


def value_from(value: Any, kind: type[T], *, where: str, positions: Positions = NOWHERE) -> T:
    """Return a plain value as a ``kind``.

    Numbers and booleans may be given as text (``"10"``, ``"true"``), as eKuiper's WITH options
    are; `Duration` and `Size` accept their text forms; a ``${…}`` reference whose text read as a
    number is text again where text is asked for.

    Raises:
        ConfigError: the value doesn't fit.
    """
    while True:
        try:
            return msgspec.convert(value, kind, strict=False, dec_hook=_field)
        except msgspec.ValidationError as error:
            problem = _Problem(str(error), value, kind, where, positions)
            repaired = problem.with_raw_text()
            if repaired is None:
                raise problem.error() from None
            value = repaired
        except (OverflowError, RecursionError):
            message = f"{where}: a number is too large" if where else "a number is too large"
            raise ConfigError(message, at=positions.of()) from None


def suggestion(name: str, known: list[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known name, or nothing."""
    guess = did_you_mean(name, known)
    return f"; {guess}" if guess else ""


def unknown_key(name: str, known: list[str], where: str, positions: Positions) -> ConfigError:
    """Return the error for a key that the mapping at ``positions`` must not have."""
    inside = f" in {where}" if where else ""
    guess = suggestion(name, known)
    hint = "" if guess or not known else f"known keys: {', '.join(known)}"
    message = f"unknown key {shown(name)}{inside}{guess}"
    return ConfigError(message, at=positions.of_key(name), hint=hint)


def expected(what: str, value: Any, where: str, positions: Positions) -> ConfigError:
    """Return the error for a value of the wrong kind, such as "rules: expected a list, found 5"."""
    return ConfigError(f"{where}: expected {what}, found {describe(value)}", at=positions.of())


def describe(value: Any) -> str:
    """Return a value in plain words, short enough for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"text {shown(value)}"
    return "a list" if isinstance(value, (list, tuple)) else "a mapping"


def shown(text: str) -> str:
    """Return a text in quotes, cut to 40 characters."""
    cut = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return repr(cut)


_PARSERS: dict[type, Callable[[object], Any]] = {
    Duration: Duration.parse,
    Size: Size.parse,
    Template: Template.parse,
}


def _field(kind: type, value: Any) -> Any:
    if kind in _PARSERS:
        return _PARSERS[kind](value)
    raise NotImplementedError(f"no conversion from configuration to {kind!r}")


class _Problem:
    """One complaint of msgspec, told in our words."""

    def __init__(self, text: str, value: Any, kind: Any, where: str, positions: Positions) -> None:
        self.value = value
        self.kind = kind
        self.where = where
        self.positions = positions
        at = re.search(_AT, text)
        self.message = text[: at.start()] if at else text
        steps: list[str | int | None] = [
            int(step[2]) if step[2] else step[1] for step in re.finditer(_STEP, at[1] if at else "")
        ]
        self.paths = list(_paths(value, steps))
        self.path = self.best_path()

    def best_path(self) -> Path:
        """Choose among the items of a mapping, which msgspec doesn't tell apart."""
        match = re.fullmatch(_EXPECTED, self.message, re.DOTALL)
        got = match[3] if match else None
        fitting = [path for path in self.paths if _json_type(_value_at(self.value, path)) == got]
        return (fitting or self.paths or [()])[0]

    def with_raw_text(self) -> Any:
        """Return the value with the text of `${…}` where text is wanted, None if that's not it."""
        match = re.fullmatch(_EXPECTED, self.message, re.DOTALL)
        if not match or "str" not in match[1].split(" | ") or not match[3]:
            return None
        changed = self.value
        for path in self.paths:
            raw = self.positions.below(*path).raw if path else None
            if raw is not None and not isinstance(_value_at(changed, path), str):
                changed = _replaced(changed, path, raw)
        return None if changed is self.value else changed

    def error(self) -> ConfigError:
        if match := re.fullmatch(_UNKNOWN, self.message, re.DOTALL):
            places = self.positions.below(*self.path)
            return unknown_key(match[1], fields_at(self.kind, self.path), self.owner(), places)
        if match := re.fullmatch(_MISSING, self.message, re.DOTALL):
            inside = f" in {self.owner()}" if self.owner() else ""
            at = self.positions.of_key(*self.path)
            return ConfigError(f"the key {match[1]!r} is missing{inside}", at=at)
        message, hint = self.explain()
        owner = self.owner()
        at = self.positions.of(*self.path)
        return ConfigError(f"{owner}: {message}" if owner else message, at=at, hint=hint)

    def owner(self) -> str:
        return ".".join(part for part in (self.where, _dotted(self.path)) if part)

    def explain(self) -> tuple[str, str]:
        found = _value_at(self.value, self.path)
        is_hidden = any(is_secret(str(step)) for step in self.path)
        description = "a value that isn't shown" if is_hidden else describe(found)
        choices = choices_at(self.kind, self.path)
        if choices:
            return _choice(found, choices, description)
        match = re.fullmatch(_EXPECTED, self.message, re.DOTALL)
        if match is None:
            return ("the value doesn't fit" if is_hidden else self.message), ""
        kinds = [name for name in match[1].split(" | ") if name != "null"] or ["null"]
        wanted = " or ".join(_PLAIN.get(name, name) for name in kinds)
        return f"expected {wanted}{_bound(match[2])}, found {description}", _hint(match[1], found)


def _choice(found: Any, choices: list[Any], description: str) -> tuple[str, str]:
    wanted = ", ".join(repr(choice) for choice in choices)
    guess = suggestion(found, [str(choice) for choice in choices]) if isinstance(found, str) else ""
    return f"expected one of {wanted}, found {description}{guess}", ""


def _bound(text: str) -> str:
    for sign, words in _BOUNDS:
        if text.startswith(f" {sign} "):
            return f" {words} {text[len(sign) + 2 :]}"
    return text


def _hint(wanted: str, found: Any) -> str:
    if wanted.startswith("str") and isinstance(found, (int, float)):
        return "put the value in quotes"
    if wanted.startswith("bool") and isinstance(found, str):
        return "write true or false"
    return ""


def _paths(value: Any, steps: list[str | int | None]) -> Iterator[Path]:
    """Yield the paths that msgspec's may mean; None in it is any item of a mapping."""
    if not steps:
        yield ()
        return
    step, *rest = steps
    names: list[Any] = list(value) if step is None and isinstance(value, dict) else [step]
    for name in names:
        try:
            below = value[name]
        except (KeyError, IndexError, TypeError):
            continue
        for path in _paths(below, rest):
            yield (name, *path)


def _value_at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _replaced(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    kind: str = type(value).__name__
    return {"dict": "object", "list": "array", "tuple": "array"}.get(kind, kind)


def _dotted(path: Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
