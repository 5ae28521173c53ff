"""The properties that plugins for HTTP have in common."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.addresses import flaw_of_address, shown_address
from engine.api import Config, ConfigError, Duration, Size
from engine.tls import TlsConfig


class Access(Config):
    """How a token is got: a POST whose reply is a JSON object."""

    url: str
    body: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    expire: int | str = ""
    """Seconds that the token is good for, which may be a field of the reply:
    ``{{.expires_in}}``; nothing: for good.
    """


class Refresh(Config):
    """How a token is exchanged for a new one; templates see the reply to the last exchange."""

    url: str
    body: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class OAuth(Config):
    """Access by a token. Without ``refresh`` a new one is got as the first one was."""

    access: Access
    refresh: Refresh | None = None


class HttpConfig(TlsConfig, kw_only=True):
    """How a server is asked, and what its replies mean."""

    timeout: Duration = Duration(5)
    """How long a request may take, reading the reply included."""
    response_type: Literal["code", "body"] = "code"
    """``code``: the status code tells success; ``body``: also the field ``code`` of the reply."""
    max_response: Size = Size(16 * 1024 * 1024)
    """Bytes that a reply may have."""
    o_auth: OAuth | None = None

    def check(self) -> None:
        """Raise ``ConfigError`` if an address of ``oAuth`` can't be asked."""
        if self.o_auth is not None:
            check_address("oAuth.access.url", self.o_auth.access.url)
            if self.o_auth.refresh is not None:
                check_address("oAuth.refresh.url", self.o_auth.refresh.url)


def check_address(name: str, url: str) -> None:
    """Raise ``ConfigError`` if an address isn't one of HTTP; what may be secret isn't shown."""
    if flaw := flaw_of_address(url):
        raise ConfigError(f"{name} {shown_address(url)!r} can't be asked", hint=flaw)
