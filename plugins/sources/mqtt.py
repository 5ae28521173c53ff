"""Subscribe to topics of an MQTT broker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from engine.api import Batch, Emit, Source
from engine.mqtt import Arrivals, KnownMessages, Subscription
from engine.mqtt.broker import BrokerConfig, follow, shared_link
from engine.topics import check_filter


class MqttSourceConfig(BrokerConfig, kw_only=True):
    """``datasource`` is a topic filter, or several separated by commas."""

    datasource: str

    @property
    def forgets(self) -> str:
        """Why messages may not be given again that a rule has lost, or an empty text."""
        if self.qos and self.client_id and self.enable_client_session:
            return ""
        return "without qos 1, clientid and enableClientSession the broker keeps nothing for it"


class Mqtt(Source[MqttSourceConfig]):
    """Each message is a payload; ``meta()`` knows topic, qos, messageId, retained, properties
    and the property traceparent.

    Messages with QoS 1 or 2 are acknowledged once the rule is done with them.
    """

    _subscription: Subscription
    _known: KnownMessages | None = None
    _has_retained = False
    _exits: AsyncExitStack | None = None

    def validate(self) -> None:
        self.config.settings()
        for topic_filter in self._filters():
            check_filter(topic_filter)

    @property
    def window(self) -> int:
        """How many messages the broker sends before it waits for an acknowledgement."""
        return self.config.settings().receive_maximum

    @property
    def smallest_window(self) -> int:
        """As ``window``, at the least."""
        return self.config.settings().smallest_window

    @property
    def repeats(self) -> int:
        """How many of the last messages the broker may deliver again."""
        settings = self.config.settings()
        return settings.receive_maximum if settings.version == "5" else KnownMessages.span

    def recognise(self, identities: Sequence[int]) -> None:
        """Pass over messages with these identities, and all later ones, when they are repeated."""
        self._known = KnownMessages(identities)
        self._has_retained = bool(identities)

    async def open(self) -> None:
        self._exits = AsyncExitStack()
        link = await self._exits.enter_async_context(shared_link(self.ctx, self.config))
        self._exits.callback(follow(self.ctx, link))
        self._subscription = await link.subscribe(
            [(topic_filter, self.config.qos) for topic_filter in self._filters()],
            reader=f"{self.ctx.rule_id} {self.ctx.op_id}",
            has_retained=self._has_retained,
        )

    async def run(self, emit: Emit) -> None:
        subscription = self._subscription
        while True:
            arrivals, identities = await subscription.read(), None
            if self._known is not None:
                arrivals, identities = self._known.sift(arrivals)
            batch = Batch(payloads=arrivals.payloads, meta=_MessageMetadata(arrivals))
            batch.identities = identities
            if arrivals.parcels:
                batch.acknowledge = partial(self._acknowledge, arrivals, identities)
            await emit(batch)

    def _acknowledge(self, arrivals: Arrivals, identities: Sequence[int] | None) -> None:
        if self._known is not None and identities is not None:
            self._known.settle(identities)
        self._subscription.acknowledge(arrivals)

    def _filters(self) -> list[str]:
        filters = [part.strip() for part in self.config.datasource.split(",")]
        return [part for part in filters if part]

    async def close(self) -> None:
        exits, self._exits = self._exits, None
        if exits is None:
            return
        async with exits:
            await self._subscription.close(unsubscribe=not self.config.enable_client_session)


class _MessageMetadata:
    """Metadata of messages, built by column when a query asks for it."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def column(self, key: str) -> Sequence[Any]:
        arrivals = self._arrivals
        if key == "topic":
            return arrivals.topics
        if key == "qos":
            return arrivals.qos
        if key == "messageId":
            return arrivals.message_ids
        if key == "retained":
            return arrivals.retained
        if key == "properties" and arrivals.properties is not None:
            return [None if each is None else dict(each) for each in arrivals.properties]
        if key == "traceparent" and arrivals.properties is not None:
            return [None if each is None else each.get(key) for each in arrivals.properties]
        return [None] * len(arrivals)

    def row(self, index: int) -> dict[str, Any]:
        keys = ("topic", "qos", "messageId", "retained", "properties")
        values = {key: self.column(key)[index] for key in keys}
        return {key: value for key, value in values.items() if value is not None}
