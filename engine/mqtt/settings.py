"""How to reach a broker: address, protocol version, credentials, session and TLS."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from engine.errors import ConfigError

_PLAIN = frozenset({"tcp", "mqtt"})
_SECURE = frozenset({"ssl", "tls", "mqtts"})
_VERSIONS = {"5": "5", "5.0": "5", "3.1.1": "3.1.1", "4": "3.1.1", "3.1": "3.1", "3": "3.1"}
_TLS_VERSIONS = {
    "tls1.0": ssl.TLSVersion.TLSv1,
    "tls1.1": ssl.TLSVersion.TLSv1_1,
    "tls1.2": ssl.TLSVersion.TLSv1_2,
    "tls1.3": ssl.TLSVersion.TLSv1_3,
}
_SECRETS = frozenset({"password", "private_key_raw"})


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


class _Discreet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A struct whose secrets never show in its representation."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name in _SECRETS and value else value) for name, value in values]


class TlsSettings(_Discreet, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Certificates by path, or by their base64 twins; a path wins over its twin."""

    certification_path: str = ""
    private_key_path: str = ""
    root_ca_path: str = ""
    certification_raw: str = ""
    private_key_raw: str = ""
    root_ca_raw: str = ""
    insecure_skip_verify: bool = False
    tls_min_version: str = "tls1.2"

    def context(self) -> ssl.SSLContext:
        """Read the files and build the context; blocks on the disk.

        Raises:
            ConfigError: a file is missing, unreadable or no certificate or key.
        """
        minimum = _TLS_VERSIONS.get(self.tls_min_version)
        if minimum is None:
            raise ConfigError(
                f"tlsMinVersion {self.tls_min_version!r} is unknown",
                hint=f"one of {', '.join(_TLS_VERSIONS)}",
            )
        context = ssl.create_default_context()
        context.minimum_version = minimum
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._check_paths()
        try:
            self._trust(context)
            self._present(context)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(f"TLS can't be set up: {error}") from error
        return context

    def _check_paths(self) -> None:
        for name, path in (
            ("rootCaPath", self.root_ca_path),
            ("certificationPath", self.certification_path),
            ("privateKeyPath", self.private_key_path),
        ):
            if path and not Path(path).is_file():
                raise ConfigError(f"TLS can't be set up: {name}: there is no file {path}")

    def _trust(self, context: ssl.SSLContext) -> None:
        if self.root_ca_path:
            context.load_verify_locations(cafile=self.root_ca_path)
        elif self.root_ca_raw:
            context.load_verify_locations(cadata=_decoded("rootCARaw", self.root_ca_raw).decode())

    def _present(self, context: ssl.SSLContext) -> None:
        certificate, key = self.certification_path, self.private_key_path
        with (
            _as_file("certificationRaw", certificate, self.certification_raw) as certificate_file,
            _as_file("privateKeyRaw", key, self.private_key_raw) as key_file,
        ):
            if certificate_file:
                context.load_cert_chain(certificate_file, key_file or None)


@contextmanager
def _as_file(name: str, path: str, raw: str) -> Iterator[str]:
    """Give the path, or a short-lived private file with the raw content."""
    if path or not raw:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:  # mode 0700
        file = Path(folder) / "pem"
        file.write_bytes(_decoded(name, raw))
        yield str(file)


def _decoded(name: str, raw: str) -> bytes:
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error:
        raise ConfigError(f"{name} is not base64") from None


class LinkSettings(_Discreet, frozen=True, kw_only=True):
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

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context that the address asks for, or None for plain TCP; blocks on the disk.

        Raises:
            ConfigError: see ``TlsSettings.context``.
        """
        if not self.address.secure:
            return None
        return (self.tls or TlsSettings()).context()
