"""Errors as clients see them: a status, eKuiper's code, a text that says what to do."""

from __future__ import annotations

from http import HTTPStatus

from engine.errors import ConfigError, EngineError, NotConnected, PluginError, SqlError
from engine.state.errors import StoreFailed

UNDEFINED, GENERAL, NOT_FOUND, IO, ENCODING = 1000, 1001, 1002, 1003, 1004
SQL, PLAN, EXECUTOR, STREAM, RULE, CONFIG_KEY = 2001, 2101, 2201, 3000, 4000, 5000


class Problem(EngineError):
    """A request that can't be fulfilled; ``code`` is eKuiper's (specification, section 8.1)."""

    def __init__(
        self,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        code: int = GENERAL,
        hint: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = int(status)
        self.code = code
        self.headers = headers or {}


def missing(what: str, hint: str = "") -> Problem:
    """Return the problem of something that isn't there."""
    return Problem(f"{what} is not found", status=HTTPStatus.NOT_FOUND, code=NOT_FOUND, hint=hint)


def conflict(message: str, hint: str = "") -> Problem:
    """Return the problem of a definition that stands in the way."""
    return Problem(message, status=HTTPStatus.BAD_REQUEST, code=GENERAL, hint=hint)


def problem_of(error: EngineError, code: int = GENERAL) -> Problem:
    """Return an error as a problem; ``code`` is for those without one of their own."""
    if isinstance(error, Problem):
        return error
    status = HTTPStatus.BAD_REQUEST
    if isinstance(error, SqlError):
        code = SQL
    elif isinstance(error, NotConnected):
        code = IO
    elif isinstance(error, StoreFailed):
        code, status = IO, HTTPStatus.INSUFFICIENT_STORAGE
    elif isinstance(error, PluginError):
        code = PLAN
    elif isinstance(error, ConfigError) and error.message.startswith("unknown stream"):
        code = STREAM
    return Problem(str(error), status=status, code=code)
