"""What the values of templates mean: fields, elements, order, text, and how large they may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.sql.kinds import kind_of
from engine.sql.text import to_text

LARGEST = 16 << 20
"""Characters of a text, or bytes, that a template may write or hold in one value."""
MOST_ITEMS = 1_000_000
"""Elements of a list that a function may make, and values inside of one that is written."""
_LARGEST_INTEGER = (1 << 63) - 1
_GO_KINDS = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    list: "slice",
    tuple: "slice",
    bytes: "slice",
    dict: "map",
    type(None): "invalid",
}


def checked_text(text: str) -> str:
    """Return a text; ``ValueError`` if it is too long."""
    if len(text) > LARGEST:
        raise ValueError(f"a text of more than {LARGEST} characters")
    return text


def checked_length(length: int, what: str = "characters") -> None:
    """Raise ``ValueError`` before something too large is made."""
    largest = LARGEST if what == "characters" else MOST_ITEMS
    if length > largest:
        raise ValueError(f"{length} {what}; the limit is {largest}")


def weigh(value: Any) -> None:
    """Raise ``ValueError`` for a value with so much inside that it shouldn't be written.

    A value may hold another one many times, so that it is far larger than the memory it takes.
    """
    room, items = LARGEST, MOST_ITEMS
    waiting = [value]
    while waiting:
        value = waiting.pop()
        items -= 1
        if isinstance(value, dict):
            items -= len(value)
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            items -= len(value)
            waiting.extend(value)
        elif isinstance(value, (str, bytes)):
            room -= len(value)
        if room < 0 or items < 0:
            raise ValueError("the value is too large")


def go_kind(value: Any) -> str:
    """Return the name that Go has for the kind of a value."""
    return _GO_KINDS.get(type(value), "struct")


def text_of(value: Any) -> str:
    """Return a value as it is written; null is ``<nil>``."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if value is None:
        return "<nil>"
    if isinstance(value, (dict, list, tuple)):
        weigh(value)
    return to_text(value)


def argument_text(value: Any) -> str:
    """Return a value as text functions see it; ``ValueError`` for null."""
    if type(value) is str:
        return value
    if value is None:
        raise ValueError("the value is missing or null")
    return text_of(value)


def whole(value: Any) -> int:
    """Return a value as a whole number of 64 bits, fractions cut off."""
    if isinstance(value, (int, float)):
        number = int(value)
    elif isinstance(value, str):
        number = _parsed(value)
    else:
        raise ValueError(f"{_name(value)} is no number")
    if not -_LARGEST_INTEGER - 1 <= number <= _LARGEST_INTEGER:
        raise ValueError("the number doesn't fit 64 bits")
    return number


def _parsed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(fraction(text))


def fraction(value: Any) -> float:
    """Return a value as a floating-point number."""
    if type(value) in (int, float, bool):
        return float(value)
    if type(value) is str:
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{shown(value)} is no number") from None
    raise ValueError(f"{_name(value)} is no number")


def mapping(value: Any) -> dict[str, Any]:
    """Return a value that must be an object."""
    if isinstance(value, dict):
        return value
    raise ValueError(f"expected an object, found {_name(value)}")


def elements(value: Any) -> list[Any]:
    """Return a value that must be a list."""
    if isinstance(value, (list, tuple)):
        return value if isinstance(value, list) else list(value)
    raise ValueError(f"expected a list, found {_name(value)}")


def field(value: Any, name: str) -> Any:
    """Return a field of an object, None if it is missing or its owner is."""
    if isinstance(value, dict):
        return value.get(name)
    if value is None:
        return None
    if isinstance(value, list):
        raise ValueError(
            f"a list of {len(value)} has no field {name}; use {{{{range .}}}}, "
            f'{{{{index . 0 "{name}"}}}} or sendSingle: true'
        )
    raise ValueError(f"{_name(value)} has no field {name}")


def index(value: Any, *keys: Any) -> Any:
    """Return an element of a list by number, or a field of an object by name, step by step."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(argument_text(key))
        elif isinstance(value, (list, tuple, str)):
            place = whole(key)
            if not 0 <= place < len(value):
                raise ValueError(f"there is no element {place} among {len(value)}")
            value = value[place]
        else:
            raise ValueError(f"{_name(value)} has no elements")
    return value


def part(value: Any, *bounds: Any) -> Any:
    """Return elements of a list, or characters of a text, from one place up to another."""
    if not isinstance(value, (str, list, tuple)):
        raise ValueError(f"{_name(value)} can't be sliced")
    if len(bounds) > 2:
        raise ValueError("slice takes two bounds at most")
    start, stop = (*map(whole, bounds), *(0, len(value))[len(bounds) :])
    if not 0 <= start <= stop <= len(value):
        raise ValueError(f"{start} to {stop} is not within the {len(value)} that there are")
    return value[start:stop]


def length(value: Any) -> int:
    """Return the number of characters, elements or fields."""
    if isinstance(value, (str, bytes, list, tuple, dict)):
        return len(value)
    raise ValueError(f"{_name(value)} has no length")


def shown(text: str) -> str:
    """Return a text in quotes, short enough for a message."""
    return repr(text if len(text) <= 40 else f"{text[:39]}…")


def is_equal(left: Any, right: Any) -> bool:
    """Tell whether two single values are equal; numbers compare whatever their kind."""
    if left is None or right is None:
        return left is right
    if _comparable(left) != _comparable(right):
        raise ValueError(f"{_name(left)} can't be compared with {_name(right)}")
    return bool(left == right)


def is_less(left: Any, right: Any) -> bool:
    """Tell whether a number, text or time comes before another one."""
    family = _comparable(left)
    if family != _comparable(right) or family == "boolean":
        raise ValueError(f"{_name(left)} can't be compared with {_name(right)}")
    return bool(left < right)


def is_same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal, whatever they are."""
    if isinstance(left, (dict, list)):
        weigh(left)
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def each(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield places and elements of a list, names (sorted) and fields of an object, or numbers."""
    if isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif isinstance(value, dict):
        for key in sorted(value):
            yield key, value[key]
    elif type(value) is int:
        for number in range(value):
            yield number, number
    elif value is not None:
        raise ValueError(f"range can't go over {_name(value)}")


def copied(value: Any) -> Any:
    """Return a copy of a row or list that functions may change."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def _comparable(value: Any) -> str:
    """Return the family of values that a value compares with."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, (dict, list, tuple)) or value is None:
        raise ValueError(f"{_name(value)} can't be compared")
    return type(value).__name__


def _name(value: Any) -> str:
    return "a missing or null value" if value is None else str(kind_of(value))
