"""What a rule is doing, as its users see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import anyio

from engine.clock import Clock
from engine.run.waiting import Flag

_OPENING = 5.0
"""Seconds of real time that a run may take to open before it counts as begun."""


class RuleState(StrEnum):
    """The states of a rule."""

    STARTING = "starting"
    CONNECTING = "connecting"
    RUNNING = "running"
    IDLE = "idle"
    """Running, but no row came for as long as ``expectEvery`` says."""
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    WAITING = "stopped: waiting for next schedule."
    FAILED = "stopped by error"

    @property
    def is_final(self) -> bool:
        """Whether no part of the rule runs."""
        return self in (RuleState.STOPPED, RuleState.WAITING, RuleState.FAILED)

    @property
    def is_failure(self) -> bool:
        return self is RuleState.FAILED

    @property
    def is_up(self) -> bool:
        """Whether all parts are open; connections may be missing."""
        return self in (RuleState.RUNNING, RuleState.CONNECTING, RuleState.IDLE)


@dataclass(slots=True)
class Connection:
    """Whether the other side of a source or sink is there; times are epoch milliseconds, 0: never.

    A connection that never was is still being made; one that was is lost.
    """

    connected: bool
    message: str = ""
    since: int = 0
    last_connected: int = 0
    last_disconnected: int = 0
    last_disconnected_message: str = ""
    last_try: int = 0

    def note(self, connected: bool, message: str, now: int) -> None:
        """Take in what a plugin reports."""
        if (self.connected, self.message) != (connected, message) or not self.since:
            self.connected, self.message, self.since = connected, message, now
        self.last_try = now
        if connected:
            self.last_connected = now
        else:
            self.last_disconnected = now
            self.last_disconnected_message = message


@dataclass(slots=True)
class RuleStatus:
    """State of a rule with its reasons; ``since`` is epoch milliseconds."""

    clock: Clock
    state: RuleState = RuleState.STOPPED
    message: str = ""
    since: int = 0
    connections: dict[str, Connection] = field(default_factory=dict)
    """By operator; only those that report any."""
    changed: Flag = field(default_factory=Flag)
    """Never set, but pulsed at each change of the state or of a connection."""

    def become(self, state: RuleState, message: str = "") -> None:
        """Enter a state; a final one is kept until the rule starts again."""
        if self.state != state or self.message != message:
            self.state, self.message, self.since = state, message, self.clock.now()
            self.changed.pulse()

    def starting(self) -> None:
        """A run begins; what is known of connections is that of the run before."""
        self.connections.clear()
        self.become(RuleState.STARTING)

    def connection(self, operator: str, connected: bool, message: str = "") -> None:
        """Note a connection that came or went."""
        known = self.connections.setdefault(operator, Connection(connected))
        known.note(connected, message, self.clock.now())
        if self.state.is_up:
            self._follow_connections()
        else:
            self.changed.pulse()

    def opened(self) -> None:
        """All parts of the rule are open; connections may still be pending."""
        if self.state is RuleState.STARTING:
            self.become(RuleState.RUNNING)
            self._follow_connections()

    def fell_silent(self, message: str) -> None:
        """No row came for too long; what is missing otherwise says more."""
        if self.state is RuleState.RUNNING:
            self.become(RuleState.IDLE, message)

    def heard(self) -> None:
        """A row came after all."""
        if self.state is RuleState.IDLE:
            self.become(RuleState.RUNNING)

    async def begun(self) -> None:
        """Return when a run has opened its parts or can't for now, after some seconds at most."""
        with anyio.move_on_after(_OPENING):
            while self.state is RuleState.STARTING and not self.missing():
                await self.changed.wait()

    def _follow_connections(self) -> None:
        missing = self.missing()
        if missing:
            self.become(RuleState.CONNECTING, missing)
        elif self.state is not RuleState.IDLE:
            self.become(RuleState.RUNNING)

    def missing(self) -> str:
        """Return which connections are missing and why, "" if none."""
        return "; ".join(
            f"{operator}: {connection.message or 'not connected'}"
            for operator, connection in self.connections.items()
            if not connection.connected
        )
