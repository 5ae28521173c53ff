"""The link against the reference broker, by MQTT 5 and by 3.1.1."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.backoff import Backoff
from engine.mqtt import (
    Arrivals,
    Link,
    LinkSettings,
    LinkState,
    PublishInterrupted,
    PublishRejected,
    Subscription,
    TlsSettings,
)
from tests.mosquitto import Mosquitto
from tests.mqtt.standin import WITHIN, eventually
from tests.relay import Relay

VERSIONS = ["5", "3.1.1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mosquitto")


@pytest.fixture(scope="module")
def shared_broker(folder: Path) -> Iterator[Mosquitto]:
    with Mosquitto(folder, "max_queued_messages 0\n") as broker:
        yield broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


def link_to(broker: Mosquitto, version: str = "5", **settings: Any) -> Link:
    settings = {"server": broker.url, "protocol_version": version, **settings}
    return Link(LinkSettings(**settings), backoff=Backoff(0.01, 0.05))


async def read(subscription: Subscription, count: int) -> list[Arrivals]:
    """Read and acknowledge until ``count`` messages have come."""
    got: list[Arrivals] = []
    async with asyncio.timeout(WITHIN):
        while sum(map(len, got)) < count:
            got.append(await subscription.read())
            subscription.acknowledge(got[-1])
    assert sum(map(len, got)) == count
    return got


def payloads(arrivals: list[Arrivals]) -> list[bytes]:
    return [payload for each in arrivals for payload in each.payloads]


async def ready(link: Link) -> None:
    await asyncio.wait_for(link.wait_connected(), WITHIN)


@pytest.mark.parametrize("version", ["5", "3.1.1", "3.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_go_out_and_come_back_in_order(
    shared_broker: Mosquitto, version: str, qos: int
) -> None:
    topic = f"back/{version}/{qos}"
    bodies = [b"%d" % at for at in range(200)]
    async with link_to(shared_broker, version) as link:
        subscription = await link.subscribe([(f"back/{version}/#", 2)], wait=True)
        await link.publish(topic, bodies, qos=qos)
        got = await read(subscription, len(bodies))
        assert payloads(got) == bodies
        assert {topic for each in got for topic in each.topics} == {topic}
        assert {level for each in got for level in each.qos} == {qos}
        assert all(bool(each) == (qos > 0) for arrivals in got for each in arrivals.message_ids)
        await subscription.close()


async def test_user_properties_travel(shared_broker: Mosquitto) -> None:
    async with link_to(shared_broker) as link:
        subscription = await link.subscribe([("props", 1)], wait=True)
        await link.publish("props", [b"1"], qos=1, user_properties={"traceparent": "00-1"})
        (arrivals,) = await read(subscription, 1)
        assert arrivals.properties == [{"traceparent": "00-1"}]


@pytest.mark.parametrize("version", VERSIONS)
async def test_retained_messages_are_told_from_live_ones(
    shared_broker: Mosquitto, version: str
) -> None:
    topic = f"kept/{version}"
    async with link_to(shared_broker, version) as link:
        await ready(link)
        await link.publish(topic, [b"old"], qos=1, retained=True)
        subscription = await link.subscribe([(topic, 0)], wait=True)
        (first,) = await read(subscription, 1)
        await link.publish(topic, [b"new"], qos=1, retained=True)
        (second,) = await read(subscription, 1)
        assert (first.payloads, first.retained) == ([b"old"], [True])
        assert (second.payloads, second.retained) == ([b"new"], [False])


@pytest.mark.parametrize("version", VERSIONS)
async def test_several_filters_and_subscriptions_get_what_is_theirs(
    shared_broker: Mosquitto, version: str
) -> None:
    root = f"several{version}"
    async with link_to(shared_broker, version) as link:
        both = await link.subscribe([(f"{root}/a/+", 1), (f"{root}/b/#", 1)], wait=True)
        other = await link.subscribe([(f"{root}/c", 1), ("$SYS/broker/version", 0)], wait=True)
        topics = [f"{root}/a/1", f"{root}/c", f"{root}/b", f"{root}/b/x/y"]
        await link.publish(topics, [topic.encode() for topic in topics], qos=1)
        assert payloads(await read(both, 3)) == [
            topic.encode() for topic in topics if topic != f"{root}/c"
        ]
        assert f"{root}/c".encode() in payloads(await read(other, 2))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_shared_subscription_gives_each_message_to_one(
    shared_broker: Mosquitto, version: str
) -> None:
    root = f"share{version}"
    pattern = f"$share/group/{root}/#"
    async with AsyncExitStack() as links:
        first = await links.enter_async_context(link_to(shared_broker, version))
        second = await links.enter_async_context(link_to(shared_broker, version))
        one = await first.subscribe([(pattern, 1)], wait=True)
        two = await second.subscribe([(pattern, 1)], wait=True)
        await first.publish(f"{root}/x", [b"%d" % at for at in range(20)], qos=1)
        await eventually(lambda: one.pending + two.pending == 20)
        assert one.pending
        assert two.pending
        got = payloads(await read(one, one.pending)) + payloads(await read(two, two.pending))
        assert sorted(got, key=int) == [b"%d" % at for at in range(20)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_broker_killed_and_restarted_is_found_again(
    broker: Mosquitto, version: str
) -> None:
    async with link_to(broker, version) as link:
        subscription = await link.subscribe([("t/#", 1)], wait=True)
        broker.kill()
        await eventually(lambda: link.state is LinkState.BACKING_OFF)
        with pytest.raises(PublishInterrupted):
            await link.publish("t/a", [b""], qos=1)
        broker.start()
        await ready(link)
        await asyncio.wait_for(subscription.ready.wait(), WITHIN)
        await link.publish("t/a", [b"again"], qos=1)
        assert payloads(await read(subscription, 1)) == [b"again"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_not_acknowledged_comes_again(
    shared_broker: Mosquitto, version: str, qos: int
) -> None:
    topic = f"again/{version}/{qos}"
    session = {"persistent_session": True, "client_id": f"again-{version}-{qos}"}
    async with AsyncExitStack() as links:
        publisher = await links.enter_async_context(link_to(shared_broker, version))
        await ready(publisher)
        async with link_to(shared_broker, version, **session) as link:
            subscription = await link.subscribe([(topic, 2)], wait=True)
            await publisher.publish(topic, [b"done"], qos=qos)
            await read(subscription, 1)
            await publisher.publish(topic, [b"not done"], qos=qos)
            async with asyncio.timeout(WITHIN):
                assert (await subscription.read()).payloads == [b"not done"]
        if version == "5" or qos == 1:  # paho answers QoS 2 on arrival
            async with link_to(shared_broker, version, **session) as link:
                subscription = await link.subscribe([(topic, 2)])
                assert payloads(await read(subscription, 1)) == [b"not done"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_session_keeps_messages_while_the_client_is_away(
    shared_broker: Mosquitto, version: str
) -> None:
    session = {"persistent_session": True, "client_id": f"away-{version}"}
    topic = f"away/{version}"
    async with link_to(shared_broker, version, **session) as link:
        subscription = await link.subscribe([(topic, 1)], wait=True)
        await subscription.close(unsubscribe=False)
    async with link_to(shared_broker, version) as publisher:
        await ready(publisher)
        await publisher.publish(topic, [b"%d" % at for at in range(100)], qos=1)
    async with link_to(shared_broker, version, **session) as link:
        subscription = await link.subscribe([(topic, 1)])
        assert payloads(await read(subscription, 100)) == [b"%d" % at for at in range(100)]


def write_password(file: Path) -> None:
    file.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(file), "u", "right"], check=True)


@pytest.mark.parametrize("version", VERSIONS)
async def test_wrong_credentials_are_named_and_right_ones_work(
    tmp_path: Path, version: str
) -> None:
    write_password(tmp_path / "passwords")
    config = "allow_anonymous false\npassword_file {folder}/passwords\n"
    with Mosquitto(tmp_path, config) as broker:
        async with link_to(broker, version, username="u", password="wrong") as link:
            await eventually(lambda: link.last_error is not None)
            assert "refused the connection" in str(link.last_error)
            assert "check username and password" in str(link.last_error)
            assert "wrong" not in str(link.last_error)
        async with link_to(broker, version, username="u", password="right") as link:
            await ready(link)


@pytest.fixture(scope="module")
def certificates(folder: Path) -> Path:
    """An authority, and a server and a client that it vouches for."""

    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)

    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl(f"req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        openssl(f"req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        openssl(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial"
            f" -out {name}.pem -days 2 -extfile names"
        )
    return folder


@pytest.fixture(scope="module")
def secure_broker(certificates: Path) -> Iterator[Mosquitto]:
    options = (
        f"cafile {certificates}/ca.pem\ncertfile {certificates}/server.pem\n"
        f"keyfile {certificates}/server.key\nrequire_certificate true\n"
    )
    with Mosquitto(certificates, options=options) as broker:
        yield broker


def raw(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_raw", [False, True])
async def test_tls_with_certificates_on_both_sides(
    secure_broker: Mosquitto, certificates: Path, version: str, *, is_raw: bool
) -> None:
    ca, certificate, key = (certificates / name for name in ("ca.pem", "client.pem", "client.key"))
    tls = TlsSettings(
        root_ca_path=str(ca), certification_path=str(certificate), private_key_path=str(key)
    )
    if is_raw:
        tls = TlsSettings(
            root_ca_raw=raw(ca), certification_raw=raw(certificate), private_key_raw=raw(key)
        )
    server = secure_broker.url.replace("tcp", "ssl")
    async with link_to(secure_broker, version, server=server, tls=tls) as link:
        subscription = await link.subscribe([("t", 0)], wait=True)
        body = bytes(1_000_000)
        await link.publish("t", [b"secret", body], qos=1)
        assert payloads(await read(subscription, 2)) == [b"secret", body]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_trusted", [False, True])
async def test_tls_failures_are_told(
    secure_broker: Mosquitto, certificates: Path, version: str, *, is_trusted: bool
) -> None:
    """Either we don't trust the broker, or we have no certificate to show."""
    tls = TlsSettings(insecure_skip_verify=True) if is_trusted else TlsSettings()
    server = secure_broker.url.replace("tcp", "ssl")
    async with link_to(secure_broker, version, server=server, tls=tls) as link:
        await eventually(lambda: link.last_error is not None)
        if not is_trusted:
            assert "certificate verify failed" in str(link.last_error)


