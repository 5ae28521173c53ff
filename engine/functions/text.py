"""String functions (function catalogue, section 3); other arguments count as their text."""

from __future__ import annotations

from typing import Any

from engine.sql.functions import Nulls, scalar
from engine.sql.text import to_text


@scalar(example="concat('a', 1) = 'a1'", nulls=Nulls.PASS)
def concat(*values: Any) -> str:
    """Return the texts of all arguments joined; null counts as empty."""
    return "".join(map(to_text, values))


@scalar(example="endswith('abc', 'bc') = true", nulls=Nulls.FALSE)
def endswith(text: Any, suffix: Any) -> bool:
    """Tell whether a text ends with another one."""
    return to_text(text).endswith(to_text(suffix))


@scalar(example="startswith('abc', 'ab') = true", nulls=Nulls.FALSE)
def startswith(text: Any, prefix: Any) -> bool:
    """Tell whether a text starts with another one."""
    return to_text(text).startswith(to_text(prefix))


@scalar(example="length('abc') = 3", nulls=Nulls.ZERO)
def length(value: Any) -> int:
    """Return the number of elements of a list or object, of characters of anything else."""
    return len(value if isinstance(value, (list, dict, str)) else to_text(value))


@scalar(example="lower('ABC') = 'abc'")
def lower(text: Any) -> str:
    """Return a text in lower case."""
    return to_text(text).lower()


@scalar(example="upper('abc') = 'ABC'")
def upper(text: Any) -> str:
    """Return a text in upper case."""
    return to_text(text).upper()


@scalar(example="trim('  a ') = 'a'")
def trim(text: Any) -> str:
    """Return a text without white space at its ends."""
    return to_text(text).strip()
