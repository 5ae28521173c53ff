"""Give back what is given: the smallest function there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.api import Context, Function


class Echo(Function):
    """echo(value): the value itself."""

    stateless = True

    def exec(self, ctx: Context, value: Any) -> Any:
        return value

    def exec_batch(self, ctx: Context, values: Sequence[Any]) -> Sequence[Any]:
        return values
