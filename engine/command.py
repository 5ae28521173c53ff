"""Running rule files as a program: signals, limits, the account at the end."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from engine.config.load import load
from engine.engine import Engine
from engine.errors import ConfigError, EngineError
from engine.parting import leave_tasks
from engine.run.caches import warn_of_strangers
from engine.run.rule import ResultLimit, Rule
from engine.watch import FileWatch


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop, and how long stopping may take, in seconds."""

    seconds: float | None = None
    results: int | None = None
    drain: float = 10.0


async def run_rules(
    files: Sequence[Path], root: Path | None, limits: Limits, *, watch: bool = False
) -> bool:
    """Run the rules of some files until told to stop; return whether any failed.

    SIGHUP makes them be read again, and ``watch`` does so whenever they change.

    Raises:
        EngineError: something in the files is wrong; nothing was started.
    """
    async with Engine(root, drain=limits.drain) as engine:
        found = load(files)
        for ignored in found.ignored:
            _say(f"warning: {ignored.at}: {ignored.warning}")
        if not any(rule.triggered for rule in found.rules.values()):
            names = ", ".join(map(str, files))
            raise ConfigError(f"{names}: no rule to run", hint="write at least one under 'rules:'")
        limit = ResultLimit(limits.results) if limits.results else None
        await engine.apply(found, limit=limit)
        await warn_of_strangers(engine.root, found.rules)
        gc.freeze()  # what is loaded by now stays; no use in looking at it again and again
        gc.enable()
        await _until_stopped(engine, files, limits, limit, watch=watch)
    rules = [rule for rule in engine.rules.values() if rule.parts is not None]
    for rule in rules:
        print_account(rule)
    failed = any(rule.status.state.is_failure for rule in rules)
    leave_tasks(int(failed))
    return failed


async def _until_stopped(
    engine: Engine,
    files: Sequence[Path],
    limits: Limits,
    limit: ResultLimit | None,
    *,
    watch: bool,
) -> None:
    """Wait for the first reason to stop, then drain; a second signal ends the draining."""
    async with anyio.create_task_group() as tasks:
        stop = anyio.Event()
        reloads = _Reloads(engine, files, limit)
        reloading = anyio.CancelScope()
        tasks.start_soon(reloads.run, reloading)
        tasks.start_soon(_watch_signals, engine, stop, reloads.ask)
        if watch:
            etc = engine.root / "etc"
            folders = [etc / "sources", etc / "sinks", etc / "connections"]
            tasks.start_soon(FileWatch([*files, *folders], engine.clock).run, reloads.ask)
        else:
            tasks.start_soon(_watch_rules, engine, stop)
        if limits.seconds is not None:
            tasks.start_soon(_watch_time, limits.seconds, stop)
        if limit is not None:
            tasks.start_soon(_watch_limit, limit, stop)
        await stop.wait()
        reloading.cancel()
        await engine.stop_all()
        tasks.cancel_scope.cancel()


class _Reloads:
    """Applies the rule files again when asked to; a bad file changes nothing and says why."""

    def __init__(self, engine: Engine, files: Sequence[Path], limit: ResultLimit | None) -> None:
        self._engine = engine
        self._files = files
        self._limit = limit
        self._asked = anyio.Event()

    def ask(self) -> None:
        """Have the files applied, once more if that is being done already."""
        self._asked.set()

    async def run(self, scope: anyio.CancelScope) -> None:
        """Apply them whenever asked, until the scope is cancelled."""
        with scope:
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                await self._reload()

    async def _reload(self) -> None:
        try:
            changes = await self._engine.apply(load(self._files), limit=self._limit)
        except EngineError as error:
            _say(f"not reloaded, all goes on as before: {error}")
            return
        _say(f"reloaded: {changes}")
        gc.unfreeze()  # what was replaced is garbage now
        gc.collect()
        gc.freeze()


async def _watch_signals(engine: Engine, stop: anyio.Event, reload: Callable[[], None]) -> None:
    had_terminal = _has_terminal()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for number in signals:
            # a terminal that was closed sends the same signal as somebody who wants a reload
            if number == signal.SIGHUP and (_has_terminal() or not had_terminal):
                reload()
            elif stop.is_set():
                await engine.stop_all(drain=0)
            else:
                stop.set()


def _has_terminal() -> bool:
    """Tell whether there is a terminal that this process belongs to."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDWR))
    except OSError:
        return False
    return True


async def _watch_rules(engine: Engine, stop: anyio.Event) -> None:
    await engine.quiet()
    stop.set()


async def _watch_time(seconds: float, stop: anyio.Event) -> None:
    await anyio.sleep(seconds)
    stop.set()


async def _watch_limit(limit: ResultLimit, stop: anyio.Event) -> None:
    await limit.reached.wait()
    stop.set()


def print_account(rule: Rule) -> None:
    """Print where the rows of a rule went."""
    metrics = rule.metrics
    balance = metrics.balance()
    _say(f"rule {rule.id}: {balance}")
    for (place, reason), count in [*metrics.dropped.items(), *metrics.errors.items()]:
        _say(f"  {count} rows at {place}: {reason}")
    if not balance.holds:
        _say("  the account does not balance; please report this")
    if rule.status.state.is_failure:
        _say(f"  failed: {rule.status.message}")
    elif metrics.last_error:
        _say(f"  last error: {metrics.last_error}")


def _say(text: str) -> None:
    with suppress(OSError):  # a terminal that was closed
        sys.stderr.write(f"{text}\n")
