"""Running rule files as a program: signals, limits, the account at the end."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from engine.engine import Engine
from engine.errors import ConfigError
from engine.run.guard import left_alone
from engine.run.rule import ResultLimit, Rule


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop, and how long stopping may take, in seconds."""

    seconds: float | None = None
    results: int | None = None
    drain: float = 10.0


async def run_rules(files: Sequence[Path], root: Path | None, limits: Limits) -> bool:
    """Run the rules of some files until told to stop; return whether any failed.

    Raises:
        EngineError: something in the files is wrong; nothing was started.
    """
    async with Engine(root, drain=limits.drain) as engine:
        found = engine.load(*files)
        for ignored in found.ignored:
            _say(f"warning: {ignored.at}: {ignored.warning}")
        wanted = [rule for rule in found.rules.values() if rule.triggered]
        if not wanted:
            names = ", ".join(map(str, files))
            raise ConfigError(f"{names}: no rule to run", hint="write at least one under 'rules:'")
        limit = ResultLimit(limits.results) if limits.results else None
        rules = await engine.start_all(wanted, limit=limit)
        gc.freeze()  # what is loaded by now stays; no use in looking at it again and again
        await _until_stopped(engine, rules, limits, limit)
    for rule in rules:
        print_account(rule)
    failed = any(rule.status.state.is_failure for rule in rules)
    if left_alone():  # asyncio would wait for them when it closes its loop
        _say("error: parts of plugins don't end; the process ends without them")
        os._exit(int(failed))
    return failed


async def _until_stopped(
    engine: Engine, rules: list[Rule], limits: Limits, limit: ResultLimit | None
) -> None:
    """Wait for the first reason to stop, then drain; a second signal ends the draining."""
    async with anyio.create_task_group() as tasks:
        stop = anyio.Event()
        tasks.start_soon(_watch_signals, engine, stop)
        tasks.start_soon(_watch_rules, rules, stop)
        if limits.seconds is not None:
            tasks.start_soon(_watch_time, limits.seconds, stop)
        if limit is not None:
            tasks.start_soon(_watch_limit, limit, stop)
        await stop.wait()
        await engine.stop_all()
        tasks.cancel_scope.cancel()


async def _watch_signals(engine: Engine, stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                await engine.stop_all(drain=0)
            stop.set()


async def _watch_rules(rules: list[Rule], stop: anyio.Event) -> None:
    for rule in rules:
        await rule.finished.wait()
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
    sys.stderr.write(f"{text}\n")
