"""One question to a server, filled in and asked as often as need be, and the rows of the reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from engine.api import Context, NotConnected, Row, RowError
from engine.http import BODY_TYPES, Client, Reply, Tokens
from engine.template import compile_template

from .options import HttppullConfig

_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_NAME = re.compile(r"\.([A-Za-z_]\w*)")
_as_text = compile_template("{{.value}}")


class Question:
    """The request that a configuration describes."""

    def __init__(self, config: HttppullConfig, ctx: Context) -> None:
        """Check and compile the parts.

        Raises:
            ConfigError: the address isn't one of HTTP, or a template is wrong.
        """
        config.check()
        parts = [config.address, config.body, *config.headers.values()]
        self.names = frozenset(
            name
            for part in parts
            for action in _ACTION.findall(part)
            for name in _NAME.findall(action)
        )
        """The names that the request depends on."""
        self._method = config.method.upper()
        self._url = compile_template(config.address)
        self._body = compile_template(config.body) if config.body else None
        self._headers = {name: compile_template(value) for name, value in config.headers.items()}
        body_type = config.body_type or ("none" if self._method == "GET" else "json")
        self._content_type = BODY_TYPES.get(body_type) if config.body else None
        self._is_told_in_body = config.response_type == "body"
        self._address = config.address
        self._client = Client(config, ctx, follows=True)
        self._tokens: Tokens | None = None
        if config.o_auth is not None:
            self._tokens = Tokens(config.o_auth, self._client, ctx)

    async def open(self) -> None:
        """Get ready.

        Raises:
            ConfigError: something about TLS is wrong.
        """
        await self._client.open()

    async def check(self) -> None:
        """Raise ``ConfigError`` if the server must not be asked."""
        await self._client.check(self._address)

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, values: Mapping[str, Any]) -> Reply:
        """Return the reply; ``values`` are for the templates.

        Raises:
            NotConnected: there is none, or the server has troubles that may pass.
            RowError: the values don't make a request, or the reply can't be read.
        """
        reply = await self._ask(values)
        if reply.is_passing:
            what = f"{reply.where}: {reply.status} {reply.reason}"
            raise NotConnected(what, kind=f"replied {reply.status}")
        return reply

    async def _ask(self, values: Mapping[str, Any]) -> Reply:
        if self._tokens is None:
            return await self._send(values)
        fields = await self._tokens.fields()
        reply = await self._send({**fields, **values})
        if reply.status == 401:
            await self._tokens.replace(fields)
            reply = await self._send({**await self._tokens.fields(), **values})
        return reply

    async def _send(self, values: Mapping[str, Any]) -> Reply:
        row = dict(values)
        headers = {name: render(row) for name, render in self._headers.items()}
        if self._content_type and "content-type" not in map(str.lower, headers):
            headers["Content-Type"] = self._content_type
        url = self._url(_quoted(row))
        body = self._body(row).encode() if self._body is not None else None
        return await self._client.send(self._method, url, headers=headers, content=body)

    def rows(self, reply: Reply) -> list[Row]:
        """Return the rows of a reply.

        Raises:
            RowError: it has none, or tells of a failure.
        """
        if not reply.is_success:
            what = f"replied {reply.status}"
            raise RowError(f"{reply.where} {what}", kind=what)
        found = reply.json()
        if self._is_told_in_body and found is not None:
            code = found.get("code") if isinstance(found, dict) else None
            if not isinstance(code, int) or not 200 <= code < 300:
                what = f"{reply.where}: the code in the reply is {code!r}"
                raise RowError(what, kind="the code in the reply is no success")
        rows = found if isinstance(found, list) else [] if found is None else [found]
        if not all(isinstance(row, dict) for row in rows):
            what = "the reply is neither an object nor a list of objects"
            raise RowError(f"{reply.where}: {what}", kind=what)
        return rows


def _quoted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are written in addresses; those within objects, too."""
    return {name: _quoted_value(value) for name, value in values.items()}


def _quoted_value(value: Any) -> Any:
    if isinstance(value, dict):
        return _quoted(value)
    return quote(_as_text({"value": value}), safe="")
