"""A connection by MQTT 3.1.1 or 3.1: aiomqtt, and the paho client under it.

Paho sets limits: it answers QoS 2 messages with PUBREC on arrival and leaves only the last step
(PUBCOMP) to ``acknowledge``; it has no reason codes for published messages; it connects in a
thread, which an early ``close`` has to wait for; and it reads message by message, some
30 000 a second.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import struct
from collections.abc import Coroutine, Sequence
from typing import Any

import aiomqtt
from aiomqtt.client import ProtocolVersion
from paho.mqtt.client import Client as Paho

from engine.errors import EngineError, NotConnected
from engine.mqtt.arrivals import PUBACK, PUBREC, REPEATED, Arrivals
from engine.mqtt.connection import Connection, Deliver, Filter, Reading
from engine.mqtt.inbox import Inbox, Session
from engine.mqtt.outgoing import Messages
from engine.mqtt.reasons import PublishInterrupted, PublishRejected, connect_refused
from engine.mqtt.segments import confirm_segments
from engine.mqtt.settings import LinkSettings

_log = logging.getLogger("engine.mqtt.paho")
_TURN = 512  # messages read before other tasks get their turn
_IN_FLIGHT = 20  # Mosquitto loses QoS 2 messages beyond its own limit of 20
_VERSIONS = {"3.1.1": ProtocolVersion.V311, "3.1": ProtocolVersion.V31}


async def connect(
    settings: LinkSettings, client_id: str, session: Session, deliver: Deliver
) -> V3Connection:
    """Return a connection that the broker has accepted.

    Raises:
        NotConnected: the broker can't be reached, or not now.
        Rejected: the broker refuses the credentials, the client id or the protocol version.
        ConfigError: the TLS settings are wrong.
    """
    context = await asyncio.to_thread(settings.ssl_context)
    if context is not None:
        context.sslsocket_class = _TidySocket
    connection = V3Connection(settings, client_id, session, deliver, context)
    opening = asyncio.create_task(connection.open(), name=f"mqtt[{settings.server}].open")
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])  # its thread can't be cancelled
        if not opening.cancelled() and opening.exception() is None:
            await connection.close()
        raise
    return connection


class _Tap(asyncio.Queue[aiomqtt.Message]):
    """Hands on what aiomqtt would queue; used as a queue, it stays empty."""

    def __init__(self, take: Any) -> None:
        super().__init__()
        self._take_message = take

    def put_nowait(self, item: aiomqtt.Message) -> None:
        self._take_message(item)


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which paho forgets."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class V3Connection(Connection):
    """One connection; ``deliver`` gets the messages of each turn of reading."""

    def __init__(
        self,
        settings: LinkSettings,
        client_id: str,
        session: Session,
        deliver: Deliver,
        context: ssl.SSLContext | None,
    ) -> None:
        host, port, _ = settings.address
        tap: Any = lambda maxsize: _Tap(self._take)  # noqa: E731
        self._settings = settings
        self._session = session
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._client = aiomqtt.Client(
            host,
            port,
            username=settings.username or None,
            password=settings.password or None,
            identifier=client_id,
            protocol=_VERSIONS[settings.version],
            clean_session=not settings.persistent_session,
            timeout=settings.connect_timeout,
            keepalive=max(1, round(settings.keep_alive)),
            queue_type=tap,
            max_inflight_messages=_IN_FLIGHT,
            tls_context=context,
            logger=_log,
        )
        self._client.pending_calls_threshold = 2 * _IN_FLIGHT
        # aiomqtt offers neither manual acknowledgement nor a way to pause reading.
        self._paho: Paho = self._client._client
        self._paho.manual_ack_set(True)
        self._paho.connect_timeout = settings.connect_timeout
        self._greeted = self._paho.on_connect
        self._paho.on_connect = self._on_connect
        self._parted = self._paho.on_disconnect
        self._paho.on_disconnect = self._on_disconnect
        self._received = self._paho.on_message
        self._paho.on_message = self._on_message
        if settings.persistent_session:  # QoS 2 messages that wait for PUBREL outlive a connection
            self._paho._in_messages = session.half_received
        self._inbox = Inbox(session)
        self._arrivals = Arrivals()
        self._answers_due = 0
        self._repeated = 0
        self._is_turn = False
        self._is_reading = True
        self._wanted = Reading.ALL
        self._file = -1
        self._watch: asyncio.Task[EngineError] | None = None
        self._pings: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Connect and wait for the answer of the broker."""
        server = self._settings.server
        try:
            await self._client.__aenter__()
        except aiomqtt.exceptions.MqttConnectError as error:
            await self._tidy_up()
            code = getattr(error.rc, "value", error.rc)
            raise connect_refused(server, code if isinstance(code, int) else 0x80) from None
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            await self._tidy_up()
            raise NotConnected(f"{server} can't be reached: {error}") from error
        socket: Any = self._paho.socket()
        if socket is None:
            await self._tidy_up()
            raise NotConnected(f"{server} closed the connection")
        self._file = socket.fileno()
        self._loop.add_reader(self._file, self._on_readable)
        self._watch = asyncio.create_task(self._until_lost(), name=f"mqtt[{server}].paho")

    async def subscribe(self, filters: Sequence[Filter]) -> list[int]:
        wanted = [(each.pattern, each.qos) for each in filters]
        codes = await self._ask(self._client.subscribe(wanted))
        return [getattr(code, "value", code) for code in codes]

    async def unsubscribe(self, patterns: Sequence[str]) -> None:
        await self._ask(self._client.unsubscribe(list(patterns)))

    async def publish(self, messages: Messages) -> None:
        flaws = messages.flaws(None)
        left = [index for index in range(len(messages)) if index not in flaws]
        failed: list[int] = []
        why = ""
        self._answers_due += 1
        self._control_reading()
        try:
            while left and not failed:
                turn, left = left[:_IN_FLIGHT], left[_IN_FLIGHT:]
                results = await self._publish_turn(messages, turn)
                for index, result in zip(turn, results, strict=True):
                    if isinstance(result, asyncio.CancelledError):
                        failed.append(index)
                        why = why or "the connection was lost"
                    elif isinstance(result, (aiomqtt.MqttError, ValueError)):
                        failed.append(index)
                        why = str(result)
                    elif result is not None:
                        raise result
        finally:
            self._answers_due -= 1
            self._control_reading()
        if failed:
            raise PublishInterrupted(
                f"{self._settings.server}: {why}",
                unconfirmed=failed + left,
                total=len(messages),
                rejected=flaws,
            )
        if flaws:
            raise PublishRejected(flaws, total=len(messages))

    def read(self, reading: Reading) -> None:
        self._wanted = reading
        self._control_reading()

    async def wait_lost(self) -> EngineError:
        assert self._watch is not None
        return await asyncio.shield(self._watch)

    async def close(self) -> None:
        try:
            await self._client.__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            _log.info("mqtt goodbye failed server=%s error=%s", self._settings.server, error)
        await self._tidy_up()
        if self._watch is not None:
            await asyncio.wait([self._watch])

    # Called by paho and the loop

    def _on_connect(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        self.is_session_present = bool(flags.session_present)
        self._session.begin(self._acknowledge, is_present=self.is_session_present)
        self._inbox = Inbox(self._session)
        if self.is_session_present:  # the broker asks again for what is in hand, paho is silent
            for packet_id in list(self._session.incoming):
                self._inbox.is_repeat(packet_id)
            self._loop.call_soon(self._answer_repeats)
        greeted: Any = self._greeted
        greeted(client, data, flags, code, properties)

    def _on_disconnect(self, *details: Any) -> None:
        accepted = self._client._connected
        if not accepted.done():  # aiomqtt would wait for its timeout
            accepted.set_exception(aiomqtt.MqttError("closed before it answered"))
        parted: Any = self._parted
        parted(*details)

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        self._repeated = REPEATED if message.dup else 0  # aiomqtt leaves it out
        received: Any = self._received
        received(client, data, message)

    def _answer_repeats(self) -> None:
        self._acknowledge(self._inbox.answers_to_repeats())

    def _on_readable(self) -> None:
        """Read what is there, and hand it on as one batch."""
        self._is_turn = True
        try:
            before = -1
            socket: Any = self._paho.socket()
            while socket is not None and self._is_reading and len(self._arrivals) < _TURN:
                if len(self._arrivals) == before and not _is_pending(socket):
                    break
                before = len(self._arrivals)
                self._paho.loop_read()
                socket = self._paho.socket()
        except Exception as error:  # paho raises what it likes on malformed packets
            _log.warning("mqtt read failed server=%s error=%r", self._settings.server, error)
            self._paho._sock_close()
            disconnected: Any = self._paho.on_disconnect
            disconnected(self._paho, None, None, 1, None)
        finally:
            self._is_turn = False
            self._flush()

    def _take(self, message: aiomqtt.Message) -> None:
        """Take a message from paho."""
        word = 0
        if message.qos == 2:
            if self._inbox.is_repeat(message.mid):
                return
            word = PUBREC | message.mid
        elif message.qos == 1:
            word = PUBACK | message.mid
        if not self._arrivals and not self._is_turn:
            self._loop.call_soon(self._flush)
        flags = self._repeated | message.qos << 1 | message.retain
        self._arrivals.add(flags, str(message.topic), message.payload, word)

    def _flush(self) -> None:
        if self._arrivals:
            arrivals, self._arrivals = self._arrivals, Arrivals()
            self._inbox.owe(arrivals)
            self._deliver(self, arrivals)
            if arrivals.words and (connected := self._paho.socket()) is not None:
                confirm_segments(connected)

    def _acknowledge(self, packets: bytes) -> None:
        for (word,) in struct.iter_unpack(">I", packets):
            packet_id = word & 0xFFFF
            is_exactly_once = word - packet_id == PUBREC
            self._paho.ack(packet_id, 2 if is_exactly_once else 1)
            if is_exactly_once:  # paho sends PUBCOMP, which ends the exchange
                self._inbox.release(packet_id)

    async def _until_lost(self) -> EngineError:
        why = "the connection is closed"
        try:
            async for _ in self._client.messages:  # nothing ever comes but the end
                pass
        except aiomqtt.MqttError as error:
            why = str(error.__cause__ or error)
        self._flush()
        self._session.pause()
        self._inbox.close()
        return NotConnected(f"{self._settings.server}: {why}")

    async def _publish_turn(
        self, messages: Messages, turn: Sequence[int]
    ) -> list[BaseException | None]:
        """Publish some messages at once; aiomqtt would wait for answers on a lost connection."""
        assert self._watch is not None
        tasks = [asyncio.create_task(self._publish_one(messages, index)) for index in turn]
        sending: asyncio.Future[Any] = asyncio.gather(*tasks, return_exceptions=True)
        first: list[asyncio.Future[Any]] = [sending, self._watch]
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        results: list[BaseException | None] = await sending
        return results

    async def _publish_one(self, messages: Messages, index: int) -> None:
        await self._client.publish(
            messages.topic(index),
            messages.payloads[index],
            messages.qos,
            messages.retained,
            timeout=math.inf,
        )

    async def _ask(self, request: Coroutine[Any, Any, Any]) -> Any:
        self._answers_due += 1
        self._control_reading()
        try:
            return await request
        except aiomqtt.MqttError as error:
            raise NotConnected(f"{self._settings.server}: {error}") from error
        finally:
            self._answers_due -= 1
            self._control_reading()

    def _control_reading(self) -> None:
        wanted = self._wanted is Reading.ALL or (
            self._wanted is Reading.WHILE_ANSWERS_ARE_DUE and self._answers_due > 0
        )
        if self._paho.socket() is None or wanted == self._is_reading:
            return
        self._is_reading = wanted
        if wanted:
            self._loop.add_reader(self._file, self._on_readable)
        else:
            self._loop.remove_reader(self._file)
            self._forgive_silence()

    def _forgive_silence(self) -> None:
        """Keep paho from closing the connection because it can't hear while reading is paused."""
        if not self._is_reading and self._paho.socket() is not None:
            self._paho._ping_t = 0.0
            self._pings = self._loop.call_later(0.5, self._forgive_silence)

    async def _tidy_up(self) -> None:
        """Leave neither a socket nor a task of the libraries behind."""
        if self._pings:
            self._pings.cancel()
        self._paho._sock_close()
        if (task := self._client._misc_task) is not None:
            task.cancel()
            await asyncio.wait([task])


def _is_pending(socket: Any) -> bool:
    """Say whether a TLS socket has read more than it has given."""
    return hasattr(socket, "pending") and socket.pending() > 0
