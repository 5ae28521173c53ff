"""State misses no message though brokers forget sessions, and use packet identifiers again."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import mqtt5
import pytest

from engine import Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind
from engine.run.rule import Rule
from tests.conftest import eventually
from tests.mqtt.standin import Peer, Standin, publish

SESSION = {"clientid": "reader", "enableClientSession": True, "qos": 1}


class Site:
    """Engines, one after the other, that count equal messages from a stand-in for a broker."""

    def __init__(self, root: Path, broker: Standin) -> None:
        self.counts: list[int] = []
        self.interval = "20ms"
        self._root = root
        self._broker = broker
        self._exits = AsyncExitStack()

    async def start(self) -> Rule:
        counts = self.counts

        class Count(Sink[Config]):
            async def collect(self, batch: Batch) -> None:
                counts.extend(row["c"] for row in batch.rows or ())

        engine = await self._exits.enter_async_context(Engine(self._root, drain=1))
        engine.plugins.register(PluginKind.SINK, "count", Count)
        engine.define_stream(
            "doors", type="mqtt", datasource="in", server=self._broker.url, **SESSION
        )
        return await engine.start(
            {
                "id": "count",
                "sql": "SELECT acc_count(*) AS c FROM doors",
                "actions": [{"count": {}}],
                "options": {"qos": 2, "checkpointInterval": self.interval},
            }
        )

    async def stop(self) -> None:
        await self._exits.aclose()

    async def connected_anew(self, peer: Peer, *, restarts: bool) -> Peer:
        """Return the next connection, that of a new process if it ``restarts``."""
        if restarts:
            await self.stop()
            await self.start()
        else:
            peer.abort()
        return await self._broker.serve(session_present=True)


def doors(*ids: int, again: bool = False) -> bytes:
    """Return messages that differ in nothing but their packet identifiers."""
    return b"".join(
        publish("in", b'{"open":true}', qos=1, packet_id=each, duplicate=again) for each in ids
    )


async def acknowledged(peer: Peer, count: int) -> list[int]:
    return [(await peer.expect(mqtt5.PubAckPacket)).packet_id for _ in range(count)]


@pytest.mark.parametrize("restarts", [False, True])
async def test_messages_of_a_new_session_are_new_though_they_look_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, restarts: bool
) -> None:
    async with Standin() as broker:
        site = Site(tmp_path, broker)
        await site.start()
        peer = await broker.serve()
        peer.send(doors(1, 2, 3))
        await acknowledged(peer, 3)
        peer.abort()
        peer = await broker.serve(session_present=False)  # it has forgotten the first one
        assert "forgotten the session" in caplog.text
        peer = await site.connected_anew(peer, restarts=restarts)
        peer.send(doors(1, 2, 3, again=True))  # sent before, but they got lost
        await acknowledged(peer, 3)
        await site.stop()
    assert site.counts[-1] == 6


@pytest.mark.parametrize("restarts", [False, True])
async def test_messages_repeated_in_the_same_session_count_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, restarts: bool
) -> None:
    async with Standin() as broker:
        site = Site(tmp_path, broker)
        await site.start()
        peer = await broker.serve()
        peer.send(doors(1, 2, 3))
        await acknowledged(peer, 3)
        peer = await site.connected_anew(peer, restarts=restarts)
        peer.send(doors(2, 3, again=True), doors(4))  # their acknowledgements got lost
        await acknowledged(peer, 3)
        await site.stop()
    assert site.counts[-1] == 4
    assert "forgotten the session" not in caplog.text


@pytest.mark.parametrize("restarts", [False, True])
async def test_where_identifiers_return_at_once_nothing_is_taken_for_a_repeat(
    tmp_path: Path, *, restarts: bool
) -> None:
    async with Standin() as broker:
        site = Site(tmp_path, broker)
        rule = await site.start()
        peer = await broker.serve()
        for _ in range(3):
            peer.send(doors(1))
            await acknowledged(peer, 1)
        await eventually(lambda: rule.metrics.received == 3)
        peer = await site.connected_anew(peer, restarts=restarts)
        peer.send(doors(1, again=True))  # the fourth one, sent before, but it got lost
        await acknowledged(peer, 1)
        await site.stop()
    assert site.counts[-1] == 4


async def test_where_identifiers_return_at_once_what_is_in_hand_is_still_known(
    tmp_path: Path,
) -> None:
    async with Standin() as broker:
        site = Site(tmp_path, broker)
        site.interval = "1h"
        rule = await site.start()
        peer = await broker.serve()
        for count in (1, 2):
            peer.send(doors(1))
            await eventually(lambda count=count: rule.metrics.received == count)  # type: ignore[misc]
        peer.abort()
        peer = await broker.serve(session_present=True)
        peer.send(doors(1, again=True), doors(2))
        await eventually(lambda: site.counts[-1] == 3)
        assert rule.metrics.received == 3
        await site.stop()


async def test_long_after_an_identifier_was_used_it_belongs_to_another_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.mqtt.known.KnownMessages.span", 10)
    async with Standin() as broker:
        site = Site(tmp_path, broker)
        await site.start()
        peer = await broker.serve()
        for first in range(1, 41, 5):
            peer.send(doors(*range(first, first + 5)))
            await acknowledged(peer, 5)
        peer.abort()
        peer = await broker.serve(session_present=True)
        peer.send(doors(1, 40, again=True))  # the first may be new, the other one can't be
        await acknowledged(peer, 2)
        await site.stop()
    assert site.counts[-1] == 41


async def test_a_note_that_cant_be_written_costs_duplicates_at_most(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sessions").write_text("in the way")
    sent: list[Any] = []
    async with Standin() as broker:
        site = Site(tmp_path, broker)
        for again in (False, True):
            await site.start()
            peer = await broker.serve(session_present=again)
            peer.send(doors(1, again=again))
            sent += await acknowledged(peer, 1)
            await site.stop()
    assert site.counts[-1] == 2
    assert "can't be noted" in caplog.text


async def test_a_restarted_rule_that_remembers_gets_no_retained_message_again(
    tmp_path: Path,
) -> None:
    always = mqtt5.RetainHandling.SEND_ALWAYS
    unless_known = mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
    found: list[mqtt5.RetainHandling] = []
    async with Standin() as broker:
        site = Site(tmp_path, broker)
        for again in (False, True, False):
            await site.start()
            peer = await broker.accept()
            await peer.greet(session_present=again)
            found += [each.retain_handling for each in (await peer.subscribed()).topic_filters]
            if not again:
                peer.send(publish("in", b"{}", qos=1, packet_id=1, retain=True))
                await acknowledged(peer, 1)
            await site.stop()
    assert found == [always, unless_known, always]


@pytest.mark.parametrize(
    ("session", "qos", "warns"),
    [(SESSION, 1, False), ({**SESSION, "qos": 0}, 2, True), ({"qos": 1}, 1, True), ({}, 0, False)],
)
async def test_a_stream_that_forgets_is_told(
    engine: Engine, caplog: pytest.LogCaptureFixture, session: dict[str, Any], qos: int, warns: bool
) -> None:
    engine.define_stream("s", type="mqtt", datasource="in", server="tcp://127.0.0.1:1", **session)
    await engine.start(
        {"id": "r", "sql": "SELECT * FROM s", "actions": [{"nop": {}}], "options": {"qos": qos}}
    )
    assert ("a crash costs messages of the stream s" in caplog.text) is warns
