"""What one reader has subscribed to, and the messages that wait for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from engine.errors import EngineError
from engine.mqtt.arrivals import Arrivals, Held
from engine.topics import matches_any

_BRIMMING = 16  # times the limit


class Keeper(Protocol):
    """The link behind a subscription."""

    def on_read(self) -> None:
        """A subscription that was full has been read."""

    async def drop(self, subscription: Subscription, *, unsubscribe: bool) -> None:
        """A subscription is over."""


class Subscription:
    """Messages of some topic filters, for one reader."""

    def __init__(
        self,
        keeper: Keeper,
        filters: Sequence[tuple[str, int]],
        *,
        most_messages: int,
        most_bytes: int,
        reader: str = "",
    ) -> None:
        self.filters = tuple(filters)
        self.reader = reader or repr(self.filters)
        """Who reads: what one has left unconfirmed is for its next subscription."""
        self.error: EngineError | None = None
        self.ready = asyncio.Event()  # the broker has confirmed, on the present connection
        self.has_retained = False
        """Whether the reader has had what the broker retained, if its session is still there."""
        self._keeper = keeper
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._pending = Arrivals()
        self._later: deque[Arrivals] = deque()  # from other sessions than those before them
        self._bytes = 0
        self._owed: dict[int, Arrivals] = {}
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"Subscription({', '.join(self.patterns)})"

    @property
    def patterns(self) -> list[str]:
        return [pattern for pattern, _ in self.filters]

    @property
    def pending(self) -> int:
        """How many messages wait to be read."""
        return len(self._pending) + sum(map(len, self._later))

    @property
    def is_full(self) -> bool:
        return self._holds(1)

    @property
    def is_brimming(self) -> bool:
        """Whether far more waits than should."""
        return self._holds(_BRIMMING)

    def takes(self, topic: str) -> bool:
        return matches_any(self.patterns, topic)

    async def read(self) -> Arrivals:
        """Return all messages that have arrived, as soon as there is one.

        May be cancelled without loss.

        Raises:
            Rejected: the broker refused the subscription.
            ConfigError: the settings of the link are wrong.
            NotConnected: the subscription or its link was closed.
        """
        while not self._pending.payloads:
            if self.error is not None:
                raise self.error
            await self._arrival()
        was_full = self.is_full
        arrivals, self._pending, self._bytes = self._pending, Arrivals(), 0
        if self._later:
            self._pending = self._later.popleft()
            self._bytes = sum(map(len, self._pending.payloads))
        if arrivals.parcels:
            self._owed[id(arrivals.parcels)] = arrivals
        if was_full:
            self._keeper.on_read()
        return arrivals

    def acknowledge(self, arrivals: Arrivals) -> None:
        """Tell the broker that messages are done; again, or after a reconnect, is harmless."""
        owed = self._owed.pop(id(arrivals.parcels), None)
        if owed is not None:
            self._let_go(owed.parcels)

    async def close(self, *, unsubscribe: bool = True) -> None:
        """End the subscription.

        With ``unsubscribe=False`` the broker of a persistent session goes on queueing, and what
        was not acknowledged comes again: as long as the link is open, to the next subscription of
        the same reader, else from the broker. Otherwise it counts as done.
        """
        await self._keeper.drop(self, unsubscribe=unsubscribe)

    def deliver(self, arrivals: Arrivals) -> None:
        """Take messages for the reader."""
        last = self._later[-1] if self._later else self._pending
        if not last.payloads:
            self._pending = arrivals
        elif last.origin.session == arrivals.origin.session:
            last.take(arrivals)
        else:
            self._later.append(arrivals)
        self._bytes += sum(map(len, arrivals.payloads))
        self._wake()

    def end(self, error: EngineError, *, again: bool = False) -> None:
        """Raise ``error`` from now on; messages not acknowledged are done, or come ``again``."""
        if self.error is not None:
            return
        taken, waiting = self._emptied(error)
        for arrivals in (*taken, *waiting):
            if again:
                for parcel, words in arrivals.parcels:
                    parcel.abandon(words)
            else:
                self._let_go(arrivals.parcels)

    def leave(self, error: EngineError) -> list[Arrivals]:
        """End as with ``end``, but return the QoS 1 and 2 messages that are not acknowledged."""
        taken, waiting = self._emptied(error)
        left: list[Arrivals] = []
        for arrivals in (*taken, *waiting):
            owing = arrivals.owing
            owing.parcels = list(arrivals.parcels)
            arrivals.parcels.clear()
            if arrivals in taken:
                owing.mark_repeated()
            if owing:
                left.append(owing)
        return left

    def _emptied(self, error: EngineError) -> tuple[list[Arrivals], list[Arrivals]]:
        """Come to the end; return the messages that were read, and those that wait for it."""
        taken, waiting = list(self._owed.values()), [self._pending, *self._later]
        self._owed.clear()
        self._later.clear()
        self._pending, self._bytes = Arrivals(), 0
        self.error = error
        self.ready.set()
        self._wake()
        return taken, waiting

    def _holds(self, times: int) -> bool:
        return (
            self.pending >= times * self._most_messages or self._bytes >= times * self._most_bytes
        )

    def _let_go(self, parcels: Held) -> None:
        for parcel, _ in parcels:
            parcel.release()
        parcels.clear()

    async def _arrival(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("a subscription has one reader at a time")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
