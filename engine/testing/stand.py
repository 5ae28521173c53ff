"""A stand on which one plugin is tried out: contexts, time limits, and a look at what is left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from engine.api import CURRENT_USE, Config, Context, Use
from engine.blame import place_of
from engine.errors import ConfigError, EngineError, NotConnected
from engine.offspring import Tamed
from engine.plugin.files import plugin_name
from engine.registry import Plugin, PluginKind, PluginRegistry
from engine.run.context import PluginContext
from engine.run.resources import ResourcePool
from engine.state.scope import StateScope

T = TypeVar("T")
STEPS = (*range(12), 16, 24, 32, 64, 128)
"""After how many turns of the loop a plugin is stopped, to hit each of its ``await``."""
_BUDGET = 8.0
"""Seconds for stopping at all of those; a plugin that works in threads takes long for each."""


class ContractBroken(AssertionError):
    """A plugin doesn't keep the contract; the message lists all that is wrong."""

    def __init__(self, plugin: str, problems: Sequence[str]) -> None:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{plugin} breaks the contract of engine.api:\n{lines}")
        self.problems = tuple(problems)


class HastyClock:
    """Time that passes as soon as somebody waits for it, so that no plugin has to be waited for."""

    def __init__(self) -> None:
        self._now = time.time_ns() // 1_000_000

    def now(self) -> int:
        return self._now

    async def sleep_until(self, when: int) -> None:
        await anyio.sleep(0.001)
        self._now = max(self._now, when)


@dataclass
class Problems:
    """What is wrong, in the order in which it was found, each once."""

    found: list[str] = field(default_factory=list)

    def note(self, problem: str) -> None:
        if problem not in self.found:
            self.found.append(problem)


@dataclass(frozen=True)
class Trial:
    """One instance of the plugin, as a rule would use it."""

    instance: Any
    use: Use
    ctx: Context
    state: StateScope


