"""Logs of single rules: a level of their own (``debug``), a file of their own (``logFilename``)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path

from engine.config.rule import RuleDef, RuleOptions
from engine.errors import ConfigError

CURRENT_RULE: ContextVar[str] = ContextVar("CURRENT_RULE", default="")
"""The rule whose task this is, "" for what belongs to none."""

_ENGINE = logging.getLogger("engine")
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
_SIZE = 10_000_000  # bytes of a file before the next one is begun
_OLDER = 3  # files that are kept beside the newest


class _Levels:
    """Levels of single rules, on top of the one that the engine's logger has.

    While some rule wants more than the others, the logger lets everything through and the handlers
    of the process sort it out. Loggers are of the process, hence so is this.
    """

    def __init__(self) -> None:
        self._levels: dict[str, int] = {}
        self._own = logging.NOTSET
        self._usual = logging.NOTSET
        self._gated: list[logging.Handler] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the rule that is at work wants a record."""
        if not self._levels or not record.name.startswith("engine"):
            return True
        return record.levelno >= self._levels.get(CURRENT_RULE.get(), self._usual)

    @contextmanager
    def of(self, rule_id: str, *, debug: bool) -> Iterator[None]:
        """Give a rule a level for as long as it runs."""
        if not self._levels:
            self._own, self._usual = _ENGINE.level, _ENGINE.getEffectiveLevel()
            self._gated = [*logging.getLogger().handlers, *_ENGINE.handlers]
            for handler in self._gated:
                handler.addFilter(self)
        level = logging.DEBUG if debug else max(logging.INFO, self._usual)
        self._levels[rule_id] = level
        self._apply()
        try:
            yield
        finally:
            self._levels.pop(rule_id, None)
            self._apply()

    def _apply(self) -> None:
        if self._levels:
            _ENGINE.setLevel(min(self._usual, *self._levels.values()))
            return
        _ENGINE.setLevel(self._own)
        for handler in self._gated:
            handler.removeFilter(self)
        self._gated = []


_LEVELS = _Levels()


class _File:
    """A log file and the rules that write into it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rules: list[str] = []
        self._handler = RotatingFileHandler(
            path, maxBytes=_SIZE, backupCount=_OLDER, encoding="utf-8", delay=True
        )
        self._handler.setFormatter(logging.Formatter(_FORMAT))
        self._handler.addFilter(self)
        _ENGINE.addHandler(self._handler)

    def filter(self, record: logging.LogRecord) -> bool:
        return CURRENT_RULE.get() in self.rules and _LEVELS.filter(record)

    def close(self) -> None:
        _ENGINE.removeHandler(self._handler)
        self._handler.close()


class RuleLogs:
    """The log files of an engine's rules, in one folder.

    What a rule logs goes into its file and, as always, to the engine's log. Files are rotated at
    10 MB; three older ones are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}

    def of(self, definition: RuleDef) -> AbstractContextManager[None]:
        """Let everything that is logged in here, and in tasks begun in here, be the rule's."""
        CURRENT_RULE.set(definition.id)
        options = definition.options
        if options.debug is None and not options.log_filename:
            return nullcontext()
        return self._own(definition.id, options)

    @contextmanager
    def _own(self, rule_id: str, options: RuleOptions) -> Iterator[None]:
        with ExitStack() as stack:
            if options.debug is not None:
                stack.enter_context(_LEVELS.of(rule_id, debug=options.debug))
            if options.log_filename:
                stack.enter_context(self._writing(rule_id, options.log_filename))
            yield

    @contextmanager
    def _writing(self, rule_id: str, name: str) -> Iterator[None]:
        try:
            file = self._files.get(name) or _File(self._folder / name)
        except OSError as error:
            _ENGINE.error("rule=%s has no log file %s: %s", rule_id, name, error.strerror)
            yield
            return
        self._files[name] = file
        file.rules.append(rule_id)
        try:
            yield
        finally:
            file.rules.remove(rule_id)
            if not file.rules:
                del self._files[name]
                file.close()


def check_log_file(definition: RuleDef) -> None:
    """Check the name of a rule's log file.

    Raises:
        ConfigError: it is more than a name.
    """
    name = definition.options.log_filename
    if name and (name != Path(name).name or name == ".." or "\\" in name or "\0" in name):
        raise ConfigError(
            f"rule {definition.id}: logFilename: {name!r} is more than the name of a file",
            at=definition.where.below("options").of("logFilename") or definition.at,
            hint="rule logs are in the folder log/ below the root",
        )
