"""What a Struct's annotations say about the value at a path, for error messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from engine.config.positions import Path


def fields_at(kind: Any, path: Path) -> list[str]:
    """Return the keys that a mapping at ``path`` below a value of type ``kind`` may have."""
    return [
        name
        for candidate in _alternatives(_follow(kind, path))
        if _is_struct(candidate)
        for name in candidate.__struct_encode_fields__
    ]


def choices_at(kind: Any, path: Path) -> list[Any]:
    """Return the values that a ``Literal`` at ``path`` allows, empty if it is none."""
    return [
        choice
        for candidate in _alternatives(_follow(kind, path))
        if get_origin(candidate) is Literal
        for choice in get_args(candidate)
    ]


def _follow(kind: Any, path: Path) -> Any:
    for step in path:
        kind = next(
            (found for one in _alternatives(kind) if (found := _member(one, step)) is not None), Any
        )
    return kind


def _member(kind: Any, step: str | int) -> Any:
    if _is_struct(kind):
        names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
        hints = get_type_hints(kind, include_extras=True)
        return hints.get(names.get(str(step), ""))
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    if not arguments or get_origin(kind) is Literal:
        return None
    if isinstance(step, int) and get_origin(kind) is tuple and step < len(arguments):
        return arguments[step]
    return arguments[-1]


def _alternatives(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif _is_union(kind):
        for argument in get_args(kind):
            yield from _alternatives(argument)
    else:
        yield kind


def _is_union(kind: Any) -> bool:
    return bool(get_args(kind)) and type(kind).__name__ in ("UnionType", "_UnionGenericAlias")


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
