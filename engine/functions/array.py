"""Functions of lists (function catalogue, section 6).

They never change a list that they are given. Elements are compared as values: see
``engine.functions.identity``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from engine.errors import ConfigError, RowError
from engine.functions.identity import identity
from engine.functions.transform import to_plain_text
from engine.sql.functions import Nulls, builtins, scalar
from engine.sql.kinds import kind_of

_MOST_ELEMENTS = 1_000_000
_LONGEST_TEXT = 16 << 20  # characters


# -- making lists --------------------------------------------------------------------------------


@scalar(example="array_create(1, 'a', true)", nulls=Nulls.PASS)
def array_create(*values: Any) -> list[Any]:
    """Return a list of the arguments, nulls included."""
    return list(values)


@scalar(example="repeat('a', 3) = array_create('a', 'a', 'a')")
def repeat(value: Any, count: int) -> list[Any]:
    """Return a list that has a value so many times; a negative count is 0."""
    times = max(int(count), 0)
    _check_size("repeat", times)
    if isinstance(value, (str, bytes, list, tuple, dict)):
        _check_size("repeat", times * len(value), _LONGEST_TEXT)
    return [value] * times


@scalar(example="sequence(1, 10, 3) = array_create(1, 4, 7, 10)")
def sequence(start: int, stop: int, step: int | None = None) -> list[Any]:
    """Return the integers from start to stop, both included; empty if step leads away from stop.

    Without step they go up or down by 1.
    """
    first, last = int(start), int(stop)
    width = (1 if first <= last else -1) if step is None else int(step)
    if width == 0:
        raise RowError("sequence: step must not be 0")
    numbers = range(first, last + (1 if width > 0 else -1), width)
    _check_size("sequence", (last - first) // width + 1)
    return list(numbers)


def _check_size(function: str, size: int, most: int = _MOST_ELEMENTS) -> None:
    if size > most:
        raise RowError(f"{function}: the result would be too large, {size} of at most {most}")


@scalar(
    example="array_concat(array_create(1), array_create(2)) = array_create(1, 2)",
    nulls=Nulls.PASS,
)
def array_concat(first: list[Any], *others: list[Any]) -> list[Any]:
    """Return the elements of all lists, one list after the other; a null list adds nothing."""
    return [element for values in (first, *others) for element in values or ()]


# -- looking into a list -------------------------------------------------------------------------


@scalar(example="cardinality(array_create(1, 2)) = 2", nulls=Nulls.ZERO)
def cardinality(value: Any) -> int:
    """Return the number of elements of a list or bytes; 0 for anything else."""
    return len(value) if isinstance(value, (list, tuple, bytes)) else 0


@scalar(example="array_cardinality(array_create(1, 2)) = 2", nulls=Nulls.ZERO)
def array_cardinality(values: list[Any]) -> int:
    """Return the number of elements that aren't null."""
    return sum(value is not None for value in values)


@scalar(example="array_position(array_create(3, 1, 3), 3) = 0", nulls=Nulls.PASS)
def array_position(values: list[Any], value: Any) -> int:
    """Return the place of the first element that is a value, from 0; -1 if there is none."""
    return next(_places(values, value), -1)


@scalar(example="array_last_position(array_create(3, 1, 3), 3) = 2", nulls=Nulls.PASS)
def array_last_position(values: list[Any], value: Any) -> int:
    """Return the place of the last element that is a value, from 0; -1 if there is none."""
    if not values:
        return -1
    place = next(_places(values[::-1], value), None)
    return -1 if place is None else len(values) - 1 - place


def _places(values: Sequence[Any] | None, value: Any) -> Iterator[int]:
    wanted = identity(value)
    return (place for place, item in enumerate(values or ()) if identity(item) == wanted)


@scalar(example="array_contains(array_create(1, 2), 2) = true", nulls=Nulls.PASS)
def array_contains(values: list[Any], value: Any) -> bool:
    """Tell whether a value, which may be null, is in a list; false for a null list."""
    if values is None:
        return False
    wanted = identity(value)
    return any(identity(item) == wanted for item in values)


