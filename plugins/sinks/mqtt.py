"""Publish results to an MQTT broker."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import ClassVar

import anyio
import msgspec

from engine.api import Batch, ConfigError, NotConnected, Rejected, Sink, Template
from engine.mqtt import (
    Isolation,
    Link,
    LinkState,
    PublishInterrupted,
    PublishRejected,
    UserProperties,
)
from engine.mqtt.broker import BrokerConfig, follow, shared_link
from engine.topics import flaw_of_destination

_WAIT = 1.0  # seconds for a connection to come back before the engine looks after the rule again
_BREAKS = "the broker breaks the connection when it gets this message"


class MqttSinkConfig(BrokerConfig, kw_only=True):
    """``topic`` may hold fields of the result: ``alerts/{{.device}}``."""

    topic: Template
    retained: bool = False
    properties: dict[str, Template] = msgspec.field(default_factory=dict)
    """User properties of MQTT 5; their values may hold fields, too. A message that is traced has
    ``traceparent`` beside them."""


class Mqtt(Sink[MqttSinkConfig]):
    """One message for each result. With QoS 1 or 2 a batch is done when all is confirmed."""

    takes_payloads: ClassVar[bool] = True

    _link: Link
    _isolation: Isolation
    _exits: AsyncExitStack | None = None

    def validate(self) -> None:
        settings = self.config.settings()
        if self.config.properties and settings.version != "5":
            raise ConfigError(
                f"properties can't be sent by MQTT {settings.version}",
                hint='leave protocolVersion out, or set it to "5"',
            )
        if flaw := flaw_of_destination(self.config.topic):
            raise ConfigError(f"{str(self.config.topic)!r} is no topic to publish to: {flaw}")

    async def open(self) -> None:
        config = self.config
        self._isolation = Isolation()
        self._exits = AsyncExitStack()
        self._link = await self._exits.enter_async_context(
            shared_link(self.ctx, config, waits_for_answers=config.qos > 0)
        )
        self._exits.callback(follow(self.ctx, self._link))

    async def collect(self, batch: Batch) -> None:
        config = self.config
        if self._link.state is not LinkState.CONNECTED:
            await self._wait_connected()
        topics = batch.meta.column("topic")
        properties = self._user_properties(batch)
        payloads = batch.payloads or []
        waiting_for: Sequence[int] = range(len(payloads))
        rejected: dict[int, str] = {}
        isolation = self._isolation

        def message(index: int) -> Hashable:
            return topics[index], payloads[index]

        if isolation.refused:
            rejected = {i: _BREAKS for i in waiting_for if message(i) in isolation.refused}
            waiting_for = [i for i in waiting_for if i not in rejected]
        while waiting_for:
            first = waiting_for[0]
            sending, rest = waiting_for, waiting_for[:0]
            if isolation.is_on:
                if isolation.condemns(message(first), self._link.troubles):
                    rejected[first] = _BREAKS
                    waiting_for = waiting_for[1:]
                    continue
                if isolation.is_on:
                    sending, rest = waiting_for[:1], waiting_for[1:]
            began = anyio.current_time()
            try:
                await self._link.publish(
                    str(config.topic) if topics[0] is None else [topics[i] for i in sending],
                    payloads if len(sending) == len(payloads) else [payloads[i] for i in sending],
                    qos=config.qos,
                    retained=config.retained,
                    user_properties=properties
                    if properties is None or isinstance(properties, Mapping)
                    else [properties[i] for i in sending],
                    alone=isolation.is_on,
                )
            except PublishRejected as error:
                rejected.update((sending[i], reason) for i, reason in error.reasons.items())
            except PublishInterrupted as error:
                rejected.update((sending[i], reason) for i, reason in error.rejected.items())
                waiting_for = [*(sending[i] for i in error.unconfirmed), *rest]
                if config.qos:  # else what breaks a connection is never sent again
                    seconds = anyio.current_time() - began
                    isolation.on_break(error, message(waiting_for[0]), seconds, self._link.troubles)
                # what was refused is offered again with the rest, to be refused then
                await self._wait_connected(sorted([*waiting_for, *rejected]))
                continue
            isolation.on_sent()
            waiting_for = rest
        isolation.end()
        if rejected:
            raise Rejected.each(rejected)

    def _user_properties(self, batch: Batch) -> UserProperties:
        """Return the user properties of all messages together, or those of each."""
        own = batch.meta.column("properties")
        common = self.config.properties or None
        if not batch.traces:
            return own if any(own[:1]) else common
        found = [each or common for each in own]
        for index, context in batch.traces.items():
            found[index] = {**(found[index] or {}), "traceparent": context}
        return found

    async def _wait_connected(self, waiting_for: Sequence[int] | None = None) -> None:
        with anyio.move_on_after(_WAIT) as waiting:
            await self._link.wait_connected()
        if waiting.cancelled_caught:
            error = self._link.last_error
            message = error.message if error else f"no connection to {self.config.server}"
            raise NotConnected(message, indexes=waiting_for)

    async def close(self) -> None:
        exits, self._exits = self._exits, None
        if exits is not None:
            await exits.aclose()
