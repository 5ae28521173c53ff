"""Requests to HTTP servers within limits of time and size, with errors that say what to do next."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import anyio.to_thread
import httpx
import msgspec

from engine.api import ConfigError, Context, NotConnected, RowError
from engine.http.confined import ConfinedTransport
from engine.http.options import HttpConfig
from engine.networks import Forbidden, Networks

_PASSING = frozenset({408, 425, 429})
"""Status codes that another attempt may not see, beside those of 500 and above."""

_log = logging.getLogger("httpx")
if _log.level == logging.NOTSET:
    _log.setLevel(logging.WARNING)  # it logs each request with all that is secret in its address

Parts = Sequence[tuple[str, tuple[str | None, bytes, str | None]]]
"""Of a multipart body: name, then name of the file, content and Content-Type."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server has answered."""

    where: str
    """The request, without what may be secret in it."""
    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes
    unreadable: NotConnected | RowError | None = None
    """Why the content couldn't be read, which says nothing about the status."""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_passing(self) -> bool:
        """Whether another attempt may have success."""
        return may_pass(self.status)

    def retry_after(self, now: int) -> int:
        """Return in how many milliseconds the server wants to be asked again; 0: it says nothing.

        ``now`` is in epoch milliseconds.
        """
        text = self.headers.get("retry-after", "")
        if text.isdecimal():
            return int(text[:9]) * 1000
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return 0
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0, int(when.timestamp() * 1000) - now)

    def json(self) -> Any:
        """Return the content; None if there is none.

        Raises:
            NotConnected: the connection was lost before all of it had come.
            RowError: it isn't JSON, or couldn't be read.
        """
        if self.unreadable is not None:
            raise self.unreadable
        if not self.content.strip():
            return None
        try:
            return msgspec.json.decode(self.content)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise RowError(
                f"{self.where}: the reply is no JSON: {error}", kind="the reply is no JSON"
            ) from None


def may_pass(code: int) -> bool:
    """Tell whether a status code stands for trouble that may pass."""
    return code in _PASSING or code >= 500