async def test_ten_megabytes_there_and_back(shared_broker: Mosquitto) -> None:
    async with link_to(shared_broker) as link:
        subscription = await link.subscribe([("big", 0)], wait=True)
        body = bytes(range(256)) * 40_000
        await link.publish("big", [body], qos=1)
        assert payloads(await read(subscription, 1)) == [body]


async def test_a_second_client_with_the_same_id_takes_over(broker: Mosquitto) -> None:
    backoff = Backoff(0.01, 30)
    settings = LinkSettings(server=broker.url, client_id="same")
    async with Link(settings, backoff=backoff) as first:
        await ready(first)
        async with Link(settings, backoff=backoff) as second:
            await ready(second)
            await eventually(lambda: first.state is LinkState.BACKING_OFF)
            assert "same clientid" in str(first.last_error)  # this Mosquitto gives no reason


@pytest.mark.parametrize("version", VERSIONS)
async def test_messages_that_can_not_be_sent_are_named(
    shared_broker: Mosquitto, version: str
) -> None:
    async with link_to(shared_broker, version) as link:
        subscription = await link.subscribe([("named", 1)], wait=True)
        with pytest.raises(PublishRejected) as caught:
            await link.publish(["named", "a/#", "named"], [b"1", b"2", b"3"], qos=1)
        assert list(caught.value.reasons) == [1]
        assert payloads(await read(subscription, 2)) == [b"1", b"3"]


