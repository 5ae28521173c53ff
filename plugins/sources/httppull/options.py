"""What a stream or lookup table says about the server that it asks."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.api import ConfigError, Duration
from engine.http import BodyType, HttpConfig, check_address


class HttppullConfig(HttpConfig):
    """``{{.name}}`` in url, body and headers is replaced, in the url percent-encoded.

    For a lookup table the names are columns, and stand for the values that the join compares them
    with; for a stream they are those of ``states``. Fields of the reply to ``oAuth`` are there in
    both.
    """

    url: str = "http://localhost"
    datasource: str = ""
    """Appended to the url."""
    method: Literal["GET", "POST", "PUT", "DELETE", "get", "post", "put", "delete"] = "GET"
    body: str = ""
    body_type: BodyType = ""
    """Tells the Content-Type; ``json`` unless the method is GET."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    interval: Duration = Duration(10)
    """Of a stream: the server is asked so often. A lookup table asks when a row needs it."""
    incremental: bool = False
    """Of a stream: a reply that is the same as the last one gives no rows."""
    states: dict[str, Any] = msgspec.field(default_factory=dict)
    """Of a stream: values to begin with; each reply replaces those that it has a field of."""

    @property
    def address(self) -> str:
        """The whole address."""
        return self.url + self.datasource

    def check(self) -> None:
        """Raise ``ConfigError`` for what can't be asked."""
        super().check()
        check_address("url", self.address)
        if self.body_type == "formdata":
            raise ConfigError("bodyType formdata is for sinks", hint="choose form or json")
