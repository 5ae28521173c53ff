"""Addresses of HTTP: which of them can't be asked, whatever the network is like."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SECRET = re.compile(r"(?<=://)[^/?#]*@")
_BEHIND_HOST = re.compile(r"[/?#]")
_PORTS = range(1, 65_536)


def flaw_of_address(url: str) -> str:
    """Return why an address can't be asked, or an empty text.

    It may be a template: then only what comes before the first ``{{`` is looked at.
    """
    if not url.startswith(("http://", "https://")):
        return "it must begin with http:// or https://"
    fixed, is_template, _ = url.partition("{{")
    scheme, _, rest = fixed.partition("://")
    authority = _BEHIND_HOST.split(rest, maxsplit=1)[0]
    if any(character < " " or character == "\x7f" for character in fixed):
        return "it holds a control character"
    if is_template and authority == rest:
        return ""  # host and port are to be computed
    try:
        parts = urlsplit(f"{scheme}://{authority}")
    except ValueError:
        return "its host is malformed"
    if not parts.hostname:
        return "it names no host"
    try:
        port = parts.port
    except ValueError:
        port = 0
    return "" if port is None or port in _PORTS else "its port must be from 1 to 65535"


def shown_address(url: str) -> str:
    """Return an address without what may be secret in it."""
    return _SECRET.sub("", url.partition("?")[0])
