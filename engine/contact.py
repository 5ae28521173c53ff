"""Whether what a source or sink speaks to can be reached: told once whenever that changes."""

from __future__ import annotations

from logging import Logger

from engine.api import Context


class Contact:
    """What a rule hears, and the log says, of a connection that is lost and comes back."""

    __slots__ = ("_ctx", "_logger", "_name", "_told", "is_lost")

    def __init__(self, name: str, ctx: Context, logger: Logger, told: str) -> None:
        """``told`` is what the log says of a loss, between the name and the reason."""
        self._name = name
        self._ctx = ctx
        self._logger = logger
        self._told = told
        self.is_lost = False

    def lose(self, message: str) -> None:
        """Note that it can't be reached, and why."""
        if not self.is_lost:
            reason = message.removeprefix(f"{self._name}: ")
            self._logger.warning("%s: %s: %s", self._name, self._told, reason)
        self.is_lost = True
        self._ctx.report_connection(False, message)

    def regain(self) -> None:
        """Note that it has just been reached."""
        if self.is_lost:
            self.is_lost = False
            self._logger.info("%s: connected again", self._name)
            self._ctx.report_connection(True)
