"""The MQTT link: the only place of the engine that knows MQTT libraries."""

from __future__ import annotations

from engine.mqtt.arrivals import Arrivals as Arrivals
from engine.mqtt.isolation import Isolation as Isolation
from engine.mqtt.known import KnownMessages as KnownMessages
from engine.mqtt.link import Link as Link
from engine.mqtt.link import LinkState as LinkState
from engine.mqtt.outgoing import UserProperties as UserProperties
from engine.mqtt.reasons import PublishInterrupted as PublishInterrupted
from engine.mqtt.reasons import PublishRejected as PublishRejected
from engine.mqtt.reasons import SessionTakenOver as SessionTakenOver
from engine.mqtt.settings import LinkSettings as LinkSettings
from engine.mqtt.subscription import Subscription as Subscription
from engine.tls import TlsSettings as TlsSettings
