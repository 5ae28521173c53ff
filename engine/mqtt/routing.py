"""Which subscription gets which message of a shared link, and what becomes of the others."""

from __future__ import annotations

import logging

from engine.mqtt.arrivals import Arrivals
from engine.mqtt.subscription import Subscription

_log = logging.getLogger("engine.mqtt")
_TOPICS_KEPT = 16_384


class Router:
    """Hands messages to subscriptions; topics are matched once and remembered.

    A persistent session may deliver before its subscriptions are registered. Such messages are
    kept, not acknowledged, for the subscription that claims them; when ``most_parked`` is reached
    they are dropped and counted, lest the broker stop for want of acknowledgements.
    """

    def __init__(self, server: str, *, is_persistent: bool, most_parked: int) -> None:
        self.subscriptions: list[Subscription] = []
        self.dropped = 0
        self._server = server
        self._is_persistent = is_persistent
        self._most_parked = most_parked
        self._routes: dict[str, tuple[Subscription, ...]] = {}
        self._parked: list[Arrivals] = []
        self._is_alone = not is_persistent
        self._count = 0

    def add(self, subscription: Subscription) -> None:
        self._count += 1
        self._is_alone = self._count == 1 and not self._is_persistent
        self.subscriptions.append(subscription)
        self._routes.clear()
        parked, self._parked = self._parked, []
        for arrivals in parked:
            self.route(arrivals)

    def remove(self, subscription: Subscription) -> None:
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)
        self._routes.clear()

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

    def forget_parked(self) -> None:
        """The connection is gone: the broker will deliver again what nobody has claimed."""
        for arrivals in self._parked:
            for parcel, words in arrivals.parcels:
                parcel.abandon(words)
        self._parked.clear()

    def _route_of(self, topic: str) -> tuple[Subscription, ...]:
        route = self._routes.get(topic)
        if route is None:
            if len(self._routes) >= _TOPICS_KEPT:
                self._routes.clear()
            route = tuple(each for each in self.subscriptions if each.takes(topic))
            self._routes[topic] = route
        return route

    def _park(self, arrivals: Arrivals) -> None:
        if not self._is_persistent:
            self._drop(arrivals)
            return
        kept = arrivals.owing
        self.dropped += len(arrivals) - len(kept)
        if not kept:
            return
        kept.parcels = [(parcel.split(words), words) for parcel, words in kept.parcels]
        if not self._parked:
            topics = ", ".join(sorted(set(kept.topics))[:5])
            _log.warning(
                "mqtt session delivers what no subscription wants yet server=%s topics=%s",
                self._server,
                topics,
            )
        self._parked.append(kept)
        if sum(map(len, self._parked)) >= self._most_parked:
            parked, self._parked = self._parked, []
            for each in parked:
                self._drop(each)

    def _drop(self, arrivals: Arrivals) -> None:
        if not self.dropped:
            _log.warning("mqtt messages dropped that no subscription wants server=%s", self._server)
        self.dropped += len(arrivals)
        for parcel, _ in arrivals.parcels:
            parcel.release()


def _share(arrivals: Arrivals, parts: list[Arrivals]) -> None:
    """Make every part that owes acknowledgements a holder of the parcel."""
    for parcel, _ in arrivals.parcels:
        owing = [(part, words) for part in parts if (words := part.words)]
        parcel.holders = len(owing)
        for part, words in owing:
            part.parcels.append((parcel, words))