class Stand:
    """Makes instances of one plugin and watches over them."""

    def __init__(
        self,
        kind: PluginKind,
        plugin: Any,
        root: Path | str,
        problems: Problems,
        *,
        seconds: float,
    ) -> None:
        """``plugin`` is the name of one that a rule with that root finds, or what a file exports.

        Raises:
            PluginError: it can't be used.
        """
        self.root = Path(root).resolve()
        self.problems = problems
        self.seconds = seconds
        self.plugin = _plugin(kind, plugin, PluginRegistry(self.root))
        self.clock = HastyClock()
        self._tasks: TaskGroup | None = None
        self._resources: ResourcePool | None = None
        self._trials = 0

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run checks in a loop of their own; raise what they have found."""
        threads = {*threading.enumerate()}
        asyncio.run(self._watched(work))
        if left := _left_threads(threads):
            self.problems.note(f"leaves threads behind: {', '.join(left)}")
        if self.problems.found:
            name = f"{self.plugin.kind.singular} {self.plugin.name}"
            raise ContractBroken(name, self.problems.found)

    async def _watched(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with anyio.create_task_group() as self._tasks:
            self._resources = ResourcePool(self._tasks)
            before = asyncio.all_tasks()
            await work()
            for _ in range(20):  # what was cancelled gets the time to end
                await asyncio.sleep(0)
            left = {_running(task) for task in asyncio.all_tasks() - before if not task.done()}
            if left:
                self.problems.note(f"leaves tasks behind: {', '.join(sorted(left))}")
            for task in asyncio.all_tasks() - before:
                task.cancel()
            self._tasks.cancel_scope.cancel()

    # -- trials --------------------------------------------------------------------------------

    def trial(self, config: Config, state: StateScope | None = None) -> Trial:
        """Return a new instance with a configuration, after asking it whether that can work.

        Raises:
            ConfigError: it can't.
        """
        instance = self.plugin.instance()
        ctx = self.context(state or StateScope())
        if not self.plugin.is_shared:
            instance.config, instance.ctx = config, ctx
        trial = Trial(instance, Use(config, ctx), ctx, ctx.state)
        CURRENT_USE.set(trial.use)
        instance.validate()
        return trial

    def context(self, state: StateScope) -> Context:
        """Return a context like that of a rule."""
        self._trials += 1
        # functions run outside of a loop and can't share anything
        resources = self._resources or ResourcePool(None)  # type: ignore[arg-type]
        return PluginContext(
            rule_id="check",
            op_id=f"{self.plugin.kind.singular}[{self.plugin.name}]",
            instance_id=self._trials,
            root_path=self.root,
            data_path=self.plugin.data_path,
            clock=self.clock,
            state=state,
            resources=resources,
            on_connection=lambda connected, message: None,
        )

    # -- within limits -------------------------------------------------------------------------

    async def within(self, what: str, work: Awaitable[T]) -> T | None:
        """Wait for something that the plugin does; note it if that fails or takes too long."""
        try:
            return await asyncio.wait_for(_tamed(work, what), self.seconds)
        except TimeoutError:
            self.problems.note(f"{what} takes longer than {self.seconds:g} s")
        except Exception as error:
            self.problems.note(f"{what} fails: {text_of(error)}")
        return None

    async def close(self, trial: Trial, when: str) -> None:
        """Close an instance, which must always work."""
        CURRENT_USE.set(trial.use)
        await self.within(f"close() {when}", trial.instance.close())

    async def stop_at_each_step(
        self, what: str, make: Callable[[], Trial], work: Callable[[Trial], Awaitable[Any]]
    ) -> None:
        """Cancel something after more and more steps, as a stopping rule does, and close then."""
        end = time.monotonic() + _BUDGET
        for steps in STEPS:
            trial = make()
            CURRENT_USE.set(trial.use)
            task = asyncio.ensure_future(_tamed(work(trial), what))
            for _ in range(steps):
                await asyncio.sleep(0)
            is_over = task.done()
            await self._cancel(task, f"{what}, stopped after {steps} steps,")
            await self.close(trial, f"after {what} was stopped")
            if is_over or time.monotonic() > end or self.problems.found:
                return

    async def _cancel(self, task: asyncio.Future[Any], what: str) -> None:
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=self.seconds)
        if not done:
            self.problems.note(f"{what} goes on: something swallows the cancellation")
            task.cancel()
            return
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, NotConnected):
            self.problems.note(f"{what} raises {text_of(error)}")

    # -- what all plugins have in common -------------------------------------------------------

    def check_apart(self, first: Any, second: Any) -> None:
        """Check that two instances don't share what belongs to one of them."""
        if self.plugin.is_shared or first is not second:
            return
        self.problems.note("two uses get the same instance, but the export isn't one")

    def check_wrong(
        self, wrong: Sequence[Mapping[str, Any]], configure: Callable[..., Any]
    ) -> None:
        """Check that wrong properties are refused before anything runs."""
        for properties in wrong:
            self._expect_refusal(properties, configure, f"the properties {dict(properties)}")

    def _expect_refusal(
        self, properties: Mapping[str, Any], configure: Callable[..., Any], what: str
    ) -> None:
        try:
            self.trial(configure(properties))
        except ConfigError:
            return
        except Exception as error:
            self.problems.note(f"{what} give {text_of(error)} instead of a ConfigError")
        else:
            self.problems.note(f"{what} aren't refused: raise ConfigError in validate()")

    def check_unknown(self, properties: Mapping[str, Any], configure: Callable[..., Any]) -> None:
        """Check that a property which the plugin doesn't know is refused."""
        given = {**properties, "noSuchProperty": 1}
        self._expect_refusal(given, configure, "properties that the plugin doesn't know")

    def check_state(self, trial: Trial) -> None:
        """Check that what was put into the state comes back after a restart."""
        restored = StateScope()
        try:
            restored.restore(trial.state.copied().encode())
        except EngineError as error:
            self.problems.note(f"its state can't be read again: {text_of(error)}")
            return
        for name, value in trial.state.values.items():
            if restored.values.get(name) != value:
                self.problems.note(
                    f"state {name!r} is {restored.values.get(name)!r} after a restart, not "
                    f"{value!r}: put a value again when it has changed in place"
                )


def _plugin(kind: PluginKind, plugin: Any, registry: PluginRegistry) -> Plugin:
    if isinstance(plugin, str):
        return registry.get(kind, plugin)
    made = plugin if isinstance(plugin, type) or hasattr(plugin, "__name__") else type(plugin)
    name = plugin_name(made.__name__.lstrip("_"))
    registry.register(kind, name, plugin)
    return registry.get(kind, name)


def _tamed(work: Awaitable[T], what: str) -> Awaitable[T]:
    """Make an error of the plugin of what would end the program, as the engine does."""
    return Tamed(work, what) if isinstance(work, Coroutine) else work


def _running(task: asyncio.Task[Any]) -> str:
    """Return the name that somebody gave to a task, else the function that it runs."""
    name = task.get_name()
    return getattr(task.get_coro(), "__qualname__", name) if name.startswith("Task-") else name


def text_of(error: BaseException) -> str:
    """Return an error for a list of problems, with the place in the plugin if it is known."""
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    place = place_of(error)
    return f"{text} at {place}" if place and place not in text else text


def _left_threads(before: set[threading.Thread]) -> list[str]:
    """Return the threads that don't end within a second; those of anyio wait for more work."""
    end = time.monotonic() + 1
    left: list[str] = []
    while time.monotonic() < end:
        left = [
            thread.name
            for thread in threading.enumerate()
            if thread not in before and not thread.name.startswith(("AnyIO worker", "asyncio_"))
        ]
        if not left:
            return []
        time.sleep(0.01)
    return left
