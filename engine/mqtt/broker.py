"""The properties that an MQTT source and an MQTT sink have in common, and the link they share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import msgspec

from engine.api import Context, Duration
from engine.mqtt.link import Link, LinkState
from engine.mqtt.settings import LinkSettings
from engine.state.stored import DATA
from engine.tls import TlsConfig

Qos = Annotated[int, msgspec.Meta(ge=0, le=2)]


class BrokerConfig(TlsConfig, kw_only=True):
    """How to reach the broker (runtime specification, sections 5.1 and 5.2)."""

    server: str = "tcp://127.0.0.1:1883"
    """``tcp://host:port`` or ``ssl://host:port``."""
    protocol_version: str = "5"
    """``5``, ``3.1.1`` or ``3.1``."""
    client_id: str = msgspec.field(default="", name="clientid")
    """Without one the connection is shared with all users of the same broker settings."""
    username: str = ""
    password: str = ""
    qos: Qos = 0
    keep_alive: Duration = Duration(20)
    enable_client_session: bool = False
    """The broker keeps the session, and queues, while the client is away."""
    session_expiry_interval_seconds: int = 60
    client_state_path: str = ""
    """Accepted for eKuiper's rules; the session needs no files here."""

    def settings(self) -> LinkSettings:
        """Return the settings of the link.

        Raises:
            ConfigError: the address or version is malformed.
        """
        return LinkSettings(
            server=self.server,
            protocol_version=self.protocol_version,
            client_id=self.client_id,
            username=self.username,
            password=self.password,
            keep_alive=self.keep_alive,
            persistent_session=self.enable_client_session,
            session_expiry=float(self.session_expiry_interval_seconds),
            tls=self.tls(),
        )


def shared_link(
    ctx: Context, config: BrokerConfig, *, waits_for_answers: bool = False
) -> AbstractAsyncContextManager[Link]:
    """Return the link for a broker, shared with all who use the same settings.

    Who waits for the broker's answers (a sink with QoS 1 or 2) gets another link than those who
    read: a source that holds up reading must not hold up the answers which its own rule waits for.
    A given client id allows one connection only, so it always means the same link.
    """
    settings = config.settings()
    apart = waits_for_answers and not settings.client_id
    sessions = ctx.root_path / DATA / "sessions"
    return ctx.shared(
        ("mqtt", settings, apart), lambda: Link(settings, clock=ctx.clock, sessions=sessions)
    )


def follow(ctx: Context, link: Link) -> Callable[[], None]:
    """Let the status of the rule say how the link is doing; returns what ends that."""

    def tell(link: Link) -> None:
        message = link.last_error.message if link.last_error else link.state.value
        connected = link.state is LinkState.CONNECTED
        ctx.report_connection(connected, "" if connected else message)

    link.on_change.append(tell)
    tell(link)
    return lambda: link.on_change.remove(tell)
