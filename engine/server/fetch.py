"""Files that a request names instead of holding them: uploads, and URLs that may be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread

from engine.networks import Forbidden, Networks
from engine.server.problems import IO, Problem

_REDIRECTS = 5
_SECONDS = 60.0


class Fetcher:
    """Reads files for clients, from where the settings allow it and from nowhere else.

    ``file:`` names lie in the folder of uploads. ``http:`` and ``https:`` go to public addresses,
    and to private ones (loopback, link-local and so on) only where ``allowed`` names the host or a
    network such as ``10.1.0.0/16``. The address that was checked is the one that is connected to,
    for each redirect anew.
    """

    def __init__(self, uploads: Path, allowed: Sequence[str], largest: int) -> None:
        """``largest`` is the longest file in bytes."""
        self._uploads = uploads
        self._networks = Networks(allowed)
        self._largest = largest

    async def read(self, url: str) -> bytes:
        """Return a file.

        Raises:
            Problem: it isn't allowed, isn't there, or is too long.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise Problem(f"{url[:60]!r} is no URL") from None
        if parts.scheme == "file" or not parts.scheme:
            return await anyio.to_thread.run_sync(self._local, url)
        if parts.scheme not in ("http", "https"):
            raise Problem(f"{parts.scheme}: URLs can't be read", hint="use http, https or file")
        with anyio.move_on_after(_SECONDS):
            return await self._remote(url)
        raise Problem(f"{parts.hostname} took longer than {_SECONDS:.0f} s", code=IO)

    def _local(self, url: str) -> bytes:
        parts = urlsplit(url)
        name = unquote(parts.netloc + parts.path)
        path = (self._uploads / name).resolve()
        if not path.is_relative_to(self._uploads.resolve()):
            raise Problem(
                "only files in the folder of uploads can be read",
                hint="upload it first with POST /config/uploads",
            )
        try:
            with path.open("rb") as stream:
                data = stream.read(self._largest + 1)
        except (OSError, ValueError):
            raise Problem(f"there is no uploaded file {path.name}", code=IO) from None
        return self._checked(data, path.name)

    async def _remote(self, url: str) -> bytes:
        try:
            import httpx
        except ImportError:
            raise Problem("URLs can't be read: install 'headrace[http]'") from None

        from engine.http.confined import ConfinedTransport

        transport = ConfinedTransport(self._networks)
        async with httpx.AsyncClient(transport=transport, timeout=_SECONDS) as client:
            for _ in range(_REDIRECTS + 1):
                try:
                    response = await client.send(client.build_request("GET", url), stream=True)
                    try:
                        if response.is_redirect:
                            url = str(httpx.URL(url).join(response.headers["location"]))
                            if urlsplit(url).scheme not in ("http", "https"):
                                raise Problem("the redirect leaves http", code=IO)
                            continue
                        if response.status_code != httpx.codes.OK:
                            raise Problem(
                                f"{urlsplit(url).hostname} answered {response.status_code}",
                                code=IO,
                            )
                        return await self._body(response.aiter_bytes(), url)
                    finally:
                        await response.aclose()
                except Forbidden as error:
                    raise Problem(error.message, hint=error.hint) from None
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    host = urlsplit(url).hostname
                    raise Problem(f"can't read from {host}: {error}", code=IO) from None
        raise Problem(f"more than {_REDIRECTS} redirects", code=IO)

    async def _body(self, chunks: object, url: str) -> bytes:
        data = bytearray()
        async for chunk in chunks:  # type: ignore[attr-defined]
            data += chunk
            if len(data) > self._largest:
                break
        return self._checked(bytes(data), url)

    def _checked(self, data: bytes, what: str) -> bytes:
        if len(data) > self._largest:
            raise Problem(f"{what} is longer than {self._largest} bytes", status=413)
        return data
