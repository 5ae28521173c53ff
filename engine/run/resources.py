"""Resources that several plugins share, such as one connection to a broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from engine.offspring import children_of

T = TypeVar("T")


class _Resource:
    """A resource and the task that entered it, which is the one that must leave it."""

    def __init__(self) -> None:
        self.users = 0
        self.value: Any = None
        self.error: BaseException | None = None
        self.ready = anyio.Event()
        self.released = anyio.Event()
        self.gone = anyio.Event()


class ResourcePool:
    """Resources by key, each made by its first user and closed after its last."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._resources: dict[Hashable, _Resource] = {}

    @asynccontextmanager
    async def use(
        self, key: Hashable, make: Callable[[], AbstractAsyncContextManager[T]]
    ) -> AsyncIterator[T]:
        """Yield the resource of ``key``; an error of making it is raised for every user."""
        resource = self._resources.get(key)
        if resource is None:
            resource = self._resources[key] = _Resource()
            with children_of(None):  # not of the plugin that happens to ask first
                self._tasks.start_soon(self._hold, resource, make, name=f"resource[{key!r}]"[:80])
        resource.users += 1
        try:
            await resource.ready.wait()
            if resource.error is not None:
                raise resource.error
            yield cast("T", resource.value)
        finally:
            resource.users -= 1
            if resource.users == 0:
                if self._resources.get(key) is resource:
                    del self._resources[key]
                resource.released.set()
                with anyio.CancelScope(shield=True):
                    await resource.gone.wait()

    async def _hold(
        self, resource: _Resource, make: Callable[[], AbstractAsyncContextManager[Any]]
    ) -> None:
        try:
            with anyio.CancelScope(shield=True):
                async with make() as resource.value:
                    resource.ready.set()
                    await resource.released.wait()
        except Exception as error:
            resource.error = error
        finally:
            resource.ready.set()
            resource.gone.set()
