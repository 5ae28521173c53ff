"""JSON text as parse events."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from engine.config.positions import Origin, Span, line_and_column
from engine.config.tree import Event
from engine.errors import ConfigError

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[-+.\w]+|[{}\[\]]')
_OFFSET = r" \(byte (\d+)\)$"
_CLOSING = "}]"


def json_events(source: str, origin: Origin) -> Iterator[Event]:
    """Yield the events of a JSON text.

    Raises:
        ConfigError: the text isn't JSON.
    """
    if not source.strip():
        return
    _check(source, origin)
    starts = [0, *(match.end() for match in re.finditer("\n", source))]
    for match in _TOKEN.finditer(source):
        row = bisect_right(starts, match.start())
        yield _event(match, row, match.start() - starts[row - 1] + 1, origin)


def _check(source: str, origin: Origin) -> None:
    try:
        data = source.encode()
        msgspec.json.decode(data, type=msgspec.Raw)
    except UnicodeEncodeError as error:
        raise _not_json("a lone surrogate", source, error.start, origin) from None
    except msgspec.DecodeError as error:
        found = re.search(_OFFSET, str(error))
        offset = len(data[: int(found[1])].decode(errors="ignore")) if found else len(source)
        raise _not_json(_reason(error), source, offset, origin) from None
    except RecursionError:
        raise _not_json("values are nested too deep", source, 0, origin) from None


def _event(match: re.Match[str], line: int, column: int, origin: Origin) -> Event:
    token = match[0]
    if token in _CLOSING:
        return Event("end", line, column)
    if token == "{":
        return Event("mapping", line, column)
    if token == "[":
        return Event("sequence", line, column)
    try:
        value = msgspec.json.decode(token)
    except msgspec.DecodeError as error:
        raise _not_json(_reason(error), match.string, match.start(), origin) from None
    is_text = isinstance(value, str)
    span = Span('"', match.start(), match.end() - 1) if is_text else None
    return Event("scalar", line, column, value, value if is_text else token, span)


def _reason(error: Exception) -> str:
    reason = re.sub(_OFFSET, "", str(error)).removeprefix("JSON is malformed: ")
    if reason == "Input data was truncated":
        return "the text ends too early"
    return reason[:1].lower() + reason[1:]


def _not_json(reason: str, source: str, offset: int, origin: Origin) -> ConfigError:
    at = origin.position(*line_and_column(source, offset))
    return ConfigError(f"not valid JSON: {reason}", at=at)
