"""Code of plugins at arm's length: whatever it does, the engine and other rules go on.

It runs in a task of its own. One that doesn't end when it is cancelled is left alone, so that
nobody waits for it; what is no ordinary exception becomes one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio

from engine.blame import told
from engine.errors import NotConnected, PluginError
from engine.offspring import Offspring, Tamed, children_of, end_use

logger = logging.getLogger(__name__)

T = TypeVar("T")

GRACE = 5.0
"""Seconds that cancelled code has to end before it is left alone."""
_CLOSING = 5.0
"""Seconds that a plugin has to close."""

_END_OF_GENERATOR = "async_generator_athrow"
"""What asyncio runs in a task of its own for a generator that nobody has read to its end, such as
the body of a reply: nobody could wait for it."""
_left: set[asyncio.Task[Any]] = set()


def left_alone() -> int:
    """Return how many tasks go on although they were cancelled."""
    return len(_left)


async def guarded(
    work: Awaitable[T],
    what: str,
    *,
    seconds: float | None = None,
    started: Callable[[], None] | None = None,
) -> T:
    """Return what code of a plugin returns.

    ``what`` names it in messages; ``seconds`` is how long it may take, None: any time. ``started``
    is called when it has begun, up to where it first waits, unless it has failed by then.

    Raises:
        NotConnected: it takes too long.
        PluginError: it ends the program, or cancels itself.
        Exception: whatever it raises.
    """
    inner = work if isinstance(work, Coroutine) else _awaited(work)
    task: asyncio.Task[T] = asyncio.create_task(Tamed(inner, what), name=what)
    try:
        await asyncio.sleep(0)  # enough for what doesn't wait, and much cheaper
        if started is not None and not (task.done() and (task.cancelled() or task.exception())):
            started()
        if not task.done():
            await asyncio.wait({task}, timeout=seconds)
    except BaseException:
        await _end({task: what})
        raise
    if not task.done():
        await _end({task: what})
        raise NotConnected(f"{what} takes longer than {seconds:g} s")
    if task.cancelled():
        raise PluginError(f"{what} has cancelled itself", hint="return or raise an error instead")
    return task.result()


async def close_quietly(plugin: Any, name: str) -> None:
    """Close a plugin after a use of it, and end the tasks that it has started and left behind.

    What goes wrong is logged, for nothing depends on it any more.
    """
    try:
        with children_of(plugin):
            await guarded(plugin.close(), f"{name}: close()", seconds=_CLOSING)
    except Exception as error:
        logger.warning("%s: close failed: %s", name, told(error))
    offspring = end_use(plugin)
    if offspring is not None:
        await _end_all(offspring, name)


async def _end_all(offspring: Offspring, name: str) -> None:
    alive = {
        task: what
        for task, what in offspring.alive().items()
        if task not in _left and task is not asyncio.current_task()
    }
    # one that is being cancelled by the plugin itself only needs a moment
    forgotten = sorted(
        what for task, what in alive.items() if not task.cancelling() and what != _END_OF_GENERATOR
    )
    if forgotten:
        logger.warning(
            "%s has left %d of its tasks running, and they are cancelled: %s; end them in close()",
            name,
            len(forgotten),
            ", ".join(forgotten),
        )
    if alive:
        await _end({task: f"{name}: {what}" for task, what in alive.items()})


async def _awaited(work: Awaitable[T]) -> T:
    return await work


async def _end(tasks: dict[asyncio.Task[Any], str]) -> None:
    """Cancel tasks and wait until they have ended, but not forever."""
    with anyio.CancelScope(shield=True):
        for task in tasks:
            task.cancel()
        done, others = await asyncio.wait(tasks, timeout=GRACE)
    for task in done:
        if not task.cancelled():
            task.exception()  # nobody else asks for it, and Python would complain
    for task in others:
        logger.error("%s doesn't end although it was cancelled; it is left alone", tasks[task])
        _left.add(task)
        task.add_done_callback(_ended)


def _ended(task: asyncio.Task[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        task.exception()
