"""What an action says about the requests that it makes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from engine.api import ConfigError, Template
from engine.http import BodyType, HttpConfig, check_address
from engine.template import is_template

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"})
TYPE_OF_FORMAT = {"json": "json", "urlencoded": "form", "delimited": "text", "binary": "binary"}
"""The type of a body by the format of the message."""


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
        if not is_template(self.method) and self.method.upper() not in METHODS:
            raise ConfigError(
                f"method {str(self.method)!r} is unknown",
                hint=f"one of {', '.join(sorted(METHODS))}",
            )
        if self.body_type == "formdata" and not (self.file_field_name or self.form_data):
            raise ConfigError(
                "bodyType formdata has no fields",
                hint="fileFieldName names the one for the message, formData gives others",
            )
        usual = TYPE_OF_FORMAT.get(self.format.lower(), self.format)
        is_odd = self.body_type in ("form", "json") and self.body_type != usual
        if is_odd and not self.data_template:
            wanted = "urlencoded" if self.body_type == "form" else "json"
            raise ConfigError(
                f"bodyType {self.body_type} is for format {wanted}", hint=f"add format: {wanted}"
            )
