"""How to reach a broker: address, protocol version, credentials, session and TLS."""

from __future__ import annotations

import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from engine.errors import ConfigError
from engine.tls import Discreet, TlsSettings

_PLAIN = frozenset({"tcp", "mqtt"})
_SECURE = frozenset({"ssl", "tls", "mqtts"})
_VERSIONS = {"5": "5", "5.0": "5", "3.1.1": "3.1.1", "4": "3.1.1", "3.1": "3.1", "3": "3.1"}


_USUAL_WINDOW = 20
_FOR_EVER = 0xFFFF_FFFF


class Address(NamedTuple):
    """Where the broker listens."""

    host: str
    port: int
    secure: bool


def parse_address(server: str) -> Address:
    """Split ``tcp://host:port`` and its kin; a bare ``host:port`` is TCP.

    Raises:
        ConfigError: the text is no address of a broker.
    """
    parts = urlsplit(server if "://" in server else f"tcp://{server}")
    try:
        port = parts.port
    except ValueError:
        raise _not_an_address(server) from None
    if parts.scheme not in _PLAIN | _SECURE or not parts.hostname:
        raise _not_an_address(server)
    if parts.username is not None:
        raise ConfigError(
            "credentials don't belong in the server address",
            hint="use the settings username and password",
        )
    secure = parts.scheme in _SECURE
    return Address(parts.hostname, port or (8883 if secure else 1883), secure)


def _not_an_address(server: str) -> ConfigError:
    return ConfigError(
        f"{server!r} is not the address of an MQTT broker",
        hint="write tcp://host:1883 or ssl://host:8883",
    )


class LinkSettings(Discreet, frozen=True, kw_only=True):
    """All that makes one connection to a broker; equal settings may share one link.

    Durations are seconds. ``pending_messages`` and ``pending_bytes`` bound what one subscription
    holds for a slow reader before the socket is no longer read; ``receive_maximum`` bounds the
    QoS 1 and 2 messages that the broker sends before it needs an acknowledgement.

    Raises:
        ConfigError: the address, the version or a number is wrong.
    """

    server: str
    protocol_version: str = "5"
    client_id: str = ""
    username: str = ""
    password: str = ""
    keep_alive: float = 20.0
    persistent_session: bool = False
    session_expiry: float = 60.0
    receive_maximum: int = 1024
    connect_timeout: float = 5.0
    pending_messages: int = 16_384
    pending_bytes: int = 4 * 1024 * 1024
    tls: TlsSettings | None = None

    def __post_init__(self) -> None:
        parse_address(self.server)
        if self.protocol_version not in _VERSIONS:
            raise ConfigError(
                f"protocolVersion {self.protocol_version!r} is unknown", hint="one of 5, 3.1.1, 3.1"
            )
        if not 0 <= self.keep_alive <= 65_535:
            raise ConfigError("keepAlive must be between 0 and 65535 seconds")
        if not 0 <= self.session_expiry <= _FOR_EVER:
            raise ConfigError(
                f"sessionExpiryIntervalSeconds must be between 0 and {_FOR_EVER}",
                hint=f"{_FOR_EVER} means for ever",
            )
        if not 1 <= self.receive_maximum <= 65_535:
            raise ConfigError("receiveMaximum must be between 1 and 65535")
        if min(self.pending_messages, self.pending_bytes) < 1:
            raise ConfigError("pendingMessages and pendingBytes must be positive")

    @property
    def address(self) -> Address:
        return parse_address(self.server)

    @property
    def version(self) -> str:
        """The protocol version by its one name: ``5``, ``3.1.1`` or ``3.1``."""
        return _VERSIONS[self.protocol_version]

    @property
    def smallest_window(self) -> int:
        """How many messages a broker sends at the least before it waits for acknowledgement.

        Before MQTT 5 brokers decide, and most say 20.
        """
        most = self.receive_maximum
        return most if self.version == "5" else min(most, _USUAL_WINDOW)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context that the address asks for, or None for plain TCP; blocks on the disk.

        Raises:
            ConfigError: see ``TlsSettings.context``.
        """
        if not self.address.secure:
            return None
        return (self.tls or TlsSettings()).context()
