"""Tasks that the code of a plugin starts by itself: known, kept from doing harm, ended with it.

Which task belongs to which plugin is told by a context variable, which tasks inherit, and noted by
a task factory, as Python 3.11 has no other way to find out.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

from engine.blame import told
from engine.errors import PluginError

logger = logging.getLogger(__name__)

LONGEST_STEP = 0.5
"""Seconds that code of a plugin may run without waiting for anything."""


class Offspring:
    """The tasks of one plugin instance, over all its uses."""

    def __init__(self) -> None:
        self.uses = 0
        self._tasks: WeakKeyDictionary[Task[Any], str] = WeakKeyDictionary()

    def add(self, task: Task[Any], what: str) -> None:
        """Note a task; ``what`` is the function that it runs."""
        self._tasks[task] = what

    def alive(self) -> dict[Task[Any], str]:
        """Return the tasks that haven't ended, each with the function that it runs."""
        return {task: what for task, what in self._tasks.items() if not task.done()}


_OWNER: ContextVar[Offspring | None] = ContextVar("engine.offspring.owner", default=None)
_by_plugin: dict[int, Offspring] = {}
_watched: dict[AbstractEventLoop, int] = {}


def begin_use(plugin: object) -> None:
    """Note that a plugin is used; what belongs to it ends with its last use."""
    _by_plugin.setdefault(id(plugin), Offspring()).uses += 1


@contextmanager
def children_of(plugin: object | None) -> Iterator[None]:
    """What is started in here belongs to a plugin that is in use; None: to no plugin at all."""
    token = _OWNER.set(_by_plugin.get(id(plugin)))
    try:
        yield
    finally:
        _OWNER.reset(token)


def end_use(plugin: object) -> Offspring | None:
    """Return the tasks of a plugin that nobody uses any more; None if somebody still does."""
    known = _by_plugin.get(id(plugin))
    if known is None:
        return None
    known.uses -= 1
    if known.uses:
        return None
    del _by_plugin[id(plugin)]
    return known


@contextmanager
def watched_tasks() -> Iterator[None]:
    """Note the tasks of plugins in the running loop; its task factory is used by a new one."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    make = before if loop in _watched else _noting(before)
    loop.set_task_factory(make)
    _watched[loop] = _watched.get(loop, 0) + 1
    try:
        yield
    finally:
        _watched[loop] -= 1
        if not _watched[loop]:
            del _watched[loop]
            if loop.get_task_factory() is make:  # else somebody has put another one before it
                loop.set_task_factory(getattr(make, "before", None))


def _noting(before: Any) -> Any:
    """Return a task factory that notes what plugins start."""
    create: Callable[..., Any] = before or _plain

    def make(loop: AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        context: Context | None = options.get("context")
        owner = _OWNER.get() if context is None else context.get(_OWNER)
        if owner is None or not asyncio.iscoroutine(coroutine):
            return create(loop, coroutine, **options)
        what = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        if not isinstance(coroutine, Tamed):
            coroutine = Tamed(coroutine, what)
        task = create(loop, coroutine, **options)
        owner.add(task, what)
        return task

    make.before = before  # type: ignore[attr-defined]
    return make


def _plain(loop: AbstractEventLoop, coroutine: Any, **options: Any) -> Task[Any]:
    return Task(coroutine, loop=loop, **options)


class Tamed(Coroutine[Any, Any, Any]):
    """A coroutine in which what would end the loop is an error of the plugin.

    One that holds up the loop is told so, once.
    """

    def __init__(self, inner: Coroutine[Any, Any, Any], what: str) -> None:
        self._inner = inner
        self._what = what
        self._is_told = False
        self.__qualname__ = what

    def send(self, value: Any) -> Any:
        return self._go_on(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._go_on(self._inner.throw, *error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()

    def _go_on(self, step: Callable[..., Any], *args: Any) -> Any:
        started = perf_counter()
        try:
            return step(*args)
        except (Exception, asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise PluginError(
                f"{self._what}: {told(error)}", hint="a plugin must not end the program"
            ) from error
        finally:
            took = perf_counter() - started
            if took > LONGEST_STEP and not self._is_told:
                self._is_told = True
                logger.warning(
                    "%s has held up everything in the process for %.1f s: use await for what "
                    "waits, or a plain method and blocking = True for what takes long",
                    self._what,
                    took,
                )
