"""Store and forward: a sink that isn't there gets its messages later, in order, from a cache.

While all is well messages go to the sink directly. As soon as it isn't there they go into the
cache, a `Ring` in memory first and then on the disk, and the rule goes on. A task of its own sends
them when the sink is back; what comes meanwhile queues up behind them, unless the rule says that
new results may pass.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from engine.clock import Clock
from engine.run.caches import DESTINATION, Cache
from engine.run.messages import Claim, Messages
from engine.run.outlet import Outlet
from engine.run.records import Recorded, read, recorded
from engine.run.shelf import Shelf
from engine.run.waiting import happens_within
from engine.state.errors import StoreFailed
from engine.state.ring import Loss, Page, Ring

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Forwarder:
    """Sends the messages of one sink, through its cache where need be."""

    def __init__(
        self,
        outlet: Outlet,
        cache: Cache,
        clock: Clock,
        properties: Sequence[str],
        *,
        redirects: Mapping[str, str],
        more_waits: Callable[[], bool],
    ) -> None:
        """``properties`` are those computed for each message, ``redirects`` those that messages
        from the cache get instead; ``more_waits`` tells whether more is to be delivered at once.
        """
        self._outlet = outlet
        self._cache, self._options = cache, cache.options
        self._account = cache.account
        self._is_durable = cache.is_durable
        self._clock = clock
        self._properties = properties
        self._redirects = redirects
        self._more_waits = more_waits
        self._ring_use = anyio.Lock(fast_acquire=True)
        """The ring is used by one task at a time, so that no thread holds up the loop."""
        self._sink_use = anyio.Lock(fast_acquire=True)
        self._shelf = Shelf()
        self._unsafe: deque[tuple[int, Claim]] = deque()
        """Claims that wait until all records below a number are durable."""
        self._unflushed = 0
        self._left: list[Messages] | None = None
        """What is still to be sent of the page in hand, None before the first attempt."""
        self._attempts = 0
        self._claim = _PageClaim()
        self._is_open = False
        self._is_up = False
        self._is_idle = False
        """Nothing is in the cache, so that messages may go to the sink directly."""
        self._changed = anyio.Event()
        self._closing = anyio.Event()
        self._ring: Ring

    @property
    def rows(self) -> int:
        """Rows in the cache."""
        ring: Ring | None = getattr(self, "_ring", None)
        return 0 if ring is None else ring.rows

    # -- life ----------------------------------------------------------------------------------

    async def run(self, intake: Callable[[], Awaitable[None]], opened: Callable[[], None]) -> None:
        """Deliver what ``intake`` brings to `deliver`, and what an earlier run has left.

        Returns when the intake is over and the cache is empty or the sink isn't there.

        Raises:
            StoreFailed: the folder of the cache can't be used.
        """
        await self._open_ring()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send_all, opened, name=f"{self._outlet.name}.resend")
                await intake()
                self._closing.set()
                self._change()
        finally:
            with anyio.CancelScope(shield=True):
                await self._close_ring()

    async def _open_ring(self) -> None:
        folder, owner = self._cache.folder, self._cache.destination
        ring = await anyio.to_thread.run_sync(
            partial(Ring, folder, self._options, fsync=self._is_durable, owner=owner)
        )
        self._ring = ring
        for loss in ring.losses():  # of what an earlier run has left
            self._lose(loss, [self._account.recover(loss.rows)])
        rows = ring.rows
        if rows:
            logger.info("%s: %s rows from an earlier run are in %s", self.name, rows, folder)
        self._shelf = Shelf(self._account.recover(rows), ring.durable_to)

    async def _close_ring(self) -> None:
        ring = self._ring
        if self._left is not None and not self._options.clean_cache_at_stop:
            await self._keep_unsent(self._left)
        await anyio.to_thread.run_sync(ring.close)
        self._count_losses()
        for numbers in self._shelf.empty():
            if self._options.clean_cache_at_stop:
                self._account.lose(numbers, self.name, "cache deleted at stop")
            else:
                self._account.leave(numbers)
        if not self._options.clean_cache_at_stop:
            self._confirm(ring.durable_to)

    async def _keep_unsent(self, left: Sequence[Messages]) -> None:
        """Settle what the sink has taken of the page in hand, so that it won't get it again."""
        unsent = {place for messages in left for places in messages.places for place in places}
        page = await _in_thread(self._ring.keep, sorted(unsent))
        if len(unsent) < len(page.records):
            self._settle_each(page, unsent)

    @property
    def name(self) -> str:
        """That of the sink."""
        return self._outlet.name

    # -- taking messages -----------------------------------------------------------------------

    async def deliver(
        self, messages: Messages, claim: Claim, stored: Callable[[Sequence[int]], Messages]
    ) -> None:
        """Send messages, or put them into the cache; then nothing more is owed for them.

        ``stored`` returns some of the messages as they are to be kept.
        """
        left: Sequence[int] = range(len(messages.places))
        while True:
            if await self._may_pass():
                async with self._sink_use:
                    missing = await self._outlet.send(messages.picked(left), claim)
                if self._options.resend_alter_queue:
                    self._change()
                if missing is None:
                    claim.confirm()
                    return
                left = [left[index] for index in missing]
                self._is_up = False
            made = recorded(stored(left), self._properties)
            if not await self._held_back(made):
                break
        await self._store(made, claim)

    async def _may_pass(self) -> bool:
        """Tell whether new messages go to the sink directly."""
        if not self._options.resend_alter_queue:
            return self._is_idle and self._is_up
        if self._options.resend_priority > 0:
            while self._is_up and not self._is_idle:
                await self._next_change()
        return self._is_up

    async def _held_back(self, made: Recorded) -> bool:
        """Hold the rule back where rows would be lost although that can be helped.

        That is so while the sink takes what is in the cache, and where rows must not be lost to a
        disk that is full or broken. Returns whether time has passed.
        """
        ring, options, size = self._ring, self._options, made.size
        is_full = (
            max(ring.rows, ring.records) + made.load > options.max_disk_cache
            or ring.disk_bytes + size > options.max_disk_cache_size
        )
        if self._is_up and not self._is_idle and is_full:
            await self._next_change()
            return True
        if not (self._is_durable and ring.problem) or ring.has_room(made.load, size):
            return False
        async with self._ring_use:
            await self._flush()
        if ring.problem:
            await happens_within(self._clock, self._changed, options.pause)
        return True

    async def _store(self, made: Recorded, claim: Claim) -> None:
        for places, error in made.failures:
            self._outlet.lose(claim, "storing", error, places)
        async with self._ring_use:
            self._is_idle = False
            if self._ring.has_room(made.load, made.size):
                numbers = self._ring.append(made.records, made.rows)
            else:
                numbers = await _in_thread(self._ring.append, made.records, made.rows)
            self._note(numbers, made, claim)
            self._count_losses()
            if not self._is_durable:
                claim.confirm()
            else:
                self._unsafe.append((numbers.stop, claim))
                self._unflushed += len(numbers)
                if not self._more_waits() or self._unflushed >= self._options.buffer_page_size:
                    await self._flush()
        self._change()

    def _note(self, numbers: range, made: Recorded, claim: Claim) -> None:
        """Remember which rows of the account the records stand for."""
        if made.rows is None:
            kept = claim.keep(range(len(made.records)))
            if len(kept) == len(numbers):
                self._shelf.put(numbers.start, kept, None)
                return
            each = [kept[index : index + 1] for index in range(len(numbers))]
        else:
            each = [claim.keep(places) if places else () for places in made.places]
        flat = [number for kept in each for number in kept]
        self._shelf.put(numbers.start, flat, list(map(len, each)))

    # -- sending again -------------------------------------------------------------------------

    async def _send_all(self, opened: Callable[[], None]) -> None:
        """Send what is in the cache whenever something is, until all is over."""
        is_first = True
        while not self._is_open:
            self._is_open = self._is_up = await self._outlet.open()
            if is_first:
                opened()  # a sink that isn't there is no reason not to run
                is_first = False
            if not self._is_open and await self._paused():
                return
        while True:
            page = await self._peek()
            if page is None:
                if self._closing.is_set():
                    return
                await self._next_change()
                if not (self._is_up or self._is_idle) and await self._paused():
                    return
            elif await self._send(page):
                self._change()
            elif await self._paused():
                return

    async def _paused(self) -> bool:
        """Wait before the next attempt; True: it is no use, for the rule ends."""
        if not self._closing.is_set():
            await happens_within(self._clock, self._closing, self._options.pause)
        if self._unsafe:
            async with self._ring_use:
                await self._flush()
        return self._closing.is_set()

    async def _peek(self) -> Page | None:
        """Return the next page; if there is none messages may go to the sink directly."""
        if self._options.resend_alter_queue and self._options.resend_priority < 0:
            while self._more_waits() and not self._closing.is_set() and self._is_up:
                await self._next_change()
        async with self._ring_use:
            ring = self._ring
            page = await _in_thread(ring.peek) if ring.disk_rows else ring.peek()
            self._count_losses()
            if page is None:
                self._is_idle = True
                self._change()
            return page

    async def _send(self, page: Page) -> bool:
        """Send what is left of a page; False: the sink isn't there."""
        claim = self._claim
        if self._left is None:
            claim.lost.clear()
            found = read(
                page.records, takes_payloads=self._outlet.takes_payloads, amend=self._redirected
            )
            for index, error in found.failures:
                self._outlet.lose(claim, "unreadable", error, (index,))
            self._left, self._attempts = found.messages, 0
        self._attempts += 1
        while self._left:
            async with self._sink_use:
                missing = await self._outlet.send(self._left[0], claim, self._attempts)
            if missing is not None:
                self._left[0] = self._left[0].picked(missing)
                self._is_up = False
                self._change()
                return False
            del self._left[0]
        self._is_up = True
        self._left = None
        await self._settle(page)
        return True

    async def _settle(self, page: Page) -> None:
        """Forget a page; its rows are delivered, or lost where the sink has refused them."""
        async with self._ring_use:
            ring = self._ring
            if ring.disk_rows:
                await _in_thread(ring.commit, page)
            else:
                ring.commit(page)
            if not self._claim.lost:
                for numbers in self._shelf.take_page(page.first, page.rows):
                    self._account.deliver(numbers)
            else:
                self._settle_each(page)
            self._count_losses()
            self._confirm(ring.durable_to)

    def _settle_each(self, page: Page, unsent: Set[int] = frozenset()) -> None:
        for index, numbers in enumerate(self._shelf.take_each(page.first, page.rows)):
            if index in unsent:
                self._account.leave(numbers)
            elif index not in self._claim.lost:
                self._account.deliver(numbers)
            else:
                reason, message = self._claim.lost[index]
                self._account.lose(numbers, self.name, reason)
                self._account.failed(f"{self.name}: {message}", self._clock.now())

    def _redirected(self, properties: dict[str, Any]) -> dict[str, Any]:
        """Return the properties of a message from the cache: it may go somewhere else."""
        computed = properties.pop(DESTINATION, None)
        for name, text in self._redirects.items():
            properties[name] = text if computed is None else computed
        return properties

    # -- the cache -----------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Make all that is in the cache durable, and confirm it."""
        self._unflushed = 0
        try:
            await _in_thread(self._ring.flush)
        except StoreFailed as error:
            self._account.failed(f"{self.name}: {error.message}", self._clock.now())
        self._count_losses()
        self._confirm(self._ring.durable_to)

    def _confirm(self, durable_to: int) -> None:
        while self._unsafe and self._unsafe[0][0] <= durable_to:
            self._unsafe.popleft()[1].confirm()

    def _count_losses(self) -> None:
        """Enter into the account what the cache has lost."""
        for loss in self._ring.losses():
            self._lose(loss, self._shelf.take_lost(loss.first, loss.records, loss.rows))

    def _lose(self, loss: Loss, found: Iterable[Sequence[int]]) -> None:
        for numbers in found:
            self._account.lose(numbers, self.name, f"cache {loss.reason}")
        message = f"{loss.rows} rows are lost from the cache: {loss.reason}"
        now = self._clock.now()
        self._outlet.metrics.failed(message, loss.rows, now)
        self._account.failed(f"{self.name}: {message}", now)

    # -- waiting -------------------------------------------------------------------------------

    def _change(self) -> None:
        """Let those go on that wait for something to happen."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _next_change(self) -> None:
        await self._changed.wait()


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    return await anyio.to_thread.run_sync(partial(work, *args))


class _PageClaim:
    """What the sink says about the records of a page."""

    def __init__(self) -> None:
        self.lost: dict[int, tuple[str, str]] = {}
        """By place in the page: reason and message."""

    def lose(self, place: str, reason: str, message: str, indexes: Iterable[int]) -> None:
        """Note records that the sink will never take."""
        for index in indexes:
            self.lost.setdefault(index, (reason, message))

    def keep(self, indexes: Sequence[int]) -> Sequence[int]:
        """They are kept already."""
        raise AssertionError("a record is sent, not stored")

    def confirm(self) -> None:
        """The page is settled as a whole."""
