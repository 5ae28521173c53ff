"""The link against a stand-in that does, byte for byte, what a broker might do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mqtt5
import pytest

from engine.backoff import Backoff
from engine.errors import ConfigError, NotConnected, Rejected
from engine.mqtt import (
    Arrivals,
    Link,
    LinkSettings,
    LinkState,
    PublishInterrupted,
    PublishRejected,
    SessionTakenOver,
    Subscription,
    TlsSettings,
)
from tests.mqtt.standin import WITHIN, Peer, Standin, eventually, publish

FAST = (0.005, 0.02)


@pytest.fixture
async def broker() -> AsyncIterator[Standin]:
    async with Standin() as broker:
        yield broker


def link_to(broker: Standin, **settings: Any) -> Link:
    return Link(LinkSettings(server=broker.url, **settings), backoff=Backoff(*FAST))


@asynccontextmanager
async def subscribed(
    broker: Standin, qos: int = 0, *, limits: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[Link, Subscription, Peer]]:
    async with link_to(broker, **settings) as link:
        subscription = await link.subscribe([("t/#", qos)])
        peer = await broker.serve(**(limits or {}))
        await asyncio.wait_for(subscription.ready.wait(), WITHIN)
        yield link, subscription, peer


async def read(subscription: Subscription, count: int) -> list[Arrivals]:
    """Read until ``count`` messages have come."""
    got: list[Arrivals] = []
    async with asyncio.timeout(WITHIN):
        while sum(map(len, got)) < count:
            got.append(await subscription.read())
    assert sum(map(len, got)) == count
    return got


def payloads(arrivals: list[Arrivals]) -> list[bytes]:
    return [payload for each in arrivals for payload in each.payloads]


async def test_a_thousand_packets_in_one_write_are_a_thousand_messages_in_order(
    broker: Standin,
) -> None:
    async with subscribed(broker) as (_, subscription, peer):
        peer.send(*(publish("t/a", b"%d" % at) for at in range(1000)))
        got = await read(subscription, 1000)
        assert payloads(got) == [b"%d" % at for at in range(1000)]
        assert len(got) < 10


async def test_entering_needs_no_broker_and_leaving_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    async with Link(LinkSettings(server="tcp://127.0.0.1:1"), backoff=Backoff(*FAST)) as link:
        subscription = await link.subscribe([("t", 0)])
        await eventually(lambda: link.state is LinkState.BACKING_OFF)
        assert "can't be reached" in str(link.last_error)
        with pytest.raises(PublishInterrupted) as caught:
            await link.publish("t", [b"", b""])
        assert caught.value.unconfirmed == [0, 1]
    assert link.state is LinkState.CLOSED
    assert asyncio.all_tasks() == before
    for use in (subscription.read(), link.subscribe([("t", 0)]), link.wait_connected()):
        with pytest.raises(NotConnected, match="closed"):
            await use


async def test_it_connects_again_and_subscribes_again(broker: Standin) -> None:
    states: list[LinkState] = []
    async with subscribed(broker) as (link, subscription, peer):
        link.on_change.append(lambda link: states.append(link.state))
        peer.abort()
        peer = await broker.serve()
        peer.send(publish("t/a", b"again"))
        assert payloads(await read(subscription, 1)) == [b"again"]
    expected = [LinkState.BACKING_OFF, LinkState.CONNECTING, LinkState.CONNECTED, LinkState.CLOSED]
    assert states == expected


async def test_a_failing_listener_does_no_harm(
    broker: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    async with link_to(broker) as link:
        link.on_change.append(lambda link: 1 / 0)  # type: ignore[arg-type, return-value]
        await (await broker.accept()).greet()
        await asyncio.wait_for(link.wait_connected(), WITHIN)
    assert "listener failed" in caplog.text


@pytest.mark.parametrize("session", [False, True])
async def test_what_it_says_when_it_connects(broker: Standin, *, session: bool) -> None:
    settings = {"persistent_session": True, "client_id": "me"} if session else {}
    async with link_to(broker, username="u", password="p", keep_alive=7.5, **settings) as link:
        packet = await (await broker.accept()).greet()
    assert packet.client_id == link.client_id
    assert packet.client_id == "me" if session else packet.client_id.startswith("headrace-")
    assert (packet.username, packet.password, packet.keep_alive) == ("u", b"p", 8)
    assert packet.clean_start is not session
    assert packet.session_expiry_interval == (60 if session else 0)
    assert packet.topic_alias_max == 0
    assert packet.receive_max == 1024


async def test_messages_are_acknowledged_only_when_told_in_order_and_once(broker: Standin) -> None:
    async with subscribed(broker, 1) as (_, subscription, peer):
        peer.send(
            publish("t/a", b"1", qos=1, packet_id=1), publish("t/a", b"2", qos=1, packet_id=2)
        )
        (first,) = await read(subscription, 2)
        peer.send(publish("t/a", b"3", qos=1, packet_id=3))
        (second,) = await read(subscription, 1)
        subscription.acknowledge(second)  # waits for its turn
        subscription.acknowledge(first)
        subscription.acknowledge(first)
        ids = [(await peer.expect(mqtt5.PubAckPacket)).packet_id for _ in range(3)]
        assert ids == [1, 2, 3]
        peer.send(b"\x62\x02\x00\x09")  # any question whose answer comes after all others
        await peer.expect(mqtt5.PubCompPacket)


async def test_a_qos_1_acknowledgement_for_a_lost_connection_is_left_out(broker: Standin) -> None:
    session = {"persistent_session": True, "client_id": "me"}
    async with subscribed(broker, 1, **session) as (_, subscription, peer):
        peer.send(publish("t/a", b"1", qos=1, packet_id=1))
        (old,) = await read(subscription, 1)
        peer.abort()
        peer = await broker.serve(session_present=True)
        subscription.acknowledge(old)
        peer.send(publish("t/a", b"1", qos=1, packet_id=1, duplicate=True))
        (new,) = await read(subscription, 1)
        subscription.acknowledge(new)
        assert (await peer.expect(mqtt5.PubAckPacket)).packet_id == 1
        peer.send(b"\x62\x02\x00\x09")
        await peer.expect(mqtt5.PubCompPacket)


async def test_a_qos_2_message_comes_once_in_a_session(broker: Standin) -> None:
    session = {"persistent_session": True, "client_id": "me"}
    async with subscribed(broker, 2, **session) as (_, subscription, peer):
        peer.send(
            publish("t/a", b"1", qos=2, packet_id=1), publish("t/a", b"2", qos=2, packet_id=2)
        )
        (old,) = await read(subscription, 2)
        peer.abort()
        peer = await broker.serve(session_present=True)
        peer.send(publish("t/a", b"1", qos=2, packet_id=1, duplicate=True))  # still in hand
        peer.send(publish("t/a", b"3", qos=2, packet_id=3))
        (new,) = await read(subscription, 1)
        assert new.payloads == [b"3"]
        subscription.acknowledge(old)
        assert (await peer.expect(mqtt5.PubRecPacket)).packet_id == 1
        peer.send(publish("t/a", b"2", qos=2, packet_id=2, duplicate=True))  # done, answered again
        assert (await peer.expect(mqtt5.PubRecPacket)).packet_id == 2
        peer.send(b"\x62\x02\x00\x01")
        assert (await peer.expect(mqtt5.PubCompPacket)).packet_id == 1
        peer.send(publish("t/a", b"next", qos=2, packet_id=1))  # the identifier is free again
        assert payloads(await read(subscription, 1)) == [b"next"]


async def test_a_new_session_knows_no_old_messages(broker: Standin) -> None:
    async with subscribed(broker, 2) as (_, subscription, peer):
        peer.send(publish("t/a", b"old", qos=2, packet_id=1))
        (old,) = await read(subscription, 1)
        peer.abort()
        peer = await broker.serve(session_present=False)
        peer.send(publish("t/a", b"new", qos=2, packet_id=1))
        (new,) = await read(subscription, 1)
        subscription.acknowledge(old)
        subscription.acknowledge(new)
        assert (await peer.expect(mqtt5.PubRecPacket)).packet_id == 1
        peer.send(b"\x62\x02\x00\x01")
        await peer.expect(mqtt5.PubCompPacket)


async def test_a_message_for_two_subscriptions_waits_for_both(broker: Standin) -> None:
    async with subscribed(broker, 1) as (link, all_of_them, peer):
        only_a = await link.subscribe([("t/a", 1)])
        await peer.subscribed()
        peer.send(
            publish("t/a", b"both", qos=1, packet_id=1),
            publish("t/b", b"one", qos=1, packet_id=2),
            publish("t/c", b"plain"),
        )
        (everything,) = await read(all_of_them, 3)
        (part,) = await read(only_a, 1)
        assert part.topics == ["t/a"]
        assert everything.topics == ["t/a", "t/b", "t/c"]
        only_a.acknowledge(part)
        peer.send(b"\x62\x02\x00\x09")
        await peer.expect(mqtt5.PubCompPacket)
        all_of_them.acknowledge(everything)
        assert [(await peer.expect(mqtt5.PubAckPacket)).packet_id for _ in "ab"] == [1, 2]


async def test_a_closed_subscription_holds_up_nobody(broker: Standin) -> None:
    async with subscribed(broker, 1) as (link, kept, peer):
        gone = await link.subscribe([("u", 1)])
        await peer.subscribed()
        peer.send(publish("u", b"", qos=1, packet_id=1), publish("t/a", b"", qos=1, packet_id=2))
        await read(gone, 1)
        (arrivals,) = await read(kept, 1)
        closing = asyncio.create_task(gone.close())
        packet = await peer.expect(mqtt5.UnsubscribePacket)
        assert packet.patterns == ["u"]
        peer.send(
            mqtt5.UnsubAckPacket(packet.packet_id, [mqtt5.UnsubAckReasonCode.SUCCESS]).write()
        )
        await closing
        kept.acknowledge(arrivals)
        assert [(await peer.expect(mqtt5.PubAckPacket)).packet_id for _ in "ab"] == [1, 2]
        with pytest.raises(NotConnected):
            await gone.read()
        peer.send(publish("u", b"late", qos=1, packet_id=3))
        assert (await peer.expect(mqtt5.PubAckPacket)).packet_id == 3
        assert link.dropped == 1


@pytest.mark.parametrize("is_lost", [False, True])
async def test_closing_without_unsubscribing_leaves_messages_to_come_again(
    broker: Standin, *, is_lost: bool
) -> None:
    session = {"persistent_session": True, "client_id": "me"}
    async with subscribed(broker, 1, **session) as (link, kept, peer):
        gone = await link.subscribe([("u", 2)])
        await peer.subscribed()
        peer.send(publish("u", b"left", qos=2, packet_id=1))
        peer.send(publish("t/a", b"", qos=1, packet_id=2))
        (lost,) = await read(gone, 1)
        (arrivals,) = await read(kept, 1)
        await gone.close(unsubscribe=False)
        gone.acknowledge(lost)
        kept.acknowledge(arrivals)
        assert (await peer.expect(mqtt5.PubAckPacket)).packet_id == 2
        if is_lost:
            peer.abort()
            peer = await broker.serve(session_present=True)
            peer.send(publish("u", b"left", qos=2, packet_id=1, duplicate=True))
        back = await link.subscribe([("u", 2)])
        await peer.subscribed()
        (left,) = await read(back, 1)
        assert left.payloads == [b"left"]
        back.acknowledge(left)
        assert (await peer.expect(mqtt5.PubRecPacket)).packet_id == 1


async def test_what_a_reader_has_left_is_for_no_other_one(broker: Standin) -> None:
    session = {"persistent_session": True, "client_id": "me"}
    async with subscribed(broker, 1, **session) as (link, kept, peer):
        gone = await link.subscribe([("t/a", 1)], reader="rule")
        await peer.subscribed()
        peer.send(publish("t/a", b"both", qos=1, packet_id=1))
        await read(gone, 1)
        (arrivals,) = await read(kept, 1)
        await gone.close(unsubscribe=False)
        kept.acknowledge(arrivals)  # isn't enough
        other = await link.subscribe([("t/a", 1)], reader="other")
        await peer.subscribed()
        back = await link.subscribe([("t/a", 1)], reader="rule")
        await peer.subscribed()
        (left,) = await read(back, 1)
        back.acknowledge(left)
        assert (await peer.expect(mqtt5.PubAckPacket)).packet_id == 1
        assert (other.pending, kept.pending) == (0, 0)


async def test_what_a_reader_has_left_is_given_up_in_the_end(
    broker: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.mqtt.routing.PATIENCE", 0.05)
    session = {"persistent_session": True, "client_id": "me", "receive_maximum": 4}
    async with subscribed(broker, 1, **session) as (link, _, peer):
        for name in ("u", "v"):
            gone = await link.subscribe([(name, 1)], reader=name)
            await peer.subscribed()
            peer.send(*(publish(name, b"", qos=1, packet_id=each) for each in (1, 2, 3)))
            await read(gone, 3)
            await gone.close(unsubscribe=False)
            if name == "u":
                heir = await link.subscribe([("u", 1)], reader="other")
                await peer.subscribed()
                (left,) = await read(heir, 3)
                heir.acknowledge(left)
            assert [(await peer.expect(mqtt5.PubAckPacket)).packet_id for _ in "abc"] == [1, 2, 3]
            assert link.dropped == (0 if name == "u" else 3)


async def test_a_session_delivers_to_whom_subscribes_later(broker: Standin) -> None:
    async with link_to(broker, persistent_session=True, client_id="me") as link:
        peer = await broker.accept()
        await peer.greet(session_present=True)
        peer.send(publish("t/a", b"kept", qos=1, packet_id=1), publish("t/a", b"dropped"))
        await eventually(lambda: link.dropped == 1)
        subscription = await link.subscribe([("t/#", 1)])
        await peer.subscribed()
        (arrivals,) = await read(subscription, 1)
        assert arrivals.payloads == [b"kept"]
        subscription.acknowledge(arrivals)
        assert (await peer.expect(mqtt5.PubAckPacket)).packet_id == 1


async def test_messages_that_nobody_claims_do_not_stop_the_broker(
    broker: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.mqtt.routing.PATIENCE", 0.05)
    settings = {"persistent_session": True, "client_id": "me", "receive_maximum": 4}
    async with link_to(broker, **settings) as link:
        peer = await broker.accept()
        await peer.greet(session_present=True)
        peer.send(publish("x", b"", qos=1, packet_id=1))
        peer.send(publish("x", b"", qos=2, packet_id=2))
        assert (await peer.expect(mqtt5.PubAckPacket)).packet_id == 1
        assert (await peer.expect(mqtt5.PubRecPacket)).packet_id == 2
        assert link.dropped == 2


async def test_a_refused_subscription_says_which_filter_and_why(broker: Standin) -> None:
    async with link_to(broker) as link:
        subscription = await link.subscribe([("ok", 1), ("secret", 1)])
        peer = await broker.accept()
        await peer.greet()
        await peer.subscribed(1, 0x87)
        with pytest.raises(Rejected, match=r"'secret': not authorised"):
            await subscription.read()
        assert (await peer.expect(mqtt5.UnsubscribePacket)).patterns == ["ok"]


async def test_subscribing_can_wait_for_the_answer(
    broker: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    async with link_to(broker) as link:
        waiting = asyncio.create_task(link.subscribe([("a", 2)], wait=True))
        peer = await broker.accept()
        await peer.greet()
        await peer.subscribed(1)
        await waiting
        assert "grants less" in caplog.text
        waiting = asyncio.create_task(link.subscribe([("b", 0)], wait=True))
        await peer.subscribed(0x8F)
        with pytest.raises(Rejected, match="topic filter invalid"):
            await waiting


@pytest.mark.parametrize("filters", [[], [("a/#/b", 0)], [("a", 3)]])
async def test_wrong_subscriptions_are_refused_at_once(
    broker: Standin, filters: list[tuple[str, int]]
) -> None:
    async with link_to(broker) as link:
        with pytest.raises(ConfigError):
            await link.subscribe(filters)


@pytest.mark.parametrize(
    ("answer", "kind", "what"),
    [
        (b"\x20\x03\x00\x86\x00", Rejected, "bad user name or password"),
        (b"\x20\x03\x00\x87\x00", Rejected, "not authorised"),
        (b"\x20\x03\x00\x88\x00", NotConnected, "server unavailable"),
        (b"\x20\x03\x00\x84\x00", Rejected, 'protocolVersion: "3.1.1"'),
        (b"\x20\x02\x00\x01", Rejected, 'protocolVersion: "3.1.1"'),
        (b"\x20\x02\x00\x05", Rejected, "not authorised"),
        (b"HTTP/1.1 400 Bad Request\r\n" * 5, NotConnected, "broke the protocol"),
        (publish("t", b"early"), NotConnected, "before the CONNACK"),
        (b"", NotConnected, 'protocolVersion: "3.1.1"'),
    ],
)
async def test_a_refusal_is_told_in_plain_words_and_tried_again(
    broker: Standin, answer: bytes, kind: type[Exception], what: str
) -> None:
    async with link_to(broker, username="u", password="hush") as link:
        peer = await broker.accept()
        await peer.expect(mqtt5.ConnectPacket)
        peer.send(answer)
        peer.close()
        await eventually(lambda: link.last_error is not None)
        assert isinstance(link.last_error, kind)
        assert what in str(link.last_error)
        assert "hush" not in str(link.last_error)
        await (await broker.accept()).greet()
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        assert link.last_error is None


async def test_a_broker_that_does_not_answer_is_given_up(broker: Standin) -> None:
    async with link_to(broker, connect_timeout=0.05) as link:
        await broker.accept()
        await eventually(lambda: link.last_error is not None)
        assert "did not answer within 0.05 s" in str(link.last_error)


async def test_wrong_tls_settings_fail_for_good() -> None:
    settings = LinkSettings(server="ssl://127.0.0.1:1", tls=TlsSettings(root_ca_path="/nowhere"))
    async with Link(settings) as link:
        subscription = await link.subscribe([("t", 0)])
        for use in (subscription.read(), link.wait_connected()):
            with pytest.raises(ConfigError, match="TLS"):
                await asyncio.wait_for(use, WITHIN)
        assert link.state is LinkState.FAILED
        with pytest.raises(ConfigError):
            await (await link.subscribe([("t", 0)])).read()


async def test_a_taken_over_session_is_loud_and_not_fought_for(
    broker: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    backoff = Backoff(0.001, 30)
    async with Link(LinkSettings(server=broker.url), backoff=backoff) as link:
        peer = await broker.accept()
        await peer.greet()
        peer.send(b"\xe0\x02\x8e\x00")
        await eventually(lambda: link.state is LinkState.BACKING_OFF)
        assert isinstance(link.last_error, SessionTakenOver)
        assert "another client connected with the same client id" in str(link.last_error)
        assert [each.levelno for each in caplog.records] == [logging.ERROR]


async def test_malformed_packets_end_the_connection_and_not_the_link(broker: Standin) -> None:
    async with subscribed(broker) as (link, subscription, peer):
        peer.send(publish("t/a", b"good"), b"\x36\x08\x00\x01a\x00\x05\x00xy")
        assert payloads(await read(subscription, 1)) == [b"good"]
        goodbye = await peer.expect(mqtt5.DisconnectPacket)
        assert goodbye.reason_code == mqtt5.DisconnectReasonCode.MALFORMED_PACKET
        await eventually(lambda: "broke the protocol" in str(link.last_error))
        peer = await broker.serve()
        peer.send(publish("t/a", b"better"))
        assert payloads(await read(subscription, 1)) == [b"better"]


async def test_a_full_reader_stops_the_socket_and_loses_nothing(broker: Standin) -> None:
    limits = {"pending_messages": 100, "keep_alive": 1}
    async with subscribed(broker, **limits) as (link, subscription, peer):
        pinging = asyncio.create_task(peer.packet())
        body = b"x" * 2000
        total = 20_000  # 40 MB, more than sockets and buffers hold

        async def flood() -> None:
            for _ in range(total // 100):
                peer.send(publish("t/a", body) * 100)
                await peer.drain()

        flooding = asyncio.create_task(flood())
        await eventually(lambda: subscription.is_full)
        await eventually(lambda: peer.pings >= 2)  # the keep-alive goes on, unanswered
        peer.answers_pings = False
        await eventually(lambda: peer.pings >= 3)
        assert link.state is LinkState.CONNECTED
        assert subscription.pending < total
        assert not flooding.done()
        peer.answers_pings = True
        await read(subscription, total)
        await flooding
        pinging.cancel()


async def test_a_silent_broker_is_left(broker: Standin) -> None:
    async with subscribed(broker, limits={"server_keep_alive": 1}) as (link, _, peer):
        peer.answers_pings = False
        assert await peer.packet() is None
        assert peer.pings == 1
        await eventually(lambda: "has fallen silent" in str(link.last_error))


async def test_answers_are_read_even_when_messages_are_not_wanted(broker: Standin) -> None:
    async with subscribed(broker, pending_messages=10) as (link, subscription, peer):
        peer.send(publish("t/a", b"") * 10)
        await eventually(lambda: subscription.is_full)
        publishing = asyncio.create_task(link.publish("out", [b""], qos=1))
        packet = await peer.expect(mqtt5.PublishPacket)
        peer.send(publish("t/a", b"") * 5, mqtt5.PubAckPacket(packet.packet_id or 0).write())
        await asyncio.wait_for(publishing, WITHIN)
        assert subscription.pending == 15


async def test_ten_megabytes_arrive_in_one_piece(broker: Standin) -> None:
    async with subscribed(broker) as (_, subscription, peer):
        body = bytes(range(256)) * 40_000
        peer.send(publish("t/a", body))
        assert payloads(await read(subscription, 1)) == [body]


async def test_a_cancelled_read_loses_nothing(broker: Standin) -> None:
    async with subscribed(broker) as (_, subscription, _):
        reading = asyncio.create_task(subscription.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await subscription.read()
        arrivals = Arrivals()
        arrivals.add(0, "t/a", b"here")
        subscription.deliver(arrivals)  # and before the reader gets its turn
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert payloads(await read(subscription, 1)) == [b"here"]


async def test_qos_0_goes_out_in_one_buffer(broker: Standin) -> None:
    async with link_to(broker) as link:
        peer = await broker.accept()
        await peer.greet()
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        await link.publish("t", [])
        await link.publish("t", [b"%d" % at for at in range(100)], retained=True)
        await link.publish(["a", "b"], [b"", b"x"], user_properties=[{"k": "v"}, None])
        got = [await peer.expect(mqtt5.PublishPacket) for _ in range(102)]
        assert [each.payload for each in got[:100]] == [b"%d" % at for at in range(100)]
        assert all(each.retain for each in got[:100])
        assert [(each.topic, each.user_properties) for each in got[100:]] == [
            ("a", [("k", "v")]),
            ("b", []),
        ]


async def test_a_publisher_waits_for_a_slow_socket(broker: Standin) -> None:
    async with link_to(broker) as link:
        peer = await broker.accept()
        await peer.greet()
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        body = b"x" * 1_000_000
        publishing = asyncio.create_task(link.publish("t", [body] * 30))
        confirmed = asyncio.create_task(link.publish("t", [body] * 5, qos=1))
        first = await peer.expect(mqtt5.PublishPacket)
        assert len(first.payload) == 1_000_000
        assert not publishing.done()
        for _ in range(34):
            packet = await peer.expect(mqtt5.PublishPacket)
            if packet.packet_id:
                peer.send(mqtt5.PubAckPacket(packet.packet_id).write())
        await asyncio.wait_for(asyncio.gather(publishing, confirmed), WITHIN)


async def test_a_publisher_hears_of_a_connection_lost_while_it_waits(broker: Standin) -> None:
    async with link_to(broker) as link:
        peer = await broker.accept()
        await peer.greet()
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        publishing = asyncio.create_task(link.publish("t", [b"x" * 1_000_000] * 30))
        await peer.expect(mqtt5.PublishPacket)
        peer.abort()
        with pytest.raises(PublishInterrupted) as caught:
            await asyncio.wait_for(publishing, WITHIN)
        assert 0 < len(caught.value.unconfirmed) <= 30
        assert caught.value.unconfirmed[-1] == 29


@pytest.mark.parametrize("qos", [1, 2])
async def test_no_more_messages_are_under_way_than_the_broker_allows(
    broker: Standin, qos: int
) -> None:
    async with link_to(broker) as link:
        peer = await broker.accept()
        await peer.greet(receive_max=3)
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        publishing = asyncio.create_task(
            link.publish("t", [b"%d" % at for at in range(10)], qos=qos)
        )
        got: list[bytes] = []
        while len(got) < 10:
            batch = [await peer.expect(mqtt5.PublishPacket) for _ in range(min(3, 10 - len(got)))]
            got += [each.payload for each in batch]
            ids = [each.packet_id or 0 for each in batch]
            if qos == 1:
                peer.send(*(mqtt5.PubAckPacket(each).write() for each in ids))
                continue
            peer.send(*(mqtt5.PubRecPacket(each).write() for each in ids))
            assert [(await peer.expect(mqtt5.PubRelPacket)).packet_id for _ in ids] == ids
            peer.send(*(mqtt5.PubCompPacket(each).write() for each in ids))
        await asyncio.wait_for(publishing, WITHIN)
        assert got == [b"%d" % at for at in range(10)]


async def test_refused_messages_are_named_with_the_reason(broker: Standin) -> None:
    async with link_to(broker) as link:
        peer = await broker.accept()
        await peer.greet(max_packet_size=200)
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        bodies = [b"a", b"x" * 300, b"b", b"c"]
        publishing = asyncio.create_task(link.publish("t", bodies, qos=2))
        got = [await peer.expect(mqtt5.PublishPacket) for _ in range(3)]
        assert [each.payload for each in got] == [b"a", b"b", b"c"]
        ids = [each.packet_id or 0 for each in got]
        peer.send(
            mqtt5.PubRecPacket(ids[1], reason_code=mqtt5.PubRecReasonCode.NOT_AUTHORIZED).write()
        )
        for packet_id in (ids[0], ids[2]):
            peer.send(mqtt5.PubRecPacket(packet_id).write())
            peer.send(mqtt5.PubCompPacket(packet_id).write())
        with pytest.raises(PublishRejected) as caught:
            await asyncio.wait_for(publishing, WITHIN)
        assert caught.value.reasons == {
            1: "larger than the broker's maximum packet size of 200 bytes",
            2: "not authorised (0x87)",
        }
        with pytest.raises(PublishRejected, match="wildcard"):
            await link.publish("t/#", [b""])


@pytest.mark.parametrize(
    ("limits", "wanted", "hint"),
    [
        ({"max_qos": mqtt5.QoS(1)}, {"qos": 2}, "set qos: 1"),
        ({"retain_available": False}, {"retained": True}, "set retained: false"),
    ],
)
async def test_what_the_broker_does_not_offer_is_refused_with_a_hint(
    broker: Standin, limits: dict[str, Any], wanted: dict[str, Any], hint: str
) -> None:
    async with link_to(broker) as link:
        await (await broker.accept()).greet(**limits)
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        with pytest.raises(PublishRejected, match=hint):
            await link.publish("t", [b""], **wanted)


async def test_a_lost_connection_tells_what_to_send_again(broker: Standin) -> None:
    async with link_to(broker) as link:
        peer = await broker.accept()
        await peer.greet()
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        publishing = asyncio.create_task(link.publish("t", [b""] * 5, qos=1))
        got = [await peer.expect(mqtt5.PublishPacket) for _ in range(5)]
        for at in (0, 1, 3):
            peer.send(mqtt5.PubAckPacket(got[at].packet_id or 0).write())
        await peer.drain()
        peer.close()
        with pytest.raises(PublishInterrupted) as caught:
            await asyncio.wait_for(publishing, WITHIN)
        assert caught.value.unconfirmed == [2, 4]
        assert caught.value.confirmed == 2


async def test_qos_2_messages_the_broker_has_are_confirmed_and_released_later(
    broker: Standin,
) -> None:
    async with link_to(broker, persistent_session=True, client_id="me") as link:
        peer = await broker.accept()
        await peer.greet()
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        publishing = asyncio.create_task(link.publish("t", [b""], qos=2))
        packet_id = (await peer.expect(mqtt5.PublishPacket)).packet_id or 0
        peer.send(mqtt5.PubRecPacket(packet_id).write())
        await peer.expect(mqtt5.PubRelPacket)
        peer.abort()
        await asyncio.wait_for(publishing, WITHIN)
        peer = await broker.accept()
        await peer.greet(session_present=True)
        assert (await peer.expect(mqtt5.PubRelPacket)).packet_id == packet_id
        publishing = asyncio.create_task(link.publish("t", [b""], qos=1))
        other = await peer.expect(mqtt5.PublishPacket)
        assert other.packet_id != packet_id
        peer.send(mqtt5.PubCompPacket(packet_id).write())
        peer.send(mqtt5.PubAckPacket(other.packet_id or 0).write())
        await asyncio.wait_for(publishing, WITHIN)


async def test_a_cancelled_publish_sends_no_more(broker: Standin) -> None:
    async with link_to(broker) as link:
        peer = await broker.accept()
        await peer.greet(receive_max=1)
        await asyncio.wait_for(link.wait_connected(), WITHIN)
        publishing = asyncio.create_task(link.publish("t", [b"1", b"2"], qos=1))
        first = await peer.expect(mqtt5.PublishPacket)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        other = asyncio.create_task(link.publish("t", [b"3"], qos=1))
        peer.send(mqtt5.PubAckPacket(first.packet_id or 0).write())
        next_one = await peer.expect(mqtt5.PublishPacket)
        assert next_one.payload == b"3"
        peer.send(mqtt5.PubAckPacket(next_one.packet_id or 0).write())
        await asyncio.wait_for(other, WITHIN)


async def test_retained_messages_are_not_sent_again_to_a_session_that_lives(
    broker: Standin,
) -> None:
    session = {"persistent_session": True, "client_id": "me"}
    async with subscribed(broker, 1, **session) as (_, _, peer):
        peer.abort()
        peer = await broker.accept()
        await peer.greet(session_present=True)
        again = await peer.subscribed()
        handling = mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
        assert [each.retain_handling for each in again.topic_filters] == [handling]


async def test_one_filter_of_two_subscriptions_stays_until_both_are_closed(
    broker: Standin,
) -> None:
    async with subscribed(broker, 1) as (link, first, peer):
        second = await link.subscribe([("t/#", 0), ("u", 0)])
        packet = await peer.subscribed()
        assert [int(each.max_qos) for each in packet.topic_filters] == [1, 0]
        closing = asyncio.create_task(second.close())
        goodbye = await peer.expect(mqtt5.UnsubscribePacket)
        assert goodbye.patterns == ["u"]
        peer.send(
            mqtt5.UnsubAckPacket(goodbye.packet_id, [mqtt5.UnsubAckReasonCode.SUCCESS]).write()
        )
        await closing
        peer.send(publish("t/a", b"still"))
        assert payloads(await read(first, 1)) == [b"still"]
