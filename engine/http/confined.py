"""A transport for requests on behalf of somebody else: it connects to hosts that may be asked."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from engine.networks import Networks


class ConfinedTransport(httpx.AsyncBaseTransport):
    """Connects to the very address that was found to be allowed, for each connection anew.

    Requests keep the name of their host, so that a connection is used again only for the name
    that its certificate was checked for. No proxy is asked: it could ask anybody. A request to a
    host that isn't allowed raises ``Forbidden``.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        verify: ssl.SSLContext | None = None,
        connections: int = 100,
    ) -> None:
        """``verify`` is by default what httpx has; ``connections`` is the most at once."""
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify or httpx.create_ssl_context(trust_env=False),
            max_connections=connections,
            keepalive_expiry=httpx.Limits().keepalive_expiry,
            network_backend=_Backend(networks),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        assert isinstance(request.stream, httpx.AsyncByteStream)
        with _in_terms_of_httpx():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    httpcore.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Backend(httpcore.AnyIOBackend):
    """Looks hosts up and judges them before it connects."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore has it so
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        name = httpx.URL(scheme="http", host=host).host  # as users write it, not as DNS has it
        try:
            address = await self._networks.address(name, port)
        except (OSError, UnicodeError):
            raise httpcore.ConnectError(f"the host {name[:60]!r} isn't known") from None
        return await super().connect_tcp(address, port, timeout, local_address, socket_options)


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _in_terms_of_httpx():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


@contextmanager
def _in_terms_of_httpx() -> Iterator[None]:
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
    ) as error:
        known = getattr(httpx, type(error).__name__)  # both libraries have the same names
        raise known(str(error)) from None
