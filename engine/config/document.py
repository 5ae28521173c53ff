"""YAML or JSON text to plain values that know their line and column."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.jsontext import json_events
from engine.config.positions import Origin, Positions, Span, line_and_column
from engine.config.scalar import resolve
from engine.config.tree import Event, build
from engine.errors import ConfigError, Position

_UNPRINTABLE = "[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_TAG_PREFIX = "tag:yaml.org,2002:"
_TAGGED_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
_PROBLEMS = (
    ("mapping values are not allowed", "unexpected ':'; put quotes around text that contains ': '"),
    ("found character that cannot start", "{char} can't begin a value here; put quotes around it"),
    ("found a tab", "a tab can't indent; use spaces"),
    ("did not find expected key", "expected a key here; is the indentation right?"),
    ("did not find expected '-'", "expected a list item with '-'; is the indentation right?"),
    ("could not find expected ':'", "a ':' is missing after this key"),
    ("found unexpected end of stream", "the quotes that open here are never closed"),
    ("found unknown escape", "unknown escape; in double quotes write '\\\\' for a backslash"),
    ("did not find expected ','", "a comma or a closing bracket is missing"),
)


class Document(NamedTuple):
    """The values of one file and where each stands."""

    value: Any
    positions: Positions
    file: str = ""

    def at(self, *path: str | int) -> Position | None:
        """Return where the value at ``path`` begins, or the nearest value above it."""
        return self.positions.of(*path)

    def key_at(self, *path: str | int) -> Position | None:
        """Return where the key at the end of ``path`` begins."""
        return self.positions.of_key(*path)


def read(path: Path | str) -> Document:
    """Read a file; names ending in ``.json`` are strict JSON, all others YAML.

    Raises:
        ConfigError: the file can't be read, isn't UTF-8 or isn't well formed.
    """
    file = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"can't read {file}: {reason}") from None
    except ValueError:
        raise ConfigError(f"can't read {file!r}: not a file name") from None
    data = data.removeprefix(BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        head = data[: error.start].decode()
        at = Position(*line_and_column(head, len(head)), file)
        raise ConfigError("the file isn't UTF-8 text", at=at) from None
    return parse(text, file=file, is_json=file.lower().endswith(".json"))


def parse(
    text: str, *, file: str = "", is_json: bool = False, outer: Positions | None = None
) -> Document:
    """Return the document in a text.

    ``file`` is the name shown in positions. ``outer`` is the place of the value that holds the
    text, when it comes from inside another document; positions then count in that one.

    Raises:
        ConfigError: the text isn't well formed; see also `tree.build`.
    """
    source = text.replace("\r\n", "\n").replace("\r", "\n")
    origin = Origin(file, source, outer)
    events = json_events(source, origin) if is_json else _yaml_events(source, origin)
    value, positions = build(events, origin)
    return Document(value, positions, file)


def _yaml_events(source: str, origin: Origin) -> Iterator[Event]:
    import yaml  # 10 ms that a start from JSON doesn't need

    documents = 0
    try:
        for event in yaml.parse(source, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                _only_one(documents, event, origin)
            elif isinstance(event, yaml.NodeEvent):
                yield _node_event(event, origin)
            elif isinstance(event, yaml.CollectionEndEvent):
                yield Event("end", 0, 0)
    except yaml.MarkedYAMLError as error:
        raise _yaml_error(error, source, origin) from None
    except (yaml.YAMLError, UnicodeEncodeError):
        raise _unprintable(source, origin) from None


def _unprintable(source: str, origin: Origin) -> ConfigError:
    bad = re.search(_UNPRINTABLE, source)  # compiled here: it takes 4 ms
    what = f"the character U+{ord(bad[0]):04X}" if bad else "a character in this file"
    at = origin.position(*line_and_column(source, bad.start() if bad else 0))
    return ConfigError(f"{what} isn't allowed in YAML", at=at)


def _only_one(documents: int, event: Any, origin: Origin) -> None:
    if documents > 1:
        at = origin.position(event.start_mark.line + 1, event.start_mark.column + 1)
        hint = "put the second one into a file of its own"
        raise ConfigError("a file holds one document, but '---' starts another", at=at, hint=hint)


def _node_event(event: Any, origin: Origin) -> Event:
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    kind = type(event).__name__
    if kind == "AliasEvent":
        return Event("alias", line, column, text=event.anchor)
    if kind == "ScalarEvent":
        style = event.style or ""
        span = Span(style, event.start_mark.index, event.end_mark.index - (style in ("'", '"')))
        value = _scalar(event, origin)
        return Event("scalar", line, column, value, event.value, span, event.anchor)
    if event.tag not in (None, "!", f"{_TAG_PREFIX}map", f"{_TAG_PREFIX}seq"):
        raise _bad_tag(event, origin)
    is_mapping = kind == "MappingStartEvent"
    return Event("mapping" if is_mapping else "sequence", line, column, anchor=event.anchor)


def _scalar(event: Any, origin: Origin) -> Any:
    text: str = event.value
    tag = event.tag
    if tag in ("!", f"{_TAG_PREFIX}str") or (tag is None and not event.implicit[0]):
        return text
    try:
        value = resolve(text)
    except ValueError as error:
        mark = event.start_mark
        raise ConfigError(str(error), at=origin.position(mark.line + 1, mark.column + 1)) from None
    if tag is None:
        return value
    expected = _TAGGED_TYPES.get(tag.removeprefix(_TAG_PREFIX))
    if expected is None or type(value) not in expected:
        raise _bad_tag(event, origin)
    return float(value) if tag.endswith("float") and value is not None else value


def _bad_tag(event: Any, origin: Origin) -> ConfigError:
    tag = event.tag.replace(_TAG_PREFIX, "!!")
    at = origin.position(event.start_mark.line + 1, event.start_mark.column + 1)
    return ConfigError(f"the tag {tag} isn't supported or doesn't fit its value", at=at)


def _yaml_error(error: Any, source: str, origin: Origin) -> ConfigError:
    problem: str = error.problem or error.context or "unknown problem"
    mark = error.problem_mark or error.context_mark
    if "end of stream" in problem and error.context_mark:
        mark = error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = source.split("\n")
    char = lines[line - 1][column - 1 : column] if line <= len(lines) else ""
    for start, plain in _PROBLEMS:
        if problem.startswith(start):
            problem = "a tab can't indent; use spaces" if char == "\t" else plain
            break
    problem = problem.replace("{char}", repr(char))
    return ConfigError(f"not valid YAML: {problem}", at=origin.position(line, column))
