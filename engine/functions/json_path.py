"""Paths into JSON values, as RFC 9535 defines them (catalogue, 10.1 and 21.44).

A leading ``$.`` may be left out. A path of names and places only, which finds one value at most, is
walked directly; all others are left to the library.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.function_extensions import ExpressionType, FilterFunction
from jsonpath.selectors import IndexSelector, NameSelector

from engine.sql import regexp

_MOST_MATCHES = 1_000_000


class _Search(FilterFunction):
    """``search`` and ``match`` of the standard, with expressions that can't take for ever."""

    arg_types = [ExpressionType.VALUE, ExpressionType.VALUE]  # noqa: RUF012  # as the base has it
    return_type = ExpressionType.LOGICAL

    def __init__(self, form: str) -> None:
        self._form = form

    def __call__(self, value: object, pattern: object) -> bool:
        if not isinstance(value, str) or not isinstance(pattern, str):
            return False
        try:
            return regexp.compiled(self._form.format(pattern)).matches(value)
        except ValueError:
            return False  # by the standard, a wrong pattern fits nothing


def _environment() -> JSONPathEnvironment:
    environment = JSONPathEnvironment(strict=True)
    environment.function_extensions["search"] = _Search("{}")
    environment.function_extensions["match"] = _Search(r"\A(?:{})\z")
    return environment


_ENVIRONMENT = _environment()


class JsonPath:
    """A path; ``is_plain`` if it can't find more than one value.

    Raises:
        ValueError: the text is no path.
    """

    def __init__(self, text: str) -> None:
        path = _parsed(text if text.startswith("$") else f"${'' if text[:1] == '[' else '.'}{text}")
        self.is_plain = path.singular_query()
        self._path = path
        self._steps = _steps(path) if self.is_plain else ()

    def value(self, root: Any) -> Any:
        """Return what a plain path leads to, null if there is nothing."""
        node = root
        for step in self._steps:
            if isinstance(step, str):
                if not isinstance(node, dict) or step not in node:
                    return None
            elif not isinstance(node, list) or not -len(node) <= step < len(node):
                return None
            node = node[step]
        return node

    def values(self, root: Any) -> list[Any]:
        """Return all that the path finds.

        Raises:
            ValueError: that is too much, or the value is nested too deep for ``..``.
        """
        try:
            found = list(islice(self._path.finditer(root), _MOST_MATCHES + 1))
        except JSONPathError as error:
            raise ValueError(_reason(error)) from None
        if len(found) > _MOST_MATCHES:
            raise ValueError(f"the path finds more than {_MOST_MATCHES} values")
        return [match.obj for match in found]


def _parsed(text: str) -> JSONPath:
    try:
        path = _ENVIRONMENT.compile(text)
    except (JSONPathError, ValueError) as error:
        raise ValueError(f"{text!r} is no JSON path: {_reason(error)}") from None
    if not isinstance(path, JSONPath):
        raise ValueError(f"{text!r} is more than one JSON path")
    return path


def _reason(error: Exception) -> str:
    """Return the first line of a message; the rest draws the path."""
    return str(error).partition("\n")[0]


def _steps(path: JSONPath) -> tuple[str | int, ...]:
    steps: list[str | int] = []
    for segment in path.segments:
        selector = segment.selectors[0]
        if isinstance(selector, NameSelector):
            steps.append(selector.name)
        elif isinstance(selector, IndexSelector):
            steps.append(selector.index)
    return tuple(steps)
