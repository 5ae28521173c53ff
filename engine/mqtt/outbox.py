"""Messages on their way out with QoS 1 or 2: identifiers, the broker's quota, confirmations."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from engine.mqtt.outgoing import Messages, Writer, chunk_size
from engine.mqtt.reasons import PublishInterrupted, PublishRejected, words

PUBACK, PUBREC, PUBREL, PUBCOMP = 0x40, 0x50, 0x62, 0x70
_LAST_ID = 65_535
_CHUNK_BYTES = 256 * 1024
_CHUNK = 8192
_REFUSED = 0x80


class PacketIds:
    """Hands out the packet identifiers of one connection; 0 is none."""

    def __init__(self) -> None:
        self._last = 0
        self.taken: set[int] = set()

    def take(self) -> int:
        if len(self.taken) >= _LAST_ID:
            raise RuntimeError("all packet identifiers are in use")
        while True:
            self._last = self._last % _LAST_ID + 1
            if self._last not in self.taken:
                self.taken.add(self._last)
                return self._last

    def give_back(self, packet_id: int) -> None:
        self.taken.discard(packet_id)


class Delivery:
    """One batch until the broker has confirmed all of it."""

    def __init__(self, messages: Messages, flaws: dict[int, str]) -> None:
        self.messages = messages
        self.reasons = flaws
        self.unsent: range | list[int] = range(len(messages))
        if flaws:
            self.unsent = [index for index in self.unsent if index not in flaws]
        self.unconfirmed = set(self.unsent)
        self.open = len(self.unsent)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def confirm(self, index: int, reason: int) -> None:
        """Note that the broker has taken responsibility for a message, or refused it."""
        self.unconfirmed.discard(index)
        if reason >= _REFUSED:
            self.reasons[index] = words(reason)

    def complete(self) -> None:
        """Note that the exchange about one message is over."""
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)

    def interrupt(self, why: str) -> None:
        """Give up: the connection is gone."""
        if self.done.done():
            return
        if self.unconfirmed:
            error = PublishInterrupted(
                why,
                unconfirmed=sorted(self.unconfirmed),
                total=len(self.messages),
                rejected=self.reasons,
            )
            self.done.set_exception(error)
        else:  # QoS 2: the broker has them all, only the end of the handshake was lost
            self.done.set_result(None)

    async def wait(self) -> None:
        """Return when all is confirmed.

        Raises:
            PublishInterrupted: the connection went before.
            PublishRejected: the broker refused some of the messages.
        """
        if self.open:
            await self.done
        if self.reasons:
            raise PublishRejected(self.reasons, total=len(self.messages))


class Outbox:
    """Sends deliveries in order, as many messages at a time as the broker allows."""

    def __init__(self, ids: PacketIds, writer: Writer, quota: int) -> None:
        self._ids = ids
        self._writer = writer
        self._quota = quota
        self._waiting: deque[Delivery] = deque()
        self._sent: dict[int, tuple[Delivery, int]] = {}
        self._resumed: set[int] = set()

    @property
    def is_busy(self) -> bool:
        """Whether anything waits for the broker."""
        return bool(self._waiting or self._sent)

    def put(self, delivery: Delivery) -> None:
        if delivery.open:
            self._waiting.append(delivery)

    def withdraw(self, delivery: Delivery) -> None:
        """Forget what was not sent yet; nobody waits for it any more."""
        if delivery in self._waiting:
            self._waiting.remove(delivery)

    def packets(self) -> Iterator[bytes]:
        """Yield buffers to write, until the quota is used up or nothing is left."""
        while self._waiting and self._quota > 0:
            delivery = self._waiting[0]
            most = delivery.unsent[: min(self._quota, _CHUNK, _LAST_ID - len(self._ids.taken))]
            if not most:
                return
            size = chunk_size(delivery.messages.payloads, most, _CHUNK_BYTES)
            indexes = most[:size]
            delivery.unsent = delivery.unsent[size:]
            if not delivery.unsent:
                self._waiting.popleft()
            self._quota -= size
            ids = [self._ids.take() for _ in indexes]
            self._sent.update(zip(ids, ((delivery, index) for index in indexes), strict=True))
            yield self._writer.encode(delivery.messages, indexes, ids)

    def on_ack(self, kind: int, packet_id: int, reason: int) -> bytes:
        """Take a PUBACK, PUBREC or PUBCOMP; return the answer it asks for."""
        if kind == PUBREC and reason < _REFUSED:
            if entry := self._sent.get(packet_id):
                entry[0].confirm(entry[1], reason)
            return release(packet_id)
        entry = self._sent.pop(packet_id, None)
        if entry is not None:
            delivery, index = entry
            if kind != PUBCOMP:
                delivery.confirm(index, reason)
            self._quota += 1
            delivery.complete()
        if entry is not None or packet_id in self._resumed:
            self._resumed.discard(packet_id)
            self._ids.give_back(packet_id)
        return b""

    def resume(self, packet_ids: set[int]) -> bytes:
        """Take up the QoS 2 exchanges that an earlier connection left; return what ends them."""
        self._resumed = set(packet_ids)
        self._ids.taken |= packet_ids
        return b"".join(map(release, sorted(packet_ids)))

    def interrupt(self, why: str) -> set[int]:
        """Fail everything that waits, for the connection is gone; return the QoS 2 exchanges."""
        unfinished = {at for at, (delivery, _) in self._sent.items() if delivery.messages.qos == 2}
        deliveries = {id(delivery): delivery for delivery, _ in self._sent.values()}
        deliveries.update((id(delivery), delivery) for delivery in self._waiting)
        for delivery in deliveries.values():
            delivery.interrupt(why)
        self._waiting.clear()
        self._sent.clear()
        return unfinished | self._resumed


def release(packet_id: int) -> bytes:
    """Return a PUBREL."""
    return bytes((PUBREL, 2)) + packet_id.to_bytes(2, "big")
