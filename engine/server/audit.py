"""A log of who changed what: one JSON object a line, never with a body or a secret."""

from __future__ import annotations

import logging
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)

_SIZE = 10_000_000
_OLDER = 5


class AuditLog:
    """The file ``audit.log``; where it can't be written, that is said and the work goes on."""

    def __init__(self, folder: Path | None) -> None:
        """``folder`` None: nothing is written."""
        self._handler: RotatingFileHandler | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = RotatingFileHandler(
                folder / "audit.log", maxBytes=_SIZE, backupCount=_OLDER, encoding="utf-8"
            )
        except OSError as error:
            logger.error("there is no audit log: %s", error)

    def note(self, who: str, address: str, method: str, path: str, status: int) -> None:
        """Write one line."""
        if self._handler is None:
            return
        line = msgspec.json.encode(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "who": who,
                "address": address,
                "method": method,
                "path": path[:500],
                "status": status,
            }
        ).decode()
        self._handler.emit(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Close the file."""
        if self._handler is not None:
            self._handler.close()
