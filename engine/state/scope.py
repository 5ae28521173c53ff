"""The state of one plugin instance or operator, seen by nobody else."""

from __future__ import annotations

from typing import Any


class StateScope:
    """Values and counters of one instance; the two don't share their keys."""

    __slots__ = ("counters", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.counters: dict[str, int] = {}

    def delete(self, key: str) -> None:
        self.values.pop(key, None)
        self.counters.pop(key, None)


class RuleState:
    """All scopes of one rule by (operator, instance)."""

    def __init__(self) -> None:
        self._scopes: dict[tuple[str, int], StateScope] = {}

    def scope(self, op_id: str, instance_id: int) -> StateScope:
        """Return the scope of an instance, an empty one at first."""
        return self._scopes.setdefault((op_id, instance_id), StateScope())

    def clear(self) -> None:
        """Forget everything, for a rule that is deleted."""
        self._scopes.clear()
