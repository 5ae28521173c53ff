"""Calling a service over REST, with connections that are kept."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import ConfigError, RowError
from engine.services.description import InterfaceDef

if TYPE_CHECKING:
    import httpx

_LONGEST = 16 << 20  # bytes of an answer


class RestClient:
    """Calls one interface; calls come from the threads of rules, several at once."""

    def __init__(self, interface: InterfaceDef) -> None:
        """Make ready; connections are opened by calls.

        Raises:
            ConfigError: the library for HTTP isn't installed.
        """
        try:
            import httpx
        except ImportError:
            raise ConfigError("services need httpx", hint="pip install 'headrace[http]'") from None
        self._httpx = httpx
        self._address = interface.address.rstrip("/")
        self._options = interface.options
        self._client: httpx.Client | None = None
        self._opening = threading.Lock()

    def call(self, method: str, path: str, body: Any = msgspec.UNSET) -> Any:
        """Return what the service answers, decoded by its content type.

        Raises:
            RowError: nobody answers, or it is an error, or can't be understood.
        """
        url = f"{self._address}/{path.lstrip('/')}"
        content = None if body is msgspec.UNSET else msgspec.json.encode(body)
        headers = {"content-type": "application/json", **self._options.headers}
        tries = max(1, self._options.retry_count)
        for left in reversed(range(tries)):
            try:
                return self._sent(method, url, content, headers)
            except self._httpx.TransportError as error:
                if not left:
                    what = f"{url}: {str(error) or type(error).__name__}"
                    raise RowError(what, kind="no answer of the service") from None
                time.sleep(self._options.retry_interval)
            except (self._httpx.InvalidURL, UnicodeError) as error:
                what = f"{url[:100]}: {error}"
                raise RowError(what, kind="no address of a service") from None
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        with self._opening:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _sent(self, method: str, url: str, content: bytes | None, headers: dict[str, str]) -> Any:
        with self._opened().stream(method, url, content=content, headers=headers) as answer:
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > _LONGEST:
                    what = f"{url}: the answer is longer than {_LONGEST >> 20} MiB"
                    raise RowError(what, kind="the answer of the service is too long")
            if not answer.is_success:
                said = bytes(data[:200]).decode(errors="replace")
                what = f"answered {answer.status_code}"
                raise RowError(f"{url} {what}: {said}", kind=f"the service {what}")
            return _decoded(bytes(data), answer.headers.get("content-type", ""), url)

    def _opened(self) -> httpx.Client:
        with self._opening:
            if self._client is None:
                self._client = self._httpx.Client(
                    verify=not self._options.insecure_skip_verify,
                    timeout=self._options.timeout,
                    trust_env=False,
                )
            return self._client


def _decoded(data: bytes, content_type: str, url: str) -> Any:
    kind = content_type.partition(";")[0].strip().lower()
    if not data:
        return None
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return msgspec.json.decode(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            what = f"{url}: the answer is no JSON: {error}"
            raise RowError(what, kind="the answer of the service is no JSON") from None
    if kind == "text/plain":
        return data.decode(errors="replace")
    what = f"{url}: the answer is {kind or 'of no type'}, neither JSON nor plain text"
    raise RowError(what, kind="the answer of the service has a wrong type")
