"""Whether a rule did what is expected, and if not, what is different."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from engine.testing import Emission, Outcome
from tests.conformance.cases import Expectation, Results

TOLERANCE = 1e-9
"""How far floats may be apart, relative to the larger."""
_FLOATS = {"NaN": math.nan, "+Inf": math.inf, "Inf": math.inf, "-Inf": -math.inf}
_FRACTION = re.compile(r"(\.\d*?)0+(?=$|[Z+-])")
_ANY_ERROR = {"error": "*"}


_BUG = re.compile(r"\b(Name|Key|Type|Attribute|Index|UnboundLocal|Assertion|Recursion)Error\b")
"""In the kind of an error: it is the engine's, not the row's."""


def crashes(outcome: Outcome) -> list[str]:
    """Return the errors of rows that come from a defect of the engine."""
    return [f"a row makes the engine fail: {name}" for name in outcome.errors if _BUG.search(name)]


def differences(expect: Expectation, outcome: Outcome) -> list[str]:
    """Return in words what an outcome has different from what is expected."""
    if outcome.refused is not None:
        if expect.is_refusal:
            return []
        return [f"refused: {outcome.refused}"]
    if expect.is_refusal:
        return ["accepted, but should be refused", *map(_described, outcome.emissions)]
    found = list(_emissions(expect, outcome.emissions))
    if expect.is_failure and not outcome.failure:
        found.insert(0, "the rule should have failed")
    if outcome.failure and not expect.is_failure:
        found.insert(0, f"the rule failed: {outcome.failure}")
    return found


def _emissions(expect: Expectation, actual: Sequence[Emission]) -> Iterator[str]:
    for index in range(max(len(expect.results), len(actual))):
        if index >= len(actual):
            yield f"- {_described(expect.results[index])}"
        elif index >= len(expect.results):
            yield f"+ {_described(actual[index])}"
        elif not same_emission(
            expect.results[index], actual[index], in_order=expect.row_order != "any"
        ):
            yield f"- {_described(expect.results[index])}"
            yield f"+ {_described(actual[index])}"


def same_emission(expected: Results, actual: Emission, *, in_order: bool = True) -> bool:
    """Tell whether the same rows were emitted at the same time."""
    if expected.at != actual.at or len(expected.rows) != len(actual.rows):
        return False
    if in_order:
        return all(map(same_row, expected.rows, actual.rows))
    left = list(actual.rows)
    for row in expected.rows:
        match = next((index for index, other in enumerate(left) if same_row(row, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def same_row(expected: Any, actual: Any) -> bool:
    """Tell whether two rows are the same; ``{"error": "*"}`` is any error."""
    if expected == _ANY_ERROR:
        return is_error(actual)
    return same_value(expected, actual)


def is_error(row: Any) -> bool:
    """Tell whether a row only says what went wrong."""
    return (
        isinstance(row, dict)
        and list(row) == ["error"]
        and isinstance(row["error"], str)
        and bool(row["error"])
    )


def same_value(expected: Any, actual: Any) -> bool:
    """Tell whether a value is the one that was written as JSON."""
    if isinstance(expected, dict) and list(expected) == ["$float"]:
        return isinstance(actual, float) and _same_number(_FLOATS[expected["$float"]], actual)
    actual = _as_json(actual)
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, (int, float)) and isinstance(actual, (int, float)):
        return _same_number(expected, actual)
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            same_value(value, actual[name]) for name, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(actual, (list, tuple)):
        return len(expected) == len(actual) and all(map(same_value, expected, actual))
    return type(expected) is type(actual) and bool(expected == actual)


def _same_number(expected: float, actual: float) -> bool:
    if isinstance(expected, int) and isinstance(actual, int):
        return expected == actual
    if math.isnan(expected) or math.isnan(actual):
        return math.isnan(expected) and math.isnan(actual)
    try:
        return math.isclose(expected, actual, rel_tol=TOLERANCE)
    except OverflowError:
        return False


def _as_json(value: Any) -> Any:
    """Return bytes and times as the text that they become in JSON."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        text = value.replace(tzinfo=value.tzinfo or UTC).isoformat()
        text = text.removesuffix("+00:00") + ("Z" if text.endswith("+00:00") else "")
        return _FRACTION.sub(lambda match: match[1].rstrip("."), text)
    return value


def _described(emission: Emission | Results) -> str:
    rows = json.dumps(emission.rows, ensure_ascii=False, default=_shown, allow_nan=True)
    return f"{emission.at:>6} ms {rows}"


def _shown(value: Any) -> Any:
    known = _as_json(value)
    return known if known is not value else f"<{type(value).__name__} {value!r}>"
