# /// script
# dependencies = ["httpx>=0.27,<1"]
# ///
"""Send results to an HTTP server: one request for each message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import anyio

from engine.api import Batch, NotConnected, Rejected, RowError, Sink
from engine.http import Client, Reply, Tokens, may_pass
from engine.template import Render, compile_template

from .options import RestConfig
from .requests import Requests, Sending

_LONGEST_PAUSE = 3_600_000
"""Milliseconds that a server can ask us to wait."""
_SHOWN = 1000
"""Bytes of a body that are logged."""


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
            Tokens(config.o_auth, Client(config, self.ctx, follows=False), self.ctx)
            _compiled(config.headers)

    async def open(self) -> None:
        config = self.config
        if self._client is None:  # else it has been opened before there was a token
            client = Client(config, self.ctx, follows=False, connections=config.concurrency)
            await client.open()
            self._client = client
            await client.check(config.url)
            if config.o_auth is not None:
                self._tokens = Tokens(config.o_auth, client, self.ctx)
                self._header_templates = _compiled(config.headers)
        if self._tokens is not None:
            await self._tokens.fields()

    async def collect(self, batch: Batch) -> None:
        wait = self._not_before - self.ctx.clock.now()
        if wait > 0:
            raise NotConnected(f"the server wants to be left alone for {wait / 1000:g} s")
        sending = Sending(len(batch))
        requests = Requests(self.config, batch)

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

    async def _send(self, requests: Requests, index: int) -> None:
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


def _compiled(templates: Mapping[str, str]) -> dict[str, Render]:
    return {name: compile_template(text) for name, text in templates.items()}
