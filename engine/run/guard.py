"""Code of plugins at arm's length: whatever it does, the engine and other rules go on.

It runs in a task of its own. One that doesn't end when it is cancelled is left alone, so that
nobody waits for it; what is no ordinary exception becomes one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

import anyio

from engine.errors import NotConnected, PluginError

logger = logging.getLogger(__name__)

T = TypeVar("T")

GRACE = 5.0
"""Seconds that cancelled code has to end before it is left alone."""

_left: set[asyncio.Task[Any]] = set()


def left_alone() -> int:
    """Return how many tasks go on although they were cancelled."""
    return len(_left)


async def guarded(work: Awaitable[T], what: str, *, seconds: float | None = None) -> T:
    """Return what code of a plugin returns.

    ``what`` names it in messages; ``seconds`` is how long it may take, None: any time.

    Raises:
        NotConnected: it takes too long.
        PluginError: it ends the program, or cancels itself.
        Exception: whatever it raises.
    """
    task = asyncio.ensure_future(_tamed(work, what))
    task.set_name(what)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except BaseException:
        await _end(task, what)
        raise
    if not done:
        await _end(task, what)
        raise NotConnected(f"{what} takes longer than {seconds:g} s")
    if task.cancelled():
        raise PluginError(f"{what} has cancelled itself", hint="return or raise an error instead")
    return task.result()


async def _tamed(work: Awaitable[T], what: str) -> T:
    """Turn what would end the loop or the task group into an error of the plugin."""
    try:
        return await work
    except (Exception, asyncio.CancelledError, KeyboardInterrupt):
        raise
    except BaseException as error:
        name = type(error).__name__
        raise PluginError(
            f"{what}: {name}: {error}".rstrip(": "), hint="a plugin must not end the program"
        ) from error


async def _end(task: asyncio.Task[Any], what: str) -> None:
    """Cancel a task and wait until it has ended, but not forever."""
    with anyio.CancelScope(shield=True):
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=GRACE)
    if done:
        if not task.cancelled():
            task.exception()  # nobody else asks for it, and Python would complain
        return
    logger.error("%s doesn't end although it was cancelled; it is left alone", what)
    _left.add(task)
    task.add_done_callback(_ended)


def _ended(task: asyncio.Task[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        task.exception()
