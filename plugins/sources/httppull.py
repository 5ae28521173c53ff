# /// script
# dependencies = ["httpx>=0.27,<1"]
# ///
"""Look rows up by HTTP: one request for each key."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import anyio
import httpx
import msgspec

from engine.api import (
    Config,
    ConfigError,
    Duration,
    LookupSource,
    NotConnected,
    Row,
    RowError,
    Size,
)
from engine.lookup.match import matching
from engine.template import compile_template

_CONTENT_TYPES = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "xml": "application/xml",
    "javascript": "application/javascript",
    "form": "application/x-www-form-urlencoded",
    "binary": "application/octet-stream",
}
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes that another attempt may not see."""
_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_NAME = re.compile(r"\.([A-Za-z_]\w*)")


class HttppullConfig(Config):
    """``{{.column}}`` in url, body and headers is the value that the join compares the column with.

    In the url it is percent-encoded.
    """

    url: str = "http://localhost"
    datasource: str = ""
    """Appended to the url."""
    method: Literal["GET", "POST", "PUT", "DELETE", "get", "post", "put", "delete"] = "GET"
    timeout: Duration = Duration(5)
    """How long a request may take, reading the reply included."""
    body: str = ""
    body_type: Literal[
        "", "none", "text", "json", "html", "xml", "javascript", "form", "binary"
    ] = ""
    """Tells the Content-Type; ``json`` unless the method is GET."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    response_type: Literal["code", "body"] = "code"
    """``code``: the status code tells success; ``body``: also the field ``code`` of the reply."""
    max_response: Size = Size(16 * 1024 * 1024)
    """Bytes that a reply may have."""
    insecure_skip_verify: bool = False
    """Trust any certificate."""
    root_ca_path: str = ""
    certification_path: str = ""
    private_key_path: str = ""
    interval: Duration = Duration(10)
    """For streams; a lookup asks when a row needs it."""
    incremental: bool = False
    """For streams, too."""


class Httppull(LookupSource[HttppullConfig]):
    """The reply is a JSON object or a list of them, of which those with the right keys are taken.

    Keys that the request names are the server's business and aren't compared again; 404 then means
    that there is no row.
    """

    _client: httpx.AsyncClient | None = None

    def validate(self) -> None:
        _Request(self.config)

    async def open(self) -> None:
        config = self.config
        self._request = _Request(config)
        self._client = httpx.AsyncClient(
            verify=self._tls(), timeout=config.timeout, follow_redirects=True
        )

    async def lookup(
        self, fields: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[Row]:
        assert self._client is not None
        asked = dict(zip(keys, values, strict=True))
        request = self._request.build(self._client, asked)
        status, content = await self._send(self._client, request)
        if status == 404 and self._request.names.intersection(keys):
            return []
        rows = self._rows(request.url, status, content)
        others = [key for key in keys if key not in self._request.names]
        return matching(rows, others, [asked[key] for key in others]) if others else rows

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request) -> tuple[int, bytes]:
        config, where = self.config, f"{request.method} {_shown(request.url)}"
        try:
            with anyio.fail_after(config.timeout):
                response = await client.send(request, stream=True)
                try:
                    content = bytearray()
                    async for part in response.aiter_bytes():
                        content += part
                        if len(content) > config.max_response:
                            what = f"{where}: the reply has more than {config.max_response} bytes"
                            raise RowError(what, hint="raise maxResponse")
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise NotConnected(f"{where}: no reply within {config.timeout:g} s") from None
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.DecodingError) as error:
            raise RowError(f"{where}: {error}") from None
        except httpx.TransportError as error:
            raise NotConnected(f"{where}: {error or type(error).__name__}") from None
        if response.status_code in _PASSING:
            raise NotConnected(f"{where}: {response.status_code} {response.reason_phrase}")
        return response.status_code, bytes(content)

    def _rows(self, url: httpx.URL, status: int, content: bytes) -> list[Row]:
        where = _shown(url)
        if not 200 <= status < 300:
            raise RowError(f"{where} replied {status}")
        if not content.strip():
            return []
        try:
            reply = msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise RowError(f"{where}: the reply is no JSON: {error}") from None
        if self.config.response_type == "body":
            code = reply.get("code") if isinstance(reply, dict) else None
            if not isinstance(code, int) or not 200 <= code < 300:
                raise RowError(f"{where}: the code in the reply is {code!r}")
        rows = reply if isinstance(reply, list) else [] if reply is None else [reply]
        if not all(isinstance(row, dict) for row in rows):
            raise RowError(f"{where}: the reply is neither an object nor a list of objects")
        return rows

    def _tls(self) -> ssl.SSLContext:
        config, root = self.config, self.ctx.root_path
        try:
            ca = str(root / config.root_ca_path) if config.root_ca_path else None
            context = ssl.create_default_context(cafile=ca)
            if config.certification_path:
                key = str(root / config.private_key_path) if config.private_key_path else None
                context.load_cert_chain(str(root / config.certification_path), key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"TLS: {error}", hint="see rootCaPath and its like") from None
        if config.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class _Request:
    """The parts of a request, ready to be filled with the values of a key."""

    def __init__(self, config: HttppullConfig) -> None:
        """Check and compile the parts.

        Raises:
            ConfigError: the address isn't one of HTTP, or a template is wrong.
        """
        address = config.url + config.datasource
        if not address.startswith(("http://", "https://")):
            hint = "it must begin with http:// or https://"
            raise ConfigError(f"url {address.partition('?')[0]!r} can't be asked", hint=hint)
        parts = [address, config.body, *config.headers.values()]
        self.names = frozenset(
            name
            for part in parts
            for action in _ACTION.findall(part)
            for name in _NAME.findall(action)
        )
        """The columns that the request depends on."""
        self._method = config.method.upper()
        self._url = compile_template(address)
        self._body = compile_template(config.body) if config.body else None
        self._headers = {name: compile_template(value) for name, value in config.headers.items()}
        body_type = config.body_type or ("none" if self._method == "GET" else "json")
        self._content_type = _CONTENT_TYPES.get(body_type) if config.body else None

    def build(self, client: httpx.AsyncClient, values: Mapping[str, Any]) -> httpx.Request:
        """Return the request for a key.

        Raises:
            RowError: the values don't make one.
        """
        row = dict(values)
        headers = {name: render(row) for name, render in self._headers.items()}
        if self._content_type and "content-type" not in map(str.lower, headers):
            headers["Content-Type"] = self._content_type
        url = self._url({name: quote(_as_text({"value": v}), safe="") for name, v in row.items()})
        body = self._body(row).encode() if self._body is not None else None
        try:
            return client.build_request(self._method, url, headers=headers, content=body)
        except (httpx.InvalidURL, ValueError) as error:
            raise RowError(f"no request can be made for {row}: {error}") from None


_as_text: Callable[[Any], str] = compile_template("{{.value}}")


def _shown(url: httpx.URL) -> str:
    """Return an address without what may be secret in it."""
    return str(url.copy_with(username=None, password=None, query=None, fragment=None))