async def test_paho_reads_no_more_than_is_wanted(shared_broker: Mosquitto) -> None:
    settings = {"pending_messages": 10, "keep_alive": 1}
    async with link_to(shared_broker, "3.1.1", **settings) as link:
        subscription = await link.subscribe([("slow", 0)], wait=True)
        async with link_to(shared_broker) as publisher:
            await ready(publisher)
            await publisher.publish("slow", [b"%d" % at + bytes(1000) for at in range(2000)], qos=1)
        await eventually(lambda: subscription.is_full)
        pending = subscription.pending
        loop = asyncio.get_running_loop()
        until = loop.time() + 2.5  # more than two keep-alive intervals
        await eventually(lambda: loop.time() > until)
        assert link.state is LinkState.CONNECTED
        assert subscription.pending == pending < 2000
        got = payloads(await read(subscription, 2000))
        assert [int(each[:-1000]) for each in got] == list(range(2000))


async def test_paho_is_told_when_the_broker_is_gone_before_it_answers() -> None:
    settings = LinkSettings(
        server="tcp://127.0.0.1:1", protocol_version="3.1.1", username="u", password="hush"
    )
    async with Link(settings, backoff=Backoff(0.01, 0.05)) as link:
        await eventually(lambda: link.last_error is not None)
        assert "can't be reached" in str(link.last_error)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("cuts", [False, True])
async def test_a_reader_that_comes_back_gets_what_it_had_not_acknowledged(
    broker: Mosquitto, version: str, qos: int, *, cuts: bool
) -> None:
    bodies = [b"%d" % at for at in range(60)]  # more than Mosquitto sends unacknowledged
    session = {"client_id": "me", "persistent_session": True}
    async with (
        Relay(broker.port) as relay,
        link_to(broker) as sender,
        link_to(broker, version, server=relay.url, **session) as link,
    ):
        other = await link.subscribe([("one", qos)], wait=True)
        gone = await link.subscribe([("two", qos)], wait=True)
        await ready(sender)
        await sender.publish("two", bodies, qos=qos)
        await asyncio.wait_for(gone.read(), WITHIN)
        await gone.close(unsubscribe=False)
        if cuts:
            relay.cut()
            await eventually(lambda: link.state is not LinkState.CONNECTED)
            await ready(link)
        back = await link.subscribe([("two", qos)], wait=True)
        await sender.publish("one", bodies, qos=qos)
        assert payloads(await read(back, 60)) == bodies
        assert payloads(await read(other, 60)) == bodies
        assert link.dropped == 0
