"""Tokens by which servers let us in: got, refreshed before they expire, and never shown."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import anyio

from engine.api import Context, NotConnected, RowError
from engine.http.client import Client
from engine.http.options import Access, OAuth, Refresh
from engine.template import Render, compile_template


class _Request:
    """One of the two requests, ready to be filled in."""

    def __init__(self, name: str, config: Access | Refresh) -> None:
        self.name = name
        self._url = compile_template(config.url)
        self._body = compile_template(config.body)
        self._headers = {name: compile_template(value) for name, value in config.headers.items()}

    async def send(self, client: Client, reply: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of what the server replies; ``reply`` is what it has replied before.

        Raises:
            NotConnected: it doesn't let us in, now.
        """
        try:
            headers = {name: render(reply) for name, render in self._headers.items()}
            if "content-type" not in map(str.lower, headers):
                headers["Content-Type"] = "application/json"
            body = self._body(reply).encode()
            answer = await client.send("POST", self._url(reply), headers=headers, content=body)
            if not answer.is_success:
                what = f"{self.name}: {answer.where} replied {answer.status}"
                raise NotConnected(what, kind=f"{self.name} replied {answer.status}")
            fields = answer.json()
        except RowError as error:
            what, kind = f"{self.name}: {error.message}", f"{self.name}: {error.reason}"
            raise NotConnected(what, hint=error.hint, kind=kind) from None
        if not isinstance(fields, dict):
            what = "the reply is no JSON object"
            raise NotConnected(f"{self.name}: {answer.where}: {what}", kind=f"{self.name}: {what}")
        return fields


class Tokens:
    """Has the fields of the newest reply of ``oAuth``, which headers can be made of."""

    def __init__(self, config: OAuth, client: Client, ctx: Context) -> None:
        """``client`` need not be open yet.

        Raises:
            ConfigError: a template is malformed.
        """
        self._client = client
        self._clock = ctx.clock
        self._logger = ctx.logger
        self._access = _Request("oAuth.access", config.access)
        self._refresh: _Request | None = None
        if config.refresh is not None:
            self._refresh = _Request("oAuth.refresh", config.refresh)
        self._expire: Render = compile_template(str(config.access.expire))
        self._fields: dict[str, Any] | None = None
        self._due: int | None = None
        self._told = ""
        self._turn = anyio.Lock()

    async def fields(self) -> Mapping[str, Any]:
        """Return the fields; a token is refreshed when half of its time has passed.

        Raises:
            NotConnected: there is none to be had.
        """
        async with self._turn:
            if self._fields is None:
                self._take(await self._access.send(self._client, {}))
            elif self._due is not None and self._clock.now() >= self._due:
                await self._renew()
            assert self._fields is not None
            return self._fields

    async def replace(self, refused: Mapping[str, Any]) -> None:
        """Get other fields than those which a server has refused.

        Raises:
            NotConnected: there are none to be had.
        """
        async with self._turn:
            if self._fields is refused:  # nobody else has done it meanwhile
                await self._renew()

    async def _renew(self) -> None:
        if self._refresh is not None and self._fields is not None:
            try:
                self._take({**self._fields, **await self._refresh.send(self._client, self._fields)})
            except NotConnected as error:  # what was to be exchanged may be void itself
                self._tell(str(error))
            else:
                self._told = ""
                return
        self._take(await self._access.send(self._client, {}))

    def _tell(self, why: str) -> None:
        """Log once why nothing could be refreshed, however often that is tried."""
        if why != self._told:
            self._told = why
            self._logger.warning("%s; oAuth.access is asked for another token", why)

    def _take(self, fields: dict[str, Any]) -> None:
        try:
            text = self._expire(fields)
            seconds = float(text) if text else 0.0
        except (RowError, ValueError) as error:
            raise NotConnected(f"oAuth.access.expire: {error}") from None
        self._fields = fields
        self._due = self._clock.now() + int(seconds * 500) if 0 < seconds < inf else None
