"""What ``dataField``, ``fields`` and ``excludeFields`` leave of a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import RowError
from engine.run.properties import SinkOptions
from engine.sql.kinds import kind_of

Select = Callable[[Any], Any]
"""Takes a row or a list of rows and returns what is wanted of it; raises ``RowError``."""


def selection(options: SinkOptions) -> Select | None:
    """Return what selects parts of messages, None if they are sent whole."""
    pick: Select | None = None
    if options.fields:
        pick = _picking(options.fields)
    elif options.exclude_fields:
        pick = _leaving_out(options.exclude_fields)
    return _inside(options.data_field, pick) if options.data_field else pick


def _picking(names: Sequence[str]) -> Select:
    def pick(item: Any) -> Any:
        if type(item) is dict:
            return {name: item.get(name) for name in names}
        return _each_row(item, pick)

    return pick


def _leaving_out(names: Sequence[str]) -> Select:
    unwanted = frozenset(names)

    def leave_out(item: Any) -> Any:
        if type(item) is dict:
            return {name: value for name, value in item.items() if name not in unwanted}
        return _each_row(item, leave_out)

    return leave_out


def _each_row(item: Any, change: Select) -> list[Any]:
    if not isinstance(item, list) or not all(isinstance(row, dict) for row in item):
        raise RowError(f"fields can't be picked from {kind_of(item)}")
    return [change(row) for row in item]


def _inside(name: str, change: Select | None) -> Select:
    """Return the selection of the member ``name``, to which ``change`` is done as well."""

    def member_of(row: Any) -> Any:
        if not isinstance(row, dict) or name not in row:
            raise RowError(f"there is no {name} to send")
        return row[name]

    def take(item: Any) -> Any:
        if not isinstance(item, list):
            member = member_of(item)
        elif len(item) == 1:
            member = member_of(item[0])
        else:  # the members of all rows, rather than only the first row's
            members = [member_of(row) for row in item]
            member = [part for one in members for part in (one if isinstance(one, list) else [one])]
        return member if change is None else change(member)

    return take
