"""A connection by MQTT 5: the protocol on an asyncio transport."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Sequence
from typing import Any

import mqtt5

from engine.errors import EngineError, NotConnected
from engine.mqtt.arrivals import Arrivals
from engine.mqtt.connection import Connection, Deliver, Filter, Reading
from engine.mqtt.inbox import Inbox, Session
from engine.mqtt.keepalive import KeepAlive
from engine.mqtt.outbox import PUBREL, Delivery, Outbox, PacketIds
from engine.mqtt.outgoing import Messages, Writer, chunk_size
from engine.mqtt.reasons import (
    UNSUPPORTED_VERSION,
    VERSION_HINT,
    ProtocolBroken,
    PublishInterrupted,
    PublishRejected,
    connect_refused,
    disconnected,
    v3_code,
)
from engine.mqtt.scanner import Malformed, Scanner
from engine.mqtt.segments import confirm_segments
from engine.mqtt.settings import LinkSettings

_log = logging.getLogger("engine.mqtt")
_HIGH_WATER = 1024 * 1024  # bytes that wait for the socket before a publisher has to wait too
_GOODBYE = 1.0  # seconds for the last bytes to leave
_REST = 0.002
"""Seconds without reading after messages that are to be acknowledged, unless they were many."""
_MANY = 64
_PINGREQ = b"\xc0\x00"
_PUBCOMP = b"\x70\x02"
_V3_CONNACK = b"\x20\x02"


async def connect(
    settings: LinkSettings, client_id: str, session: Session, deliver: Deliver
) -> V5Connection:
    """Return a connection that the broker has accepted.

    Raises:
        NotConnected: the broker can't be reached, or not now.
        Rejected: the broker refuses the credentials, the client id or the protocol version.
        ConfigError: the TLS settings are wrong.
    """
    loop = asyncio.get_running_loop()
    host, port, is_secure = settings.address
    context = await asyncio.to_thread(settings.ssl_context) if is_secure else None
    connection = V5Connection(settings, client_id, session, deliver)
    try:
        async with asyncio.timeout(settings.connect_timeout):
            await loop.create_connection(lambda: connection, host, port, ssl=context)
            await connection.accepted
    except TimeoutError:
        connection.abort()
        seconds = settings.connect_timeout
        raise NotConnected(f"{settings.server} did not answer within {seconds:g} s") from None
    except ssl.SSLError as error:
        raise NotConnected(
            f"{settings.server}: TLS failed: {error}",
            hint="check rootCaPath, certificationPath and privateKeyPath",
        ) from error
    except OSError as error:
        raise NotConnected(f"{settings.server} can't be reached: {error}") from error
    except BaseException:
        connection.abort()
        raise
    return connection


class V5Connection(asyncio.Protocol, Connection):
    """One connection; ``deliver`` gets the messages of each read of the socket."""

    def __init__(
        self, settings: LinkSettings, client_id: str, session: Session, deliver: Deliver
    ) -> None:
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._settings = settings
        self._client_id = client_id
        self._session = session
        self._deliver = deliver
        self._limits = mqtt5.ConnAckPacket()
        self._scanner = Scanner(self)
        self._writer = Writer()
        self._ids = PacketIds()
        self._inbox = Inbox(session)
        self._outbox = Outbox(self._ids, self._writer, 0)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._replies: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._socket: Any = None
        self._lost: asyncio.Future[EngineError] = loop.create_future()
        self._why: EngineError | None = None
        self._drained: asyncio.Future[None] | None = None
        self._keep_alive = KeepAlive(self._ping, self._on_silence)
        self._wanted = Reading.ALL
        self._is_reading = True
        self._resting: asyncio.TimerHandle | None = None

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        settings = self._settings
        packet = mqtt5.ConnectPacket(
            self._client_id,
            username=settings.username or None,
            password=settings.password.encode() or None,
            clean_start=not settings.persistent_session,
            keep_alive=math.ceil(settings.keep_alive),
            session_expiry_interval=(
                int(settings.session_expiry) if settings.persistent_session else 0
            ),
            receive_max=settings.receive_maximum,
        )
        self._write(packet.write())

    def data_received(self, data: bytes) -> None:
        self._keep_alive.has_heard = True
        if self._why:
            return
        if not self._is_accepted and data.startswith(_V3_CONNACK):
            self._refuse(v3_code(data[3]) if len(data) > 3 else UNSUPPORTED_VERSION)
            return
        arrivals = Arrivals()
        try:
            self._scanner.feed(data, arrivals)
            if arrivals.payloads and not self._is_accepted:
                raise Malformed("a PUBLISH came before the CONNACK")
        except Malformed as error:
            self._give_up(error)
        except Exception as error:
            _log.exception("mqtt read failed server=%s", self._settings.server)
            self._give_up(error)
        if arrivals.payloads and self._is_accepted:
            self._inbox.owe(arrivals)
            self._deliver(self, arrivals)
        self._replies.append(self._inbox.answers_to_repeats())
        self._write(b"".join(self._replies))
        self._replies.clear()
        self._send_waiting()
        is_owing = bool(arrivals.all_words)
        if (is_owing or self._outbox.is_busy) and self._is_open:
            confirm_segments(self._socket)
        if is_owing and len(arrivals) < _MANY:
            self._rest()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self._send_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        server = self._settings.server
        why = self._why
        if why is None and not self._is_accepted:
            detail = f": {exc}" if exc else ""
            why = NotConnected(f"{server} closed before it answered{detail}", hint=VERSION_HINT)
        elif why is None:
            hint = "if this repeats, another client may use the same clientid"
            why = NotConnected(
                f"{server} closed the connection{f': {exc}' if exc else ''}",
                hint=hint if self._settings.client_id else "",
            )
        self._why = why
        self._end_rest()
        self._keep_alive.stop()
        if self._is_accepted:
            self._session.pause()
            self._session.outgoing = self._outbox.interrupt(why.message)
        self._inbox.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(NotConnected(why.message))
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if not self.accepted.done():
            self.accepted.set_exception(why)
        if not self._lost.done():
            self._lost.set_result(why)

    # Called by the scanner

    def on_ack(self, kind: int, packet_id: int, reason: int) -> None:
        if kind == PUBREL:
            self._inbox.release(packet_id)
            self._replies.append(_PUBCOMP + packet_id.to_bytes(2, "big"))
        else:
            self._replies.append(self._outbox.on_ack(kind, packet_id, reason))

    def is_repeat(self, packet_id: int) -> bool:
        return self._inbox.is_repeat(packet_id)

    def on_packet(self, packet: Any) -> None:
        match packet:
            case mqtt5.ConnAckPacket() if not self.accepted.done():
                self._on_connack(packet)
            case mqtt5.SubAckPacket() | mqtt5.UnsubAckPacket():
                answer = self._answers.pop(packet.packet_id, None)
                if answer is not None:
                    self._ids.give_back(packet.packet_id)
                    if not answer.done():
                        answer.set_result(packet)
            case mqtt5.PingRespPacket():
                pass
            case mqtt5.DisconnectPacket():
                code = int(packet.reason_code)
                self._why = disconnected(self._settings.server, code, packet.reason_str)
                self._close_transport()
            case _:
                raise Malformed(f"an unexpected {type(packet).__name__} came")

    def _on_connack(self, packet: mqtt5.ConnAckPacket) -> None:
        if int(packet.reason_code):
            self._refuse(int(packet.reason_code), packet.reason_str)
            return
        self._limits = packet
        self.is_session_present = packet.session_present
        self._session.begin(self._write, is_present=packet.session_present)
        self._inbox = Inbox(self._session)
        self._outbox = Outbox(self._ids, self._writer, packet.receive_max)
        self._replies.append(self._outbox.resume(self._session.outgoing))
        self.accepted.set_result(None)
        asked = packet.server_keep_alive
        self._keep_alive.start(self._settings.keep_alive if asked is None else asked)

    def _refuse(self, code: int, text: str | None = None) -> None:
        self._why = connect_refused(self._settings.server, code, text)
        self._close_transport()

    # Called by the link

    async def subscribe(self, filters: Sequence[Filter]) -> list[int]:
        packet_id = self._ids.take()
        wanted = [
            mqtt5.TopicFilter(
                each.pattern,
                max_qos=mqtt5.QoS(each.qos),
                retain_as_published=False,
                retain_handling=(
                    mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
                    if each.skip_retained
                    else mqtt5.RetainHandling.SEND_ALWAYS
                ),
            )
            for each in filters
        ]
        packet = await self._ask(packet_id, mqtt5.SubscribePacket(packet_id, wanted).write())
        return [int(code) for code in packet.reason_codes]

    async def unsubscribe(self, patterns: Sequence[str]) -> None:
        packet_id = self._ids.take()
        await self._ask(packet_id, mqtt5.UnsubscribePacket(packet_id, list(patterns)).write())

    async def publish(self, messages: Messages) -> None:
        self._check(messages)
        flaws = messages.flaws(self._limits.max_packet_size)
        if messages.qos == 0:
            await self._publish_at_once(messages, flaws)
            return
        if not self._is_open:
            unsent = self._interrupted(messages, range(len(messages)), flaws)
            unsent.was_sent = False
            raise unsent
        delivery = Delivery(messages, flaws)
        self._outbox.put(delivery)
        self._send_waiting()
        try:
            await delivery.wait()
        finally:
            self._outbox.withdraw(delivery)

    def read(self, reading: Reading) -> None:
        self._wanted = reading
        self._control_reading()

    async def wait_lost(self) -> EngineError:
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        if self._why is None:
            self._why = NotConnected("the link was closed")
            self._write(mqtt5.DisconnectPacket().write())
        self._close_transport()
        await asyncio.wait([self._lost], timeout=2 * _GOODBYE)

    def abort(self) -> None:
        """Close the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def _is_accepted(self) -> bool:
        return self.accepted.done() and not self.accepted.cancelled()

    @property
    def _is_open(self) -> bool:
        transport = self._transport
        return self._why is None and transport is not None and not transport.is_closing()

    def _check(self, messages: Messages) -> None:
        """Refuse what the broker said that it doesn't offer."""
        everything = range(len(messages))
        most = int(self._limits.max_qos)
        if messages.qos > most:
            reason = f"QoS {messages.qos} is more than the broker allows"
            raise PublishRejected(
                dict.fromkeys(everything, reason), total=len(messages), hint=f"set qos: {most}"
            )
        if messages.retained and not self._limits.retain_available:
            raise PublishRejected(
                dict.fromkeys(everything, "the broker doesn't keep retained messages"),
                total=len(messages),
                hint="set retained: false",
            )

    async def _publish_at_once(self, messages: Messages, flaws: dict[int, str]) -> None:
        left: range | list[int] = range(len(messages))
        if flaws:
            left = [index for index in left if index not in flaws]
        while left:
            if not self._is_open:
                raise self._interrupted(messages, left, flaws)
            count = chunk_size(messages.payloads, left, _HIGH_WATER)
            self._write(self._writer.encode(messages, left[:count]))
            while self._drained is not None and self._is_open:
                await asyncio.shield(self._drained)
            if self._is_open:
                left = left[count:]
        if flaws:
            raise PublishRejected(flaws, total=len(messages))

    def _interrupted(
        self, messages: Messages, left: Sequence[int], flaws: dict[int, str]
    ) -> PublishInterrupted:
        why = self._why.message if self._why else "not connected"
        return PublishInterrupted(why, unconfirmed=list(left), total=len(messages), rejected=flaws)

    async def _ask(self, packet_id: int, request: bytes) -> Any:
        if not self._is_open:
            raise NotConnected(self._why.message if self._why else "not connected")
        answer = self._answers[packet_id] = self._loop.create_future()
        self._write(request)
        self._control_reading()
        return await answer

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _send_waiting(self) -> None:
        """Write what the outbox may send, as long as the socket takes it."""
        if self._drained is None and self._is_open:
            for packets in self._outbox.packets():
                self._write(packets)
                if self._drained is not None:
                    break
        self._control_reading()

    def _control_reading(self) -> None:
        """Read or pause, as the link wants and as long as the broker owes an answer."""
        if self._transport is None or self._transport.is_closing():
            return
        wanted = self._wanted is Reading.ALL or (
            self._wanted is Reading.WHILE_ANSWERS_ARE_DUE
            and (self._outbox.is_busy or bool(self._answers))
        )
        if wanted != self._keep_alive.is_listening:
            self._keep_alive.listen(wanted)
        wanted = wanted and self._resting is None
        if wanted == self._is_reading:
            return
        self._is_reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _rest(self) -> None:
        """Read nothing for a moment after a few messages that wait for acknowledgement.

        A broker sends the next ones one by one as acknowledgements come in. Who reads each as soon
        as it is there has all the work of a batch with every message.
        """
        if self._resting is None:
            self._resting = self._loop.call_later(_REST, self._end_rest)
            self._control_reading()

    def _end_rest(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
            self._control_reading()

    def _ping(self) -> None:
        self._write(_PINGREQ)

    def _on_silence(self) -> None:
        self._why = NotConnected(f"{self._settings.server} has fallen silent")
        self.abort()

    def _give_up(self, error: Exception) -> None:
        """Leave a broker that doesn't speak MQTT 5."""
        is_malformed = isinstance(error, Malformed)
        code = mqtt5.DisconnectReasonCode.MALFORMED_PACKET
        if not is_malformed:
            code = mqtt5.DisconnectReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
        hint = "" if self._is_accepted else VERSION_HINT
        message = f"{self._settings.server} broke the protocol: {error}"
        self._why = ProtocolBroken(message, hint=hint)
        self._write(mqtt5.DisconnectPacket(reason_code=code).write())
        self._close_transport()

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(_GOODBYE, self._transport.abort)
