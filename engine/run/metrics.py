"""What happened to the rows of a rule; each row is in exactly one place of the balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.run.custody import Custody

MOST_REASONS = 100
"""Reasons of errors that are counted each; a plugin may have a new one for each row."""
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
    ``unconfirmed`` ones for the sinks; ``custody`` has those that sinks keep in their caches.
    """

    received: int = 0
    surplus: int = 0
    """Results that no row stands for alone: what ``unnest`` and windows add to the account."""
    windowed: int = 0
    """Rows that went into windows."""
    recovered: int = 0
    """Rows that an earlier run has left in the caches of sinks."""
    cached: int = 0
    """Rows that were left there for the next run."""
    custody: Custody = field(default_factory=Custody)
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
        self.errors[_known(self.errors, place, reason)] += rows

    def drop(self, place: str, reason: str, rows: int) -> None:
        """Count rows that were given up."""
        if rows:
            self.dropped[_known(self.dropped, place, reason)] += rows

    # Rows in custody, by their numbers there.

    def keep(self, rows: int) -> int:
        """Take the rows of a ticket into custody, and return the number of the first."""
        self.unconfirmed -= rows
        return self.custody.enter(rows)

    def recover(self, rows: int) -> range:
        """Take rows that an earlier run has left with a sink, which alone holds them."""
        self.recovered += rows
        first = self.custody.enter(rows)
        numbers = range(first, first + rows)
        self.custody.hold(numbers)
        self.custody.release_ticket(numbers)
        return numbers

    def confirm(self, numbers: Sequence[int]) -> None:
        """Let the ticket of rows be done with them."""
        self.delivered += self.custody.release_ticket(numbers)

    def deliver(self, numbers: Sequence[int]) -> None:
        """Note that a sink which kept rows has delivered them."""
        self.delivered += self.custody.release(numbers)

    def lose(self, numbers: Sequence[int], place: str, reason: str) -> None:
        """Note that a sink which kept rows has lost them."""
        self.drop(place, reason, self.custody.lose(numbers))

    def leave(self, numbers: Sequence[int]) -> None:
        """Note that a sink keeps rows for the next run."""
        self.cached += self.custody.release(numbers)

    def give_up(self, reason: str) -> None:
        """Count the rows that an ended run has left behind as dropped."""
        self.drop("rule", reason, self.pending)
        self.queued = self.unconfirmed = 0
        self.custody.clear()

    @property
    def pending(self) -> int:
        return self.queued + self.unconfirmed + self.custody.rows

    def balance(self) -> Balance:
        """Return the account of all rows that came in."""
        return Balance(
            received=self.received,
            surplus=self.surplus,
            windowed=self.windowed,
            recovered=self.recovered,
            cached=self.cached,
            delivered=self.delivered,
            filtered=self.filtered,
            dropped=self.dropped.total(),
            errors=self.errors.total(),
            pending=self.pending,
        )


def _known(counts: Counter[tuple[str, str]], place: str, reason: str) -> tuple[str, str]:
    """Return by what rows are counted, which is never more than can be read and kept."""
    key = place, reason
    return key if key in counts or len(counts) < MOST_REASONS else (place, "other reasons")


@dataclass(frozen=True, slots=True)
class Balance:
    """in (+ made) (+ recovered) = out (+ windowed) + filtered + dropped + errors + pending
    (+ cached), in rows.

    Recovered rows are those that an earlier run has left in the caches of sinks, cached ones those
    that this one has left there.
    """

    received: int
    surplus: int
    windowed: int
    recovered: int
    cached: int
    delivered: int
    filtered: int
    dropped: int
    errors: int
    pending: int

    @property
    def holds(self) -> bool:
        """Whether every row is accounted for."""
        return self.received + self.surplus + self.recovered == (
            self.delivered
            + self.windowed
            + self.cached
            + self.filtered
            + self.dropped
            + self.errors
            + self.pending
        )

    def __str__(self) -> str:
        surplus = f" + made {self.surplus}" if self.surplus else ""
        recovered = f" + recovered {self.recovered}" if self.recovered else ""
        windowed = f"windowed {self.windowed} + " if self.windowed else ""
        inside = f"{windowed}filtered {self.filtered}"
        cached = f" + cached {self.cached}" if self.cached else ""
        return (
            f"in {self.received}{surplus}{recovered} = out {self.delivered} + {inside} + "
            f"dropped {self.dropped} + errors {self.errors} + pending {self.pending}{cached}"
        )
