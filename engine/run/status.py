"""What a rule is doing, as its users see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from engine.clock import Clock


class RuleState(StrEnum):
    """The states of a rule."""

    STARTING = "starting"
    CONNECTING = "connecting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "stopped by error"

    @property
    def is_final(self) -> bool:
        return self in (RuleState.STOPPED, RuleState.FAILED)

    @property
    def is_failure(self) -> bool:
        return self is RuleState.FAILED


@dataclass(slots=True)
class Connection:
    """Whether the other side of a source or sink is there."""

    connected: bool
    message: str = ""
    since: int = 0
    """Epoch milliseconds."""


@dataclass(slots=True)
class RuleStatus:
    """State of a rule with its reasons; ``since`` is epoch milliseconds."""

    clock: Clock
    state: RuleState = RuleState.STOPPED
    message: str = ""
    since: int = 0
    connections: dict[str, Connection] = field(default_factory=dict)
    """By operator; only those that report any."""

    def become(self, state: RuleState, message: str = "") -> None:
        """Enter a state; a final one is kept until the rule starts again."""
        if self.state != state or self.message != message:
            self.state, self.message, self.since = state, message, self.clock.now()

    def connection(self, operator: str, connected: bool, message: str = "") -> None:
        """Note a connection that came or went."""
        known = self.connections.get(operator)
        if known is None or (known.connected, known.message) != (connected, message):
            self.connections[operator] = Connection(connected, message, self.clock.now())
        if self.state in (RuleState.RUNNING, RuleState.CONNECTING, RuleState.BACKING_OFF):
            self._follow_connections()

    def opened(self) -> None:
        """All parts of the rule are open; connections may still be pending."""
        if self.state == RuleState.STARTING:
            self.become(RuleState.RUNNING)
            self._follow_connections()

    def _follow_connections(self) -> None:
        missing = [
            f"{operator}: {connection.message or 'not connected'}"
            for operator, connection in self.connections.items()
            if not connection.connected
        ]
        if missing:
            self.become(RuleState.CONNECTING, "; ".join(missing))
        else:
            self.become(RuleState.RUNNING)
