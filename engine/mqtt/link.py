"""A link to a broker that comes back by itself, and the state it is in."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from engine.backoff import Backoff
from engine.clock import Clock, SystemClock
from engine.errors import ConfigError, EngineError, NotConnected, Rejected
from engine.mqtt import v5
from engine.mqtt.arrivals import Arrivals
from engine.mqtt.connection import Connection, Filter, Reading
from engine.mqtt.inbox import Session
from engine.mqtt.outgoing import Messages, UserProperties
from engine.mqtt.reasons import (
    ProtocolBroken,
    PublishInterrupted,
    SessionTakenOver,
    subscription_refused,
)
from engine.mqtt.routing import Router
from engine.mqtt.session_file import SessionFile
from engine.mqtt.settings import LinkSettings
from engine.mqtt.subscription import Subscription
from engine.topics import check_filter

_log = logging.getLogger("engine.mqtt")
_STABLE = 5.0  # seconds after which a connection counts as a success
_ANSWER_WITHIN = 10.0  # seconds for a SUBACK
_CLOSE_WITHIN = 10.0
_REFUSED = 0x80


class LinkState(Enum):
    """Where a link stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKING_OFF = "backing off"
    FAILED = "failed"
    CLOSED = "closed"


class Link:
    """One client of one broker, for any number of subscriptions and publishers.

    Entering returns at once; a broker that is down is not an error. A task connects, connects again
    with growing delays, and subscribes again after each connect. Refused credentials are tried
    again too; ``state`` and ``last_error`` tell. Only wrong settings end in ``FAILED``.

    A source and a sink should not share a link: while a slow source holds up reading, the
    broker's answers to the sink are held up as well.
    """

    def __init__(
        self,
        settings: LinkSettings,
        *,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
        sessions: Path | None = None,
    ) -> None:
        """``sessions`` is the folder where something of persistent sessions is kept."""
        self.settings = settings
        self.client_id = settings.client_id or f"headrace-{secrets.token_hex(6)}"
        self.state = LinkState.CONNECTING
        self.last_error: EngineError | None = None
        self.on_change: list[Callable[[Link], None]] = []
        self._clock = clock or SystemClock()
        self.since = self._clock.now()
        self._backoff = backoff or Backoff()
        self._session = Session()
        self._session_file: SessionFile | None = None
        if sessions and settings.persistent_session and settings.client_id:
            self._session_file = SessionFile(sessions, settings.server, settings.client_id)
        self._noted: tuple[int, bool] | None = None
        """What its file says of the session."""
        self._has_connected = False
        self._router = Router(
            settings.server,
            is_persistent=settings.persistent_session,
            most_parked=max(1, settings.smallest_window // 2),
        )
        self.connections = 0
        """How many times the broker has accepted the link."""
        self.troubles = 0
        """How many times it couldn't be reached, or a connection was lost for a known reason."""
        self._connection: Connection | None = None
        self._publishing = 0
        self._quiet = asyncio.Event()  # set while nothing is being published
        self._quiet.set()
        self._alone = asyncio.Lock()  # held by whoever publishes something beside which nothing is
        self._changed = asyncio.Event()
        self._has_news = asyncio.Event()  # for the task that subscribes
        self._task: asyncio.Task[None] | None = None
        self._reported = ""
        self._is_closing = False

    def __repr__(self) -> str:
        return f"Link({self.settings.server}, {self.state.value})"

    @property
    def dropped(self) -> int:
        """How many messages came that no subscription wanted."""
        return self._router.dropped

    async def __aenter__(self) -> Self:
        if self.settings.persistent_session and not self.settings.client_id:
            _log.warning(
                "mqtt session can't outlive this process without a clientid server=%s",
                self.settings.server,
            )
        self._router.be_patient()
        self._task = asyncio.create_task(self._run(), name=f"mqtt[{self.settings.server}].link")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect and end all subscriptions; what they have not acknowledged comes again."""
        self._is_closing = True
        self._router.close()
        closed = NotConnected(f"the link to {self.settings.server} is closed")
        for subscription in list(self._router.subscriptions):
            self._router.remove(subscription)
            subscription.end(closed, again=True)
        if self._task is not None:
            self._task.cancel()
            with anyio.move_on_after(_CLOSE_WITHIN, shield=True):
                await asyncio.wait([self._task])
        if self.state is not LinkState.CLOSED:
            self._become(LinkState.CLOSED, self.last_error)

    async def wait_connected(self) -> None:
        """Return when the broker has accepted the link.

        Raises:
            ConfigError: the settings are wrong.
            NotConnected: the link was closed.
        """
        # the loss of a connection is known a turn of the loop after its socket has failed; callers
        # who publish, wait and publish again would keep the loop from ever turning
        await anyio.lowlevel.checkpoint()
        while self.state is not LinkState.CONNECTED:
            if self.state is LinkState.FAILED and self.last_error is not None:
                raise self.last_error
            if self.state is LinkState.CLOSED:
                raise NotConnected(f"the link to {self.settings.server} is closed")
            await self._changed.wait()

    async def subscribe(
        self,
        filters: Sequence[tuple[str, int]],
        *,
        wait: bool = False,
        reader: str = "",
        has_retained: bool = False,
    ) -> Subscription:
        """Register topic filters with their QoS; the broker learns of them once connected.

        With ``wait`` return only when the broker has confirmed. A persistent session gives a
        ``reader`` first what its last subscription has left unacknowledged. One that
        ``has_retained`` messages in what it remembers gets them again only in a new session (not
        before MQTT 5: then always).

        Raises:
            ConfigError: a filter or QoS is illegal, or the settings are wrong.
            Rejected: the broker refused (only with ``wait``; else reading raises it).
            NotConnected: the link is closed.
        """
        if not filters:
            raise ConfigError("a subscription needs a topic filter")
        for pattern, qos in filters:
            check_filter(pattern)
            if qos not in (0, 1, 2):
                raise ConfigError(f"qos is 0, 1 or 2, not {qos!r}")
        if self._is_closing:
            raise NotConnected(f"the link to {self.settings.server} is closed")
        subscription = Subscription(
            self,
            filters,
            most_messages=self.settings.pending_messages,
            most_bytes=self.settings.pending_bytes,
            reader=reader,
        )
        if self.state is LinkState.FAILED and self.last_error is not None:
            subscription.end(self.last_error)
        else:
            subscription.has_retained = has_retained
            self._router.add(subscription)
            self._has_news.set()
        if wait:
            await subscription.ready.wait()
            if subscription.error is not None:
                raise subscription.error
        return subscription

    async def publish(
        self,
        topics: str | Sequence[str],
        payloads: Sequence[bytes],
        *,
        qos: int = 0,
        retained: bool = False,
        user_properties: UserProperties = None,
        alone: bool = False,
    ) -> None:
        """Send a batch; one topic, or one for each payload; likewise the user properties.

        Returns for QoS 0 when the socket has taken the batch, else when the broker has confirmed
        all of it. User properties need MQTT 5 and are left out otherwise. With ``alone`` nothing
        else is sent meanwhile, neither messages nor subscriptions.

        Raises:
            PublishInterrupted: not connected, or no longer; tells which messages to send again.
                Of QoS 2 messages sent again after a lost connection some may arrive twice.
            PublishRejected: some messages were refused, all others are confirmed.
        """
        messages = Messages(topics, payloads, qos, retained, user_properties)
        if not payloads:
            return
        if alone:
            async with self._alone:
                if not await self._is_settled():
                    raise _unsent(messages, f"{self.settings.server} does not answer")
                await self._publish(messages)
            return
        if self._alone.locked():
            async with self._alone:
                pass
        self._publishing += 1
        self._quiet.clear()
        try:
            await self._publish(messages)
        finally:
            self._publishing -= 1
            if not self._publishing:
                self._quiet.set()

    async def _publish(self, messages: Messages) -> None:
        if self._connection is None:
            why = f"not connected to {self.settings.server}"
            if self.last_error is not None:
                why = f"{why}: {self.last_error.message}"
            raise _unsent(messages, why)
        number = self.connections
        try:
            await self._connection.publish(messages)
        except PublishInterrupted as error:
            error.connection = number if error.was_sent else 0
            raise

    async def _is_settled(self) -> bool:
        """Wait until the broker has answered all there is, but not for ever."""
        with anyio.move_on_after(_ANSWER_WITHIN):
            await self._quiet.wait()
            for subscription in list(self._router.subscriptions):
                await subscription.ready.wait()
            return True
        return False

    # Called by subscriptions

    def on_read(self) -> None:
        self._control_reading()

    async def drop(self, subscription: Subscription, *, unsubscribe: bool) -> None:
        was_known = subscription in self._router.subscriptions
        self._router.remove(subscription)
        closed = NotConnected("the subscription is closed")
        if self.settings.persistent_session and not (unsubscribe or self._is_closing):
            if was_known:
                self._router.keep(subscription.reader, subscription.leave(closed))
        else:
            subscription.end(closed, again=not unsubscribe)
        self._control_reading()
        if not (was_known and unsubscribe):
            return
        used = {each for other in self._router.subscriptions for each in other.patterns}
        await self._unsubscribe([each for each in subscription.patterns if each not in used])

    async def _unsubscribe(self, patterns: list[str]) -> None:
        if self._connection is None or not patterns:
            return
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                await self._connection.unsubscribe(patterns)
        except (NotConnected, TimeoutError) as error:
            _log.info("mqtt unsubscribe failed server=%s error=%s", self.settings.server, error)

    # What outlives the process of a session

    async def _recall_session(self) -> None:
        if self._session_file is None:
            return
        note = await asyncio.to_thread(self._session_file.read)
        if note is not None:
            self._has_connected = True
            self._noted = (note.session, note.reuses_ids)
            self._session.recall(note.session, reuses_ids=note.reuses_ids)

    def _note_session(self) -> bool:
        """Keep what tells this session from others before it can have any message.

        What the broker gets before it is subscribed again is lost, so the disk isn't waited for.
        """
        note = self._session.note
        if self._session_file is None or note == self._noted:
            return False
        self._noted = note
        session, reuses_ids = note
        try:
            self._session_file.write(session, reuses_ids=reuses_ids)
        except OSError as error:
            _log.warning(
                "mqtt session can't be noted, so after a restart its messages may count again "
                "server=%s error=%s",
                self.settings.server,
                error,
            )
            return False
        return True

    def _tell_of_lost_session(self, connection: Connection) -> None:
        had_session, self._has_connected = self._has_connected, True
        if self.settings.persistent_session and had_session and not connection.is_session_present:
            _log.warning(
                "mqtt broker has forgotten the session, and what it had queued for it "
                "server=%s clientid=%s",
                self.settings.server,
                self.client_id,
            )

    # The task

    async def _run(self) -> None:
        await self._recall_session()
        try:
            while True:
                delay = await self._attempt()
                await asyncio.sleep(delay)
                self._become(LinkState.CONNECTING, self.last_error)
        except ConfigError as error:
            self._become(LinkState.FAILED, error)
            for subscription in list(self._router.subscriptions):
                self._router.remove(subscription)
                subscription.end(error)

    async def _attempt(self) -> float:
        """Connect, serve until the connection is lost, and return how long to wait then."""
        try:
            connection = await self._connect()
        except ConfigError:
            raise
        except (NotConnected, Rejected) as error:
            self.troubles += 1
            self._report(error)
            return self._backoff.next()
        except Exception as error:
            self.troubles += 1
            _log.exception("mqtt connect failed server=%s", self.settings.server)
            self._report(NotConnected(f"{self.settings.server} can't be reached: {error!r}"))
            return self._backoff.next()
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.connections += 1
        why = await self._serve(connection)
        self._report(why)
        if isinstance(why, (ProtocolBroken, SessionTakenOver)):
            self.troubles += 1
        if isinstance(why, SessionTakenOver):
            return self._backoff.last()
        if loop.time() - began >= _STABLE:
            self._backoff.reset()
        return self._backoff.next()

    async def _connect(self) -> Connection:
        if self.settings.version == "5":
            return await v5.connect(self.settings, self.client_id, self._session, self._deliver)
        from engine.mqtt import v3

        return await v3.connect(self.settings, self.client_id, self._session, self._deliver)

    async def _serve(self, connection: Connection) -> EngineError:
        """Subscribe and wait until the connection is lost; return why."""
        server = self.settings.server
        self._connection = connection
        self._reported = ""
        self._tell_of_lost_session(connection)
        self._become(LinkState.CONNECTED, None)
        self._control_reading()
        subscribing = asyncio.create_task(
            self._keep_subscribed(connection), name=f"mqtt[{server}].subscribe"
        )
        lost = asyncio.create_task(connection.wait_lost(), name=f"mqtt[{server}].watch")
        try:
            await asyncio.wait([subscribing, lost], return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                return lost.result()
            return NotConnected(f"{server} does not answer subscriptions")
        finally:
            self._connection = None
            self._router.on_lost()
            for subscription in self._router.subscriptions:
                subscription.ready.clear()
            subscribing.cancel()
            lost.cancel()
            await asyncio.wait([subscribing, lost])
            await connection.close()

    async def _keep_subscribed(self, connection: Connection) -> None:
        """Subscribe all there is and whatever is added, until the connection is lost."""
        while True:
            self._has_news.clear()
            is_noted = self._note_session()
            for subscription in list(self._router.subscriptions):
                if not subscription.ready.is_set():
                    try:
                        async with asyncio.timeout(_ANSWER_WITHIN):
                            await self._subscribe(connection, subscription)
                    except TimeoutError:
                        return
                    except NotConnected:
                        await connection.wait_lost()
            if is_noted and self._session_file is not None:  # now that no message is missed for it
                with suppress(OSError):
                    await asyncio.to_thread(self._session_file.sync)
            await self._has_news.wait()

    async def _subscribe(self, connection: Connection, subscription: Subscription) -> None:
        wanted: dict[str, int] = {}
        for other in self._router.subscriptions:
            for pattern, qos in other.filters:
                wanted[pattern] = max(qos, wanted.get(pattern, 0))
        is_known = subscription.has_retained and connection.is_session_present
        patterns = list(dict.fromkeys(subscription.patterns))
        filters = [Filter(each, wanted[each], skip_retained=is_known) for each in patterns]
        codes = await connection.subscribe(filters)
        answers = dict(zip(patterns, codes, strict=False))
        refused = {each: answers.get(each, _REFUSED) for each in patterns}
        refused = {pattern: code for pattern, code in refused.items() if code >= _REFUSED}
        if refused:
            error = subscription_refused(self.settings.server, refused)
            _log.error("mqtt subscription refused server=%s error=%s", self.settings.server, error)
            self._router.remove(subscription)
            subscription.end(error)
            await self._unsubscribe([each for each in patterns if each not in refused])
            return
        for pattern, qos, _ in filters:
            if answers[pattern] < qos:
                _log.warning(
                    "mqtt broker grants less server=%s filter=%s qos=%d granted=%d",
                    self.settings.server,
                    pattern,
                    qos,
                    answers[pattern],
                )
        subscription.has_retained = True
        subscription.ready.set()

    def _deliver(self, connection: Connection, arrivals: Arrivals) -> None:
        if self._is_closing:  # not acknowledged, so the broker keeps what it must
            return
        self._router.route(arrivals)
        if self._session.reuses_ids and self._noted != self._session.note:
            self._has_news.set()
        self._connection = connection
        self._control_reading()

    def _control_reading(self) -> None:
        if self._connection is None:
            return
        reading = Reading.ALL
        for subscription in self._router.subscriptions:
            if subscription.is_full:
                reading = Reading.WHILE_ANSWERS_ARE_DUE
                if subscription.is_brimming:
                    reading = Reading.NOTHING
                    break
        self._connection.read(reading)

    def _report(self, error: EngineError) -> None:
        level = logging.WARNING
        if isinstance(error, (Rejected, SessionTakenOver)):
            level = logging.ERROR
        if str(error) == self._reported:  # said before, and nothing has changed since
            level = logging.DEBUG
        self._reported = str(error)
        _log.log(level, "mqtt not connected server=%s error=%s", self.settings.server, error)
        self._become(LinkState.BACKING_OFF, error)

    def _become(self, state: LinkState, error: EngineError | None) -> None:
        self.state = state
        self.last_error = error
        self.since = self._clock.now()
        self._changed.set()
        self._changed = asyncio.Event()
        for tell in list(self.on_change):
            try:
                tell(self)
            except Exception:
                _log.exception("mqtt state listener failed server=%s", self.settings.server)


def _unsent(messages: Messages, why: str) -> PublishInterrupted:
    total = len(messages)
    return PublishInterrupted(why, unconfirmed=list(range(total)), total=total)