@scalar(
    example="array_contains_any(array_create(1, 2), array_create(2, 3)) = true",
    nulls=Nulls.FALSE,
)
def array_contains_any(first: list[Any], second: list[Any]) -> bool:
    """Tell whether two lists have an element in common."""
    known = set(map(identity, second))
    return any(identity(item) in known for item in first)


@scalar(example="element_at(array_create('a', 'b'), -1) = 'b'", may_be_null=True)
def element_at(values: Any, place: Any) -> Any:
    """Return an element of a list by its place, or of an object by its key.

    Places count from 0, negative ones from the end; a place beyond the list is an error of the
    row, a missing key is null.
    """
    if isinstance(values, dict) and isinstance(place, str):
        return values.get(place)
    if not isinstance(values, (list, tuple)) or not _is_integer(place):
        raise RowError(f"element_at: {kind_of(values)} has no element {kind_of(place)}")
    if not -len(values) <= place < len(values):
        raise RowError(f"element_at: {int(place)} is beyond the {len(values)} elements")
    return values[int(place)]


def _is_integer(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


@scalar(example="array_max(array_create(3, 7.5, -1)) = 7.5", may_be_null=True)
def array_max(values: list[Any]) -> Any:
    """Return the largest number or text; nulls don't count, null if there is nothing else."""
    present = _comparable("array_max", values)
    return max(present) if present else None


@scalar(example="array_min(array_create(3, 7.5, -1)) = -1", may_be_null=True)
def array_min(values: list[Any]) -> Any:
    """Return the smallest number or text; nulls don't count, null if there is nothing else."""
    present = _comparable("array_min", values)
    return min(present) if present else None


def _comparable(function: str, values: Sequence[Any]) -> list[Any]:
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds <= {int, float} or kinds == {str}:
        return present
    names = ", ".join(sorted({str(kind_of(value)) for value in present}))
    raise RowError(f"{function}: the elements must be all numbers or all strings, not {names}")


# -- lists as sets -------------------------------------------------------------------------------


@scalar(example="array_distinct(array_create(1, 2, 1)) = array_create(1, 2)")
def array_distinct(values: list[Any]) -> list[Any]:
    """Return a list without the elements that were there before."""
    return _distinct(values)


@scalar(
    example="array_union(array_create(1, 2), array_create(2, 3)) = array_create(1, 2, 3)",
    nulls=Nulls.PASS,
)
def array_union(first: list[Any], second: list[Any]) -> list[Any]:
    """Return the distinct elements of two lists; a null list is empty."""
    return _distinct([*(first or ()), *(second or ())])


@scalar(example="array_intersect(array_create(1, 2), array_create(2, 3)) = array_create(2)")
def array_intersect(first: list[Any], second: list[Any]) -> list[Any]:
    """Return the distinct elements that are in both lists, in the order of the second one."""
    known = set(map(identity, first))
    return _distinct(item for item in second if identity(item) in known)


@scalar(
    example="array_except(array_create(1, 2), array_create(2, 3)) = array_create(1)",
    nulls=Nulls.PASS,
    may_be_null=True,
)
def array_except(values: list[Any], without: list[Any]) -> list[Any] | None:
    """Return the distinct elements of a list that aren't in another; nothing is in a null one."""
    if values is None:
        return None
    known = set(map(identity, without or ()))
    return _distinct(item for item in values if identity(item) not in known)


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: dict[Any, Any] = {}
    for value in values:
        found.setdefault(identity(value), value)
    return list(found.values())


# -- a list from a list --------------------------------------------------------------------------


@scalar(
    example="array_remove(array_create(1, 2, 1), 1) = array_create(2)",
    nulls=Nulls.PASS,
    may_be_null=True,
)
def array_remove(values: list[Any], value: Any) -> list[Any] | None:
    """Return a list without the elements that are a value, which may be null."""
    if values is None:
        return None
    unwanted = identity(value)
    return [item for item in values if identity(item) != unwanted]


@scalar(
    example="array_flatten(array_create(array_create(1, 2), 3)) = array_create(1, 2, 3)",
)
def array_flatten(values: list[Any]) -> list[Any]:
    """Return a list with the elements of its lists in their place, one level deep."""
    flat: list[Any] = []
    for value in values:
        if isinstance(value, (list, tuple)):
            flat.extend(value)
        else:
            flat.append(value)
    return flat


@scalar(example="array_sort(array_create(10, 'b', 9)) = array_create(9, 10, 'b')")
def array_sort(values: list[Any]) -> list[Any]:
    """Return a list in ascending order: numbers, then texts, then all others; nulls last."""
    return sorted(values, key=_order)


def _order(value: Any) -> tuple[int, Any]:
    if isinstance(value, (list, tuple)):
        return _RANKS[list], [_order(item) for item in value]
    if isinstance(value, dict):
        return _RANKS[dict], sorted((name, _order(item)) for name, item in value.items())
    rank = _RANKS.get(type(value), len(_RANKS))
    return rank, None if value is None else value


_RANKS: dict[type, int] = {
    int: 0,
    float: 0,
    str: 1,
    bool: 2,
    datetime: 3,
    bytes: 4,
    list: 5,
    dict: 6,
}
"""The order of values of different kinds; what isn't here, such as null, comes last."""


@scalar(example="array_shuffle(array_create(1, 2, 3))")
def array_shuffle(values: list[Any]) -> list[Any]:
    """Return a list in random order."""
    return random.sample(values, len(values))


# -- functions over lists ------------------------------------------------------------------------


def _check_mapped(args: Sequence[object]) -> None:
    if isinstance(args[0], str):
        try:
            _mapped(args[0])
        except ValueError as error:
            raise ConfigError(str(error)) from None


@lru_cache(maxsize=256)
def _mapped(name: str) -> Callable[[Any], Any]:
    """Return a built-in function of one value.

    Raises:
        ValueError: there is none of that name.
    """
    spec = builtins().get(name)
    if spec is None:
        raise ValueError(f"unknown function {name[:40]!r}")
    takes_one = spec.least <= 1 and (spec.most is None or spec.most >= 1)
    if not takes_one or spec.wants_context or not spec.stateless or spec.returns_rows:
        raise ValueError(f"{name} is no function of one value")
    return spec.checked()


@scalar(
    example="array_map('upper', array_create('a', 'b')) = array_create('A', 'B')",
    validate=_check_mapped,
)
def array_map(function: str, values: list[Any]) -> list[Any]:
    """Return what a function of one value, given by its name, makes of each element."""
    try:
        call = _mapped(function)
    except ValueError as error:
        raise RowError(f"array_map: {error}") from None
    return [call(value) for value in values]


@scalar(example="array_join(array_create('a', 1), ', ') = 'a, 1'")
def array_join(values: list[Any], delimiter: str, null_text: str = "") -> str:
    """Return the texts of the elements with a delimiter between them.

    Nulls are left out, unless there is a text for them.
    """
    present = values
    if not null_text:
        present = [value for value in values if value is not None]
    texts = [null_text if value is None else to_plain_text(value) for value in present]
    size = sum(map(len, texts)) + len(delimiter) * max(len(texts) - 1, 0)
    _check_size("array_join", size, _LONGEST_TEXT)
    return delimiter.join(texts)


@scalar(
    example="kvpair_array_to_obj(obj_to_kvpair_array(object_construct('a', 1))) "
    "= object_construct('a', 1)"
)
def kvpair_array_to_obj(pairs: list[Any]) -> dict[str, Any]:
    """Return an object of a list of objects with a ``key`` and a ``value`` each; the last wins."""
    result: dict[str, Any] = {}
    for pair in pairs:
        if (
            not isinstance(pair, dict)
            or pair.keys() != {"key", "value"}
            or not isinstance(pair["key"], str)
        ):
            raise RowError("kvpair_array_to_obj: each element must be an object of key and value")
        result[pair["key"]] = pair["value"]
    return result