class Client:
    """Asks servers; connections are kept and used again."""

    def __init__(
        self, config: HttpConfig, ctx: Context, *, follows: bool, connections: int = 100
    ) -> None:
        """``follows``: go where redirections lead; ``connections``: the most at once."""
        self._config = config
        self._ctx = ctx
        self._follows = follows
        self._connections = connections
        self._client: httpx.AsyncClient | None = None
        self._networks: Networks | None = None
        if ctx.private_hosts is not None:
            self._networks = Networks(ctx.private_hosts)

    async def open(self) -> None:
        """Get ready.

        Raises:
            ConfigError: something about TLS is wrong.
        """
        settings = self._config.tls(self._ctx.root_path)
        verify = await anyio.to_thread.run_sync(settings.context)
        limits = httpx.Limits(
            max_connections=self._connections, max_keepalive_connections=self._connections
        )
        transport: httpx.AsyncBaseTransport | None = None
        if self._networks is not None:
            transport = ConfinedTransport(
                self._networks, verify=verify, connections=self._connections
            )
        self._client = httpx.AsyncClient(
            verify=verify,
            limits=limits,
            timeout=self._config.timeout,
            follow_redirects=self._follows,
            transport=transport,
            event_hooks={"request": [_check_address]},  # also of those that redirections lead to
        )

    async def check(self, address: str) -> None:
        """Find out whether a server may be asked; ``{{`` and what follows is left out.

        Raises:
            ConfigError: it may not.
        """
        if self._networks is None:
            return
        fixed = address.partition("{{")[0]
        try:
            url = httpx.URL(fixed)
            is_whole = "/" in fixed.partition("//")[2] or fixed == address
            if is_whole:
                await self._networks.address(url.host, _port(url))
        except Forbidden as error:
            raise ConfigError(f"{shown(fixed)}: {error.message}", hint=error.hint) from None
        except (OSError, UnicodeError, httpx.InvalidURL):
            return  # whoever sends a request will be told

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        parts: Parts | None = None,
    ) -> Reply:
        """Return what the server answers, whatever that is.

        Raises:
            NotConnected: it doesn't; another attempt may have success.
            RowError: such a request can't be made.
        """
        assert self._client is not None, "it is open"
        try:
            request = self._client.build_request(
                method, url, headers=headers, content=content, files=parts
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise RowError(f"no request can be made: {error}") from None
        return await self._answer(request)

    async def _answer(self, request: httpx.Request) -> Reply:
        where = f"{request.method} {shown(request.url)}"
        deadline = anyio.current_time() + self._config.timeout
        response = await self._begun(request, where, deadline)
        content, unreadable = b"", None
        try:
            content = await self._content(response, where, deadline)
        except (NotConnected, RowError) as error:
            unreadable = error
        return Reply(
            where,
            response.status_code,
            response.reason_phrase,
            response.headers,
            content,
            unreadable,
        )

    async def _begun(self, request: httpx.Request, where: str, deadline: float) -> httpx.Response:
        """Return a reply of which the headers have come."""
        assert self._client is not None
        timeout = self._config.timeout
        try:
            with anyio.fail_after(max(0, deadline - anyio.current_time())):
                return await self._client.send(request, stream=True)
        except (TimeoutError, httpx.TimeoutException):
            what = f"{where}: no reply within {timeout:g} s"
            raise NotConnected(what, kind="no reply in time") from None
        except Forbidden as error:
            what = f"{where}: {error.message}"
            raise RowError(what, hint=error.hint, kind="forbidden address") from None
        except httpx.LocalProtocolError:  # it would show what is in the headers
            what = "a header holds what can't be sent"
            raise RowError(f"{where}: {what}", kind=what) from None
        except (httpx.TooManyRedirects, httpx.UnsupportedProtocol) as error:
            is_address = isinstance(error, httpx.UnsupportedProtocol)
            kind = "no address of HTTP" if is_address else "too many redirects"
            raise RowError(f"{where}: {error}", kind=kind) from None
        except httpx.TransportError as error:
            what = f"{where}: {error or type(error).__name__}"
            raise NotConnected(what, kind="no connection") from None

    async def _content(self, response: httpx.Response, where: str, deadline: float) -> bytes:
        """Return the content of a reply.

        Raises:
            NotConnected: it doesn't come; another attempt may have success.
            RowError: it can't be read.
        """
        most, timeout = self._config.max_response, self._config.timeout
        content = bytearray()
        try:
            with anyio.fail_after(max(0, deadline - anyio.current_time())):
                try:
                    async for part in response.aiter_bytes():
                        content += part
                        if len(content) > most:
                            what = f"{where}: the reply has more than {most} bytes"
                            raise RowError(
                                what, hint="raise maxResponse", kind="the reply is too long"
                            )
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            what = f"{where}: no whole reply within {timeout:g} s"
            raise NotConnected(what, kind="no reply in time") from None
        except httpx.DecodingError as error:
            raise RowError(f"{where}: {error}", kind="the reply can't be read") from None
        except httpx.TransportError as error:
            what = f"{where}: {error or type(error).__name__}"
            raise NotConnected(what, kind="no connection") from None
        return bytes(content)

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def _check_address(request: httpx.Request) -> None:
    """Refuse what httpx would only stumble over."""
    if not request.url.host:
        raise httpx.UnsupportedProtocol("the address names no host")
    if request.url.port is not None and not 0 < request.url.port <= 65_535:
        raise httpx.UnsupportedProtocol("the port must be from 1 to 65535")


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def shown(url: httpx.URL | str) -> str:
    """Return an address without what may be secret in it."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        return "an address that is none"
    return str(address.copy_with(username=None, password=None, query=None, fragment=None))
