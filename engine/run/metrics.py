"""What happened to the rows of a rule; each row is in exactly one place of the balance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

LATENCY_BUCKETS = 21
"""10 µs, and each the double of the one before, up to 5.2 s; the last: what takes longer."""


@dataclass(slots=True)
class OperatorMetrics:
    """Counts of one operator (a source, a decoder, the query, a sink) of a rule.

    Times are epoch milliseconds, 0 before any.
    """

    records_in: int = 0
    records_out: int = 0
    processed: int = 0
    """Records that are done with, whatever became of them."""
    exceptions: int = 0
    last_exception: str = ""
    last_exception_at: int = 0
    last_invocation: int = 0
    latency: int = 0
    """Nanoseconds that the last batch took."""
    latencies: list[int] = field(default_factory=lambda: [0] * LATENCY_BUCKETS)
    """Batches by what they took: up to 10 µs, 20 µs, 40 µs and so on; the last: longer than all."""
    total_latency: int = 0
    """Nanoseconds that all batches took."""

    def took(self, nanoseconds: int) -> None:
        """Note what a batch took."""
        self.latency = nanoseconds
        self.total_latency += nanoseconds
        self.latencies[min((nanoseconds // 10_000).bit_length(), LATENCY_BUCKETS - 1)] += 1

    def failed(self, message: str, rows: int, at: int) -> None:
        """Count records that failed together."""
        self.exceptions += rows
        self.last_exception, self.last_exception_at = message, at


@dataclass(slots=True)
class RuleMetrics:
    """Counts of the rows of one rule.

    ``errors`` and ``dropped`` are by (place, reason). ``queued`` rows wait for the query,
    ``unconfirmed`` ones for the sinks.
    """

    received: int = 0
    surplus: int = 0
    """Results that no row stands for alone: what ``unnest`` and windows add to the account."""
    windowed: int = 0
    """Rows that went into windows."""
    delivered: int = 0
    filtered: int = 0
    queued: int = 0
    unconfirmed: int = 0
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    last_message: int = 0
    """Epoch milliseconds of the last arrival, 0 before any."""
    last_error: str = ""
    last_error_at: int = 0
    """Epoch milliseconds, 0 before any."""

    def failed(self, message: str, at: int) -> None:
        """Note the last error; rows that it cost are counted on their own."""
        self.last_error, self.last_error_at = message, at

    def error(self, place: str, reason: str, rows: int = 1) -> None:
        """Count rows that failed; ``reason`` is a class of errors, not a message."""
        self.errors[place, reason] += rows

    def drop(self, place: str, reason: str, rows: int) -> None:
        """Count rows that were given up."""
        if rows:
            self.dropped[place, reason] += rows

    @property
    def pending(self) -> int:
        return self.queued + self.unconfirmed

    def balance(self) -> Balance:
        """Return the account of all rows that came in."""
        return Balance(
            received=self.received,
            surplus=self.surplus,
            windowed=self.windowed,
            delivered=self.delivered,
            filtered=self.filtered,
            dropped=self.dropped.total(),
            errors=self.errors.total(),
            pending=self.pending,
        )


@dataclass(frozen=True, slots=True)
class Balance:
    """in (+ made) = out (+ windowed) + filtered + dropped + errors + pending, in rows."""

    received: int
    surplus: int
    windowed: int
    delivered: int
    filtered: int
    dropped: int
    errors: int
    pending: int

    @property
    def holds(self) -> bool:
        """Whether every row is accounted for."""
        return self.received + self.surplus == (
            self.delivered
            + self.windowed
            + self.filtered
            + self.dropped
            + self.errors
            + self.pending
        )

    def __str__(self) -> str:
        surplus = f" + made {self.surplus}" if self.surplus else ""
        windowed = f"windowed {self.windowed} + " if self.windowed else ""
        inside = f"{windowed}filtered {self.filtered}"
        return (
            f"in {self.received}{surplus} = out {self.delivered} + {inside} + "
            f"dropped {self.dropped} + errors {self.errors} + pending {self.pending}"
        )
