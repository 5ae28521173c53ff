"""Getting the zip file of a package: from a path, or over http(s) within time and size limits."""

from __future__ import annotations

import base64
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from engine.errors import PluginError

_CHUNK = 1 << 16


class FetchLimits(NamedTuple):
    """How long fetching may take, in seconds, and how many bytes may come."""

    silence: float = 15.0
    """Without anything from the other side."""
    total: float = 300.0
    size: int = 256 << 20


FETCH_LIMITS = FetchLimits()


class Fetched(NamedTuple):
    """A copy of a zip file that nobody else changes."""

    path: Path
    sha256: str
    source: str
    """Where it came from, without passwords."""


def fetch(
    place: str, folder: Path, *, sha256: str = "", limits: FetchLimits = FETCH_LIMITS
) -> Fetched:
    """Copy the zip at ``place``, a path or an http(s) or file URL, into ``folder``.

    Raises:
        PluginError: it can't be had within the limits, or isn't what ``sha256`` says.
    """
    scheme = urlsplit(place).scheme.lower() if "://" in place else ""
    if scheme in ("http", "https"):
        source, chunks = _without_password(place), _download(place, limits)
    elif scheme in ("", "file"):
        path = Path(unquote(urlsplit(place).path)) if scheme else Path(place)
        source, chunks = str(path.absolute()), _read(path)
    else:
        raise PluginError(
            f"{place}: packages come from a path or an http(s) URL, not from {scheme}"
        )
    target = folder / (Path(urlsplit(source).path).name or "package.zip")
    with closing(chunks):
        digest = _copy(chunks, target, source, limits)
    if sha256 and digest != sha256.lower().removeprefix("sha256:"):
        raise PluginError(
            f"{source}: its SHA-256 is {digest}, not {sha256.lower()}",
            hint="it isn't the file that was meant; get it, or the checksum, again",
        )
    return Fetched(target, digest, source)


def _copy(chunks: Iterator[bytes], target: Path, source: str, limits: FetchLimits) -> str:
    """Write the chunks to a file; return the SHA-256 of them all."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > limits.size:
                raise PluginError(f"{source}: more than {limits.size:,} bytes")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _read(path: Path) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.read(_CHUNK), b"")
    except OSError as error:
        raise PluginError(f"{path}: can't be read: {error.strerror or error}") from error


class _OnlyHttp(urllib.request.HTTPRedirectHandler):
    """Follows redirections to http(s), and to nothing else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if urlsplit(newurl).scheme.lower() not in ("http", "https"):
            fp.close()
            raise PluginError(f"{_without_password(req.full_url)}: leads to {newurl[:100]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, limits: FetchLimits) -> Generator[bytes, None, None]:
    shown = _without_password(url)
    end = time.monotonic() + limits.total
    opener = urllib.request.build_opener(_OnlyHttp)
    request = _request(url)
    try:
        with opener.open(request, timeout=limits.silence) as answer:
            wanted = answer.headers.get("Content-Length")
            if wanted is not None and wanted.isdecimal() and int(wanted) > limits.size:
                raise PluginError(f"{shown}: {int(wanted):,} bytes, more than {limits.size:,}")
            size = 0
            for chunk in _until(end, lambda: answer.read1(_CHUNK), shown, limits):
                size += len(chunk)
                yield chunk
            if wanted is not None and wanted.isdecimal() and size < int(wanted):
                raise PluginError(f"{shown}: the connection broke after {size:,} of {wanted} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        raise PluginError(f"{shown}: the server answers {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise PluginError(f"{shown}: nothing came for {limits.silence:g} s") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise PluginError(f"{shown}: {reason}", hint="check the URL and the network") from error


def _request(url: str) -> urllib.request.Request:
    """Return the request for a URL; user and password go to that server, and to no other."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(
        urlunsplit(parts._replace(netloc=host, fragment="")), headers={"User-Agent": "headrace"}
    )
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _until(
    end: float, read: Callable[[], bytes], shown: str, limits: FetchLimits
) -> Iterator[bytes]:
    """Yield what is read until nothing more comes; a server that trickles has an end, too."""
    while chunk := read():
        if time.monotonic() > end:
            raise PluginError(f"{shown}: took longer than {limits.total:g} s")
        yield chunk


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
