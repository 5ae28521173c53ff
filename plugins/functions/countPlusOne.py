"""Count the rows of a group, and one more: the smallest aggregate function there is."""

from __future__ import annotations

from typing import Any

from engine.api import AggregateFunction


class CountPlusOne(AggregateFunction):
    """countPlusOne(value): the number of rows in the group, plus one."""

    def __init__(self) -> None:
        self.count = 1

    def add(self, value: Any) -> None:
        self.count += 1

    def remove(self, value: Any) -> None:
        self.count -= 1

    def merge(self, newer: CountPlusOne) -> None:
        self.count += newer.count - 1

    def result(self) -> int:
        return self.count
