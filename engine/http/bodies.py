"""Kinds of bodies, and the Content-Type that each goes by."""

from __future__ import annotations

from typing import Literal

BodyType = Literal[
    "", "none", "text", "json", "html", "xml", "javascript", "form", "binary", "formdata"
]
BODY_TYPES = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "xml": "application/xml",
    "javascript": "application/javascript",
    "form": "application/x-www-form-urlencoded",
    "binary": "application/octet-stream",
}
"""``formdata`` has a boundary in it, and ``none`` has no body."""
