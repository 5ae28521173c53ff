# /// script
# dependencies = ["httpx>=0.27,<1"]
# ///
"""Send results to an HTTP server: one request for each message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import anyio
import msgspec

from engine.api import Batch, ConfigError, NotConnected, Rejected, RowError, Sink, Template
from engine.http import (
    BODY_TYPES,
    BodyType,
    Client,
    HttpConfig,
    Reply,
    Tokens,
    check_address,
    may_pass,
)
from engine.template import compile_template, is_template

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"})
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
_TYPE_OF_FORMAT = {"json": "json", "urlencoded": "form", "delimited": "text", "binary": "binary"}
_ENCODINGS = {"gzip": "gzip", "zlib": "deflate", "zstd": "zstd"}
_LONGEST_PAUSE = 3_600_000
"""Milliseconds that a server can ask us to wait."""
_SHOWN = 1000
"""Bytes of a body that are logged."""


class RestConfig(HttpConfig):
    """``url``, ``method``, ``headers`` and ``formData`` may hold fields of the result."""

    url: Template
    method: Template = Template("POST")
    """``GET``, ``POST``, ``PUT``, ``PATCH``, ``DELETE`` or ``HEAD``, in any case."""
    headers: dict[str, Template] = msgspec.field(default_factory=dict)
    """With ``oAuth`` they may hold fields of its reply instead, such as ``{{.access_token}}``."""
    body_type: BodyType = ""
    """Tells the Content-Type; by default ``none`` for GET and HEAD, else by the format."""
    form_data: dict[str, Template] = msgspec.field(default_factory=dict)
    """Fields of a body of type ``formdata``."""
    file_field_name: str = ""
    """The field of it that holds the message."""
    debug_resp: bool = False
    """Log bodies of requests and replies, up to 1000 bytes each."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    """Requests on their way at once; with more than one, messages may change places."""
    format: str = "json"
    compression: str = ""
    data_template: str = ""

    def __post_init__(self) -> None:
        if self.o_auth is not None:  # no field of a row, so nothing to be computed from rows
            self.headers = {name: str(value) for name, value in self.headers.items()}  # type: ignore[misc]

    def check(self) -> None:
        super().check()
        check_address("url", self.url)
        if not is_template(self.method) and self.method.upper() not in _METHODS:
            raise ConfigError(
                f"method {str(self.method)!r} is unknown",
                hint=f"one of {', '.join(sorted(_METHODS))}",
            )
        if self.body_type == "formdata" and not (self.file_field_name or self.form_data):
            raise ConfigError(
                "bodyType formdata has no fields",
                hint="fileFieldName names the one for the message, formData gives others",
            )
        usual = _TYPE_OF_FORMAT.get(self.format.lower(), self.format)
        is_odd = self.body_type in ("form", "json") and self.body_type != usual
        if is_odd and not self.data_template:
            wanted = "urlencoded" if self.body_type == "form" else "json"
            raise ConfigError(
                f"bodyType {self.body_type} is for format {wanted}", hint=f"add format: {wanted}"
            )


class Rest(Sink[RestConfig]):
    """A message is delivered when the server has replied with a status of 2xx.

    The network's and the server's troubles (408, 425, 429 and from 500 on) are waited out, as long
    as the server asks for with Retry-After; messages keep their order. Whatever else it replies
    refuses the message for good.
    """

    takes_payloads: ClassVar[bool] = True
    shared_options: ClassVar[frozenset[str]] = frozenset({"format", "compression", "dataTemplate"})

    _client: Client | None = None
    _tokens: Tokens | None = None
    _not_before = 0

    def validate(self) -> None:
        config = self.config
        config.check()
        config.check_tls(self.ctx.root_path)
        if config.o_auth is not None:
            Tokens(config.o_auth, Client(config, self.ctx, follows=False), self.ctx.clock)
            _compiled(config.headers)

    async def open(self) -> None:
        config = self.config
        if self._client is None:  # else it has been opened before there was a token
            client = Client(config, self.ctx, follows=False, connections=config.concurrency)
            await client.open()
            self._client = client
            await client.check(config.url)
            if config.o_auth is not None:
                self._tokens = Tokens(config.o_auth, client, self.ctx.clock)
                self._header_templates = _compiled(config.headers)
        if self._tokens is not None:
            await self._tokens.fields()

    async def collect(self, batch: Batch) -> None:
        wait = self._not_before - self.ctx.clock.now()
        if wait > 0:
            raise NotConnected(f"the server wants to be left alone for {wait / 1000:g} s")
        sending = _Sending(len(batch))
        requests = _Requests(self.config, batch)

        async def work() -> None:
            while (index := sending.next()) is not None:
                try:
                    await self._send(requests, index)
                except NotConnected as error:
                    sending.interrupt(index, error)
                except (Rejected, RowError) as error:
                    sending.refuse(index, error.message)

        workers = min(self.config.concurrency, len(batch))
        if workers < 2:
            await work()
        else:
            async with anyio.create_task_group() as tasks:
                for number in range(workers):
                    tasks.start_soon(work, name=f"{self.ctx.op_id}.request {number}")
        sending.check()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # -- one message ---------------------------------------------------------------------------

    async def _send(self, requests: _Requests, index: int) -> None:
        """Send a message.

        Raises:
            NotConnected: it is to be sent again.
            Rejected: the server refuses it.
            RowError: no request can be made of it.
        """
        request = requests.request(index)
        reply = await self._answer(request)
        if self.config.debug_resp:
            sent = request.get("content") or b""
            self.ctx.logger.info(
                "%s: sent %r, %d %r came back",
                reply.where,
                sent[:_SHOWN],
                reply.status,
                reply.content[:_SHOWN],
            )
        code = self._code(reply)
        if 200 <= code < 300:
            return
        what = f"{reply.where} replied {code}"
        if may_pass(code):
            pause = reply.retry_after(self.ctx.clock.now())
            if pause:
                self._not_before = self.ctx.clock.now() + min(pause, _LONGEST_PAUSE)
            raise NotConnected(what)
        raise Rejected(what)

    async def _answer(self, request: dict[str, Any]) -> Reply:
        """Return the reply to a request, which has a token if need be."""
        assert self._client is not None
        if self._tokens is None:
            return await self._client.send(**request)
        fields = await self._tokens.fields()
        reply = await self._client.send(**self._with_token(request, fields))
        if reply.status == 401:
            await self._tokens.replace(fields)
            fields = await self._tokens.fields()
            reply = await self._client.send(**self._with_token(request, fields))
        return reply

    def _with_token(self, request: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        try:
            headers = {name: render(fields) for name, render in self._header_templates.items()}
        except RowError as error:
            raise NotConnected(
                f"headers: {error.message} in the reply to oAuth",
                hint="with oAuth, headers are made of the fields of its reply",
            ) from None
        return {**request, "headers": {**request["headers"], **headers}}

    def _code(self, reply: Reply) -> int:
        """Return the status that counts."""
        if self.config.response_type == "code" or not reply.is_success:
            return reply.status
        content = reply.json()
        code = content.get("code") if isinstance(content, dict) else None
        if not isinstance(code, int):
            raise Rejected(f"{reply.where}: the reply has no code")
        return code


class _Requests:
    """The requests for the messages of a batch, in the words of ``Client.send``."""

    def __init__(self, config: RestConfig, batch: Batch) -> None:
        self._config = config
        self._payloads = batch.payloads or []
        self._urls = batch.meta.column("url")
        self._methods = batch.meta.column("method")
        self._headers = batch.meta.column("headers")
        self._form_data = batch.meta.column("formData")

    def request(self, index: int) -> dict[str, Any]:
        """Return a request.

        Raises:
            RowError: the message doesn't make one.
        """
        config = self._config
        method = str(self._methods[index] or config.method).upper()
        if method not in _METHODS:
            raise RowError(f"method {method[:20]!r} is unknown")
        headers = dict(self._headers[index] or ({} if config.o_auth else config.headers))
        request = {
            "method": method,
            "url": str(self._urls[index] or config.url),
            "headers": headers,
        }
        body_type = config.body_type
        if not body_type and method in _WITHOUT_BODY:
            body_type = "none"
        if body_type == "formdata":
            return {**request, "parts": self._parts(index)}
        if body_type == "none":
            return request
        kind = body_type or _TYPE_OF_FORMAT.get(config.format.lower(), "binary")
        given = {name.lower() for name in headers}
        if "content-type" not in given:
            headers["Content-Type"] = BODY_TYPES[kind]
        if config.compression in _ENCODINGS and "content-encoding" not in given:
            headers["Content-Encoding"] = _ENCODINGS[config.compression]
        return {**request, "content": self._payloads[index]}

    def _parts(self, index: int) -> list[tuple[str, tuple[str | None, bytes, str | None]]]:
        config = self._config
        fields = self._form_data[index] or config.form_data
        parts: list[tuple[str, tuple[str | None, bytes, str | None]]] = [
            (name, (None, str(value).encode(), None)) for name, value in fields.items()
        ]
        if name := config.file_field_name:
            kind = BODY_TYPES[_TYPE_OF_FORMAT.get(config.format.lower(), "binary")]
            parts.append((name, (name, self._payloads[index], kind)))
        return parts


class _Sending:
    """How far a batch has got."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0
        self._interrupted: list[int] = []
        self._trouble: NotConnected | None = None
        self._refused: dict[int, str] = {}

    def next(self) -> int | None:
        """Return the next message to be sent; None: no more, or not now."""
        if self._trouble is not None or self._next == self._size:
            return None
        self._next += 1
        return self._next - 1

    def interrupt(self, index: int, error: NotConnected) -> None:
        """A message is to be sent again, and so is what comes after it."""
        self._interrupted.append(index)
        self._trouble = self._trouble or error

    def refuse(self, index: int, reason: str) -> None:
        """A message will never be taken."""
        self._refused[index] = reason

    def check(self) -> None:
        """Tell the engine.

        A refused message is sent again with those that have to wait, to be refused then.

        Raises:
            NotConnected: something has to wait.
            Rejected: nothing has, but something was refused.
        """
        if self._trouble is not None:
            left = [*self._interrupted, *self._refused, *range(self._next, self._size)]
            raise NotConnected(self._trouble.message, hint=self._trouble.hint, indexes=sorted(left))
        if self._refused:
            reasons = "; ".join(dict.fromkeys(self._refused.values()))
            raise Rejected(reasons, indexes=sorted(self._refused))


def _compiled(templates: Mapping[str, str]) -> dict[str, Any]:
    return {name: compile_template(text) for name, text in templates.items()}
