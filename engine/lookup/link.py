"""One lookup source that is kept open, opened again when it is lost, and asked for many keys."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio

from engine.api import CURRENT_USE, Config, LookupSource, Use
from engine.backoff import Backoff
from engine.batch import Row
from engine.blame import told
from engine.clock import Clock
from engine.contact import Contact
from engine.errors import EngineError, NotConnected, PluginError, RowError
from engine.guard import close_quietly, guarded
from engine.lookup.options import LookupOptions
from engine.offspring import begin_use, children_of

logger = logging.getLogger(__name__)

Values = Sequence[Any]
Found = list[Row] | RowError
"""The rows of a key, or why they can't be told."""


class LookupLink:
    """A lookup source as all rules that join its table see it.

    A source that says `NotConnected` is closed and opened again with growing delays; meanwhile the
    rows wait, for ``retryFor`` at most. Then they fail, and so does every later one at its first
    attempt until one succeeds: a rule is held up once for each loss, not once for each batch.
    """

    def __init__(
        self,
        name: str,
        source: LookupSource[Any],
        use: Use,
        clock: Clock,
        options: LookupOptions | None = None,
    ) -> None:
        """``name`` is that of the table; it stands in every message."""
        self.name = name
        self._source = source
        self._use = use
        self._clock = clock
        self._options = options or LookupOptions()
        self._has_batches = type(source).lookup_many is not LookupSource.lookup_many
        self._requests = anyio.CapacityLimiter(self._options.concurrency)
        self._gate = anyio.Lock(fast_acquire=True)
        """Held while the source is opened or closed, and to begin a question."""
        self._is_open = False
        self._opening = 0
        """Number of this opening, to tell whose loss is old news."""
        self._users = 0
        self._unused = anyio.Event()
        self._contact = Contact(f"table {name}", use.ctx, logger, "not connected")
        self._has_given_up = False
        self._reported: set[type[Exception]] = set()

    @property
    def config(self) -> Config:
        """The configuration that the source runs with."""
        config: Config = self._use.config
        return config

    # -- life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the source now, for one that gathers its rows from then on.

        One that isn't connected is no error: it is opened again when it is asked.

        Raises:
            EngineError: it can't work, such as for a table that doesn't exist; whatever the source
                raises becomes one.
        """
        try:
            async with self._gate:
                await self._open()
        except NotConnected as error:
            self._contact.lose(error.message)
        except EngineError:
            raise
        except Exception as error:
            raise PluginError(f"source[{self.name}]: open() failed: {told(error)}") from error

    async def close(self) -> None:
        """Close the source once nobody asks it any more."""
        async with self._gate:
            await self._close()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[int]:
        """Keep the source open, opening it if need be; gives the number of its opening."""
        async with self._gate:
            await self._open()
            self._users += 1
        try:
            yield self._opening
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def _open(self) -> None:
        if self._is_open:
            return
        self._opening += 1
        begin_use(self._source)
        try:
            with self._used():
                await guarded(
                    self._source.open(),
                    f"table {self.name}: open()",
                    seconds=self._source.open_timeout,
                )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._close_source()
            raise
        self._is_open = True

    async def _close(self) -> None:
        if not self._is_open:
            return
        while self._users:
            self._unused = anyio.Event()
            await self._unused.wait()
        self._is_open = False
        await self._close_source()

    async def _close_source(self) -> None:
        with self._used():
            await close_quietly(self._source, f"table {self.name}")

    async def _lose(self, opening: int) -> None:
        """Close the source unless somebody has opened it anew since."""
        async with self._gate:
            if opening == self._opening:
                await self._close()

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Let an instance that all rules share see this table's configuration."""
        token = CURRENT_USE.set(self._use)
        try:
            with children_of(self._source):
                yield
        finally:
            CURRENT_USE.reset(token)

    # -- questions -----------------------------------------------------------------------------

    async def ask(
        self, fields: Sequence[str], keys: Sequence[str], rows_of_values: Sequence[Values]
    ) -> list[Found]:
        """Return what the source has for each of several keys, in their order.

        Never raises for what the source does: an error is the answer of the keys that it concerns.
        """
        answers: list[Found] = [[] for _ in rows_of_values]
        pending = list(range(len(answers)))
        backoff = Backoff()
        give_up_at = self._clock.now() + round(self._options.retry_for * 1000)
        while pending:
            asked = [rows_of_values[index] for index in pending]
            outcomes, opening = await self._attempt(fields, keys, asked)
            lost: list[int] = []
            for index, outcome in zip(pending, outcomes, strict=True):
                if isinstance(outcome, NotConnected):
                    lost.append(index)
                    reason = outcome
                else:
                    answers[index] = outcome
            if not lost:
                self._contact.regain()
                self._has_given_up = False
                break
            self._contact.lose(reason.message)
            await self._lose(opening)
            now = self._clock.now()
            if self._has_given_up or now >= give_up_at:
                self._has_given_up = True
                for index in lost:
                    answers[index] = self._failed(f"not connected: {reason.message}", reason.kind)
                break
            pending = lost
            await self._clock.sleep_until(min(give_up_at, now + round(backoff.next() * 1000)))
        return answers

    async def _attempt(
        self, fields: Sequence[str], keys: Sequence[str], asked: Sequence[Values]
    ) -> tuple[Sequence[Found | NotConnected], int]:
        """Return an answer for each key and the number of the opening that gave them."""
        opening = 0  # none, should opening fail
        try:
            async with self._opened() as opening:
                with self._used():
                    if self._has_batches:
                        return await self._together(fields, keys, asked), opening
                    return await self._one_by_one(fields, keys, asked), opening
        except NotConnected as error:
            return [error] * len(asked), opening
        except Exception as error:
            return [self._error(error)] * len(asked), opening

    async def _together(
        self, fields: Sequence[str], keys: Sequence[str], asked: Sequence[Values]
    ) -> Sequence[Found | NotConnected]:
        """Ask in one go; where that fails, halve until the keys that are to blame are alone."""
        try:
            found = await self._guarded(self._source.lookup_many(fields, keys, asked))
            if not isinstance(found, (list, tuple)) or len(found) != len(asked):
                gave = f"{len(found)} answers" if isinstance(found, (list, tuple)) else _type(found)
                what = f"lookup_many gave {gave} for {len(asked)} keys"
                raise PluginError(what, hint="return a list of rows for each key, in their order")
            return [_checked(rows) for rows in found]
        except NotConnected as error:
            return [error] * len(asked)
        except Exception as error:
            if len(asked) == 1:
                return [self._error(error)]
            half = len(asked) // 2
            first = await self._together(fields, keys, asked[:half])
            return [*first, *await self._together(fields, keys, asked[half:])]

    async def _one_by_one(
        self, fields: Sequence[str], keys: Sequence[str], asked: Sequence[Values]
    ) -> Sequence[Found | NotConnected]:
        """Ask for each key by itself, several at the same time."""
        outcomes: list[Found | NotConnected] = [[] for _ in asked]

        async def ask(index: int) -> None:
            async with self._requests:
                try:
                    found = self._source.lookup(fields, keys, asked[index])
                    outcomes[index] = _checked(await self._guarded(found))
                except NotConnected as error:
                    outcomes[index] = error
                except Exception as error:
                    outcomes[index] = self._error(error)

        if len(asked) == 1:
            await ask(0)
            return outcomes
        async with anyio.create_task_group() as tasks:
            for index in range(len(asked)):
                tasks.start_soon(ask, index)
        return outcomes

    async def _guarded(self, work: Awaitable[Any]) -> Any:
        what = f"table {self.name}: the lookup"
        return await guarded(work, what, seconds=self._source.lookup_timeout)

    def _error(self, error: Exception) -> RowError:
        if isinstance(error, EngineError):
            return self._failed(error.message, error.kind)
        if type(error) not in self._reported:  # a defect of the plugin: the place in it, once
            self._reported.add(type(error))
            logger.error("table %s: the lookup failed", self.name, exc_info=error)
        return self._failed(told(error))

    def _failed(self, why: str, kind: str = "") -> RowError:
        table = f"table {self.name}"
        return RowError(f"{table}: {why}", kind=f"{table}: {kind}" if kind else table)


def _checked(rows: Any) -> list[Row]:
    """Return what a plugin gave for a key if the join can work with it.

    Raises:
        PluginError: it can't.
    """
    if not isinstance(rows, list):
        what = f"the lookup gave {_type(rows)}, not a list of rows"
        raise PluginError(what, hint="return an empty list if there is none")
    for row in rows:
        if not isinstance(row, dict):
            what = f"the lookup gave a list of {_type(row)}, not of rows"
            raise PluginError(what, hint="a row is a dict of column names and values")
    return rows


def _type(value: Any) -> str:
    return "None" if value is None else type(value).__name__
