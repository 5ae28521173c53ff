"""Which subscription gets which message of a shared link, and what becomes of the others."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from engine.mqtt.arrivals import Arrivals
from engine.mqtt.subscription import Subscription

_log = logging.getLogger("engine.mqtt")
_TOPICS_KEPT = 16_384
PATIENCE = 10.0
"""Seconds in which a reader can come, or come back, before it may stand in the way of others."""


@dataclass(frozen=True, slots=True)
class _Left:
    """What a reader has left unacknowledged."""

    reader: str
    arrivals: Arrivals
    since: int
    """How many subscriptions there had been when it left."""


class Router:
    """Hands messages to subscriptions; topics are matched once and remembered.

    A persistent session may deliver before its subscriptions are registered, or while they are
    renewed. Such messages are kept, not acknowledged, for the subscription that claims them, and
    so is what a reader has left unacknowledged. When as many as ``most_parked`` are kept and nobody
    has come for a while they are dropped and counted, lest the broker stop for want of
    acknowledgements.
    """

    def __init__(self, server: str, *, is_persistent: bool, most_parked: int) -> None:
        self.subscriptions: list[Subscription] = []
        self.dropped = 0
        self._server = server
        self._is_persistent = is_persistent
        self._most_parked = most_parked
        self._routes: dict[str, tuple[Subscription, ...]] = {}
        self._parked: list[Arrivals] = []
        self._left: list[_Left] = []
        self._numbers: dict[Subscription, int] = {}
        self._is_alone = not is_persistent
        self._count = 0
        self._patience: asyncio.TimerHandle | None = None

    def add(self, subscription: Subscription) -> None:
        self._count += 1
        self._is_alone = self._count == 1 and not self._is_persistent
        self.subscriptions.append(subscription)
        self._numbers[subscription] = self._count
        self._routes.clear()
        left, self._left = self._left, []
        for each in left:
            if each.reader != subscription.reader:
                self._left.append(each)
            elif rest := _claim(subscription, each.arrivals):
                self._parked.append(rest)
        parked, self._parked = self._parked, []
        for arrivals in parked:
            self._offer(subscription, arrivals)

    def remove(self, subscription: Subscription) -> None:
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)
            del self._numbers[subscription]
        self._routes.clear()

    def keep(self, reader: str, left: list[Arrivals]) -> None:
        """Keep what a reader has left for its next subscription."""
        for arrivals in left:
            arrivals.parcels = [
                # others must not wait for it, unless they have the very same messages
                (parcel if parcel.has_common else parcel.split(words), words)
                for parcel, words in arrivals.parcels
            ]
            self._left.append(_Left(reader, arrivals, self._count))
        self.be_patient()

    def be_patient(self) -> None:
        """Drop nothing for a while: readers will come."""
        if self._patience is not None:
            self._patience.cancel()
        self._patience = asyncio.get_running_loop().call_later(PATIENCE, self._lose_patience)

    def close(self) -> None:
        """Expect nobody any more."""
        if self._patience is not None:
            self._patience.cancel()

    def route(self, arrivals: Arrivals) -> None:
        """Hand the messages of one read to those who want them."""
        if self._is_alone and self.subscriptions:  # nothing else was ever asked for
            self.subscriptions[0].deliver(arrivals)
            return
        runs = arrivals.runs
        routes = [self._route_of(topic) for _, _, topic in runs]
        if len(set(routes)) == 1 and len(routes[0]) == 1:
            routes[0][0].deliver(arrivals)
            return
        parts: dict[Subscription | None, Arrivals] = {}
        for run, ((start, stop, _), route) in enumerate(zip(runs, routes, strict=True)):
            for subscription in route or (None,):
                part = parts.setdefault(subscription, Arrivals())
                part.take_range(arrivals, start, stop, run)
        _share(arrivals, list(parts.values()))
        for subscription, part in parts.items():
            if subscription is None:
                self._park(part)
            else:
                subscription.deliver(part)

    def on_lost(self) -> None:
        """The connection is gone: the broker will deliver QoS 1 messages again.

        QoS 2 messages stay: to some clients the broker gives them once, whatever happens.
        """
        self._parked = [kept for each in self._parked if (kept := _exactly_once(each))]
        self._left = [
            _Left(each.reader, kept, each.since)
            for each in self._left
            if (kept := _exactly_once(each.arrivals))
        ]

    def _route_of(self, topic: str) -> tuple[Subscription, ...]:
        route = self._routes.get(topic)
        if route is None:
            if len(self._routes) >= _TOPICS_KEPT:
                self._routes.clear()
            route = tuple(each for each in self.subscriptions if each.takes(topic))
            self._routes[topic] = route
        return route

    def _offer(self, subscription: Subscription, arrivals: Arrivals) -> None:
        if rest := _claim(subscription, arrivals):
            self._parked.append(rest)

    def _park(self, arrivals: Arrivals) -> None:
        if not self._is_persistent:
            self._drop(arrivals)
            return
        kept = arrivals.owing
        self.dropped += len(arrivals) - len(kept)
        if not kept:
            return
        kept.parcels = [(parcel.split(words), words) for parcel, words in kept.parcels]
        if not self._parked and self._patience is None:
            self._tell_of(kept)
        self._parked.append(kept)
        self._make_room()

    def _lose_patience(self) -> None:
        """Give what was left to whoever has come since; who comes for it later has no claim."""
        self._patience = None
        left, self._left = self._left, []
        for each in left:
            rest: Arrivals | None = each.arrivals
            for subscription in self.subscriptions:
                if rest and self._numbers[subscription] > each.since:
                    rest = _claim(subscription, rest)
            if rest:
                self._parked.append(rest)
        if self._parked:
            self._tell_of(self._parked[0])
        self._make_room()

    def _tell_of(self, parked: Arrivals) -> None:
        _log.warning(
            "mqtt session delivers what no subscription wants yet server=%s topics=%s",
            self._server,
            ", ".join(sorted(set(parked.topics))[:5]),
        )

    def _make_room(self) -> None:
        if self._patience is None and sum(map(len, self._parked)) >= self._most_parked:
            parked, self._parked = self._parked, []
            for each in parked:
                self._drop(each)

    def _drop(self, arrivals: Arrivals) -> None:
        if not self.dropped:
            _log.warning("mqtt messages dropped that no subscription wants server=%s", self._server)
        self.dropped += len(arrivals)
        for parcel, _ in arrivals.parcels:
            parcel.release()


def _claim(subscription: Subscription, arrivals: Arrivals) -> Arrivals | None:
    """Hand a subscription the messages that it wants; return the others, if there are any."""
    wanted, rest = arrivals.parted(subscription.takes)
    if wanted:
        subscription.deliver(wanted)
    return rest or None


def _exactly_once(arrivals: Arrivals) -> Arrivals:
    """Return the QoS 2 messages, which the broker may never give again, and forget the others."""
    kept = arrivals.exactly_once
    kept.parcels = []
    words = set(kept.words)
    for parcel, held in arrivals.parcels:
        if any(word in words for word in held):
            kept.parcels.append((parcel, held))
        else:
            parcel.abandon(held)
    return kept


def _share(arrivals: Arrivals, parts: list[Arrivals]) -> None:
    """Make every part that owes acknowledgements a holder of the parcel."""
    for parcel, _ in arrivals.parcels:
        owing = [(part, words) for part in parts if (words := part.words)]
        parcel.holders = len(owing)
        parcel.has_common = sum(len(words) for _, words in owing) > len(parcel.words)
        for part, words in owing:
            part.parcels.append((parcel, words))
