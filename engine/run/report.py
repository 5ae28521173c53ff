"""The status of a rule as one value, for people, for programs and in eKuiper's own form."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from engine.run.life import RuleLife
from engine.run.operators import OperatorReport, reports_of
from engine.run.status import RuleState

_IN_EKUIPER = {
    RuleState.CONNECTING: "running",
    RuleState.IDLE: "running",
    RuleState.BACKING_OFF: "stopped by error",
}
"""What states that eKuiper doesn't have are to its clients; their message says the rest."""


def in_ekuiper(state: RuleState) -> str:
    """Return a state in the words that eKuiper's clients know."""
    return _IN_EKUIPER.get(state, str(state))


class BalanceReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the rows of a rule went; see ``engine.run.metrics.Balance``."""

    received: int
    surplus: int
    windowed: int
    delivered: int
    filtered: int
    dropped: int
    errors: int
    pending: int
    holds: bool


class RuleReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All about one rule at one instant; times are epoch milliseconds, 0: never."""

    id: str
    name: str
    version: str
    tags: tuple[str, ...]
    state: RuleState
    message: str
    """Why it is in that state, empty if there is nothing to say."""
    since: int
    """When it entered the state."""
    uptime: float
    """Seconds since it was started, 0 while it is stopped."""
    last_start: int
    last_stop: int
    next_start: int
    """When its schedule starts it next."""
    last_message: int
    """When a row came last."""
    last_error: str
    last_error_at: int
    balance: BalanceReport
    counts: dict[str, int]
    """What the query noticed beside results, such as late rows."""
    operators: tuple[OperatorReport, ...]
    """In the order of the data; those of the last run while the rule is stopped."""

    def flat(self) -> dict[str, Any]:
        """Return the status as eKuiper's ``GET /rules/{id}/status`` gives it.

        ``state`` is added, for there are states that eKuiper's ``status`` doesn't tell apart.
        """
        found: dict[str, Any] = {
            "status": in_ekuiper(self.state),
            "message": self.message,
            "lastStartTimestamp": self.last_start,
            "lastStopTimestamp": self.last_stop,
            "nextStartTimestamp": self.next_start,
            "state": str(self.state),
        }
        for operator in self.operators:
            found |= operator.flat()
        return found


def report_of(life: RuleLife) -> RuleReport:
    """Return the status of a rule."""
    rule = life.rule
    definition, status, metrics = rule.definition, rule.status, rule.metrics
    balance = metrics.balance()
    now = life.home.clock.now()
    return RuleReport(
        id=definition.id,
        name=definition.name,
        version=definition.version,
        tags=definition.tags,
        state=status.state,
        message=status.message,
        since=status.since,
        uptime=0 if status.state.is_final else (now - life.last_start) / 1000,
        last_start=life.last_start,
        last_stop=life.last_stop,
        next_start=life.next_start,
        last_message=metrics.last_message,
        last_error=metrics.last_error,
        last_error_at=metrics.last_error_at,
        balance=BalanceReport(**asdict(balance), holds=balance.holds),
        counts=rule.counts,
        operators=reports_of(rule),
    )
