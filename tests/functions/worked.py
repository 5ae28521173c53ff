"""Examples of functions over several rows: ``avg(x) = 1.5 for x = 1, null, 2``."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from engine.sql.functions import FunctionSpec, builtins

Arguments = tuple[Any, ...]


class Worked(NamedTuple):
    """An example: the function, the arguments of each row with the row, the value or values."""

    spec: FunctionSpec
    rows: list[tuple[dict[str, Any], Arguments]]
    expected: list[Any]


def worked(example: str) -> Worked:
    """Return an example taken apart."""
    match = re.fullmatch(r"(\w+)\((.*?)\) = (.*) for x = (.*)", example)
    assert match, example
    name, arguments, expected, values = match.groups()
    spec = builtins().get(name)
    assert spec is not None
    names = {"true": True, "false": False, "null": None}
    rows = [
        ({"x": x}, tuple(eval(f"({arguments},)", {**names, "x": x})))
        for x in json.loads(f"[{values}]")
    ]
    return Worked(spec, rows, json.loads(f"[{expected}]"))


def examples(kind: str) -> list[str]:
    """Return the examples of all functions of a kind."""
    return [spec.example for spec in builtins() if spec.kind == kind]


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal and of one type, down to their elements."""
    return type(left) is type(right) and repr(left) == repr(right)
