"""Trial runs: a query on made-up rows, its results shown to whoever asked, nothing else touched."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup

from engine.api import Batch, Config, Sink
from engine.catalog import Stream
from engine.config.rules import rule_from
from engine.engine import Engine
from engine.errors import EngineError
from engine.registry import PluginKind
from engine.server.feed import Feed
from engine.server.names import checked_name
from engine.server.problems import STREAM, Problem, missing
from engine.server.queries import streams_of
from engine.server.sandbox import sandbox

SINK = "ruletest"
"""The sink of trial runs, which lists of plugins leave out."""
_SECONDS = 600.0
_MOST = 20


class MockSource(msgspec.Struct, frozen=True):
    """Rows that stand in for those of a stream; ``interval`` is in milliseconds."""

    data: list[dict[str, Any]]
    interval: int = 1000
    loop: bool = False


class TrialDef(msgspec.Struct, frozen=True, rename="camel"):
    """A trial run as clients ask for it."""

    sql: str
    id: str = ""
    mock_source: dict[str, MockSource] = {}
    sink_props: dict[str, Any] = {}
    options: dict[str, Any] = {}


@dataclass(slots=True)
class _Trial:
    definition: dict[str, Any]
    engine: Engine
    feed: Feed = field(default_factory=Feed)
    started: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class _TrialConfig(Config):
    trial: str


class Trials:
    """The trial runs of a server; each has an engine of its own and ends after ten minutes."""

    def __init__(self, engine: Engine, tasks: TaskGroup) -> None:
        self._engine = engine
        self._tasks = tasks
        self._trials: dict[str, _Trial] = {}
        self._numbers = itertools.count(1)
        engine.plugins.register(PluginKind.SINK, SINK, _sink(self._publish))

    async def create(self, asked: TrialDef) -> str:
        """Prepare a trial run and return its id; one of that id gives way.

        Raises:
            EngineError: the query can't be run.
        """
        trial_id = checked_name(asked.id or f"trial_{next(self._numbers)}", "id of a trial run")
        made = sandbox(self._engine)
        self._mock(made, asked)
        definition = {
            "id": trial_id,
            "sql": asked.sql,
            "actions": [{SINK: {"sendSingle": True, **asked.sink_props, "trial": trial_id}}],
            "options": {**asked.options, "sendError": True, "qos": 0},
            "temp": True,
        }
        rule_from(definition)
        self.delete(trial_id)
        if len(self._trials) >= _MOST:
            raise Problem(f"{_MOST} trial runs are going on", hint="end one of them first")
        trial = _Trial(definition, made)
        ready = anyio.Event()
        failure: list[EngineError] = []
        self._trials[trial_id] = trial
        self._tasks.start_soon(self._run, trial, ready, failure, name=f"trial[{trial_id}]")
        await ready.wait()
        if failure:
            raise failure[0]
        return trial_id

    async def start(self, trial_id: str) -> None:
        """Let a trial run begin; its results come to those who watch.

        Raises:
            Problem: there is none.
        """
        self._get(trial_id).started.set()

    def delete(self, trial_id: str) -> None:
        """End a trial run, if there is one."""
        trial = self._trials.pop(trial_id, None)
        if trial is not None:
            trial.ended.cancel()

    def feed(self, trial_id: str) -> Feed:
        """Return the results of a trial run.

        Raises:
            Problem: there is none.
        """
        return self._get(trial_id).feed

    def end(self) -> None:
        """End all of them."""
        for trial_id in list(self._trials):
            self.delete(trial_id)

    async def _run(self, trial: _Trial, ready: anyio.Event, failure: list[EngineError]) -> None:
        trial_id = trial.definition["id"]
        try:
            with trial.ended, anyio.move_on_after(_SECONDS):
                async with trial.engine as engine:
                    try:
                        engine.check(trial.definition)
                    except EngineError as error:
                        failure.append(error)
                        return
                    finally:
                        ready.set()
                    await trial.started.wait()
                    await self._show(trial, engine)
                    await anyio.sleep_forever()  # results are kept until somebody ends it
        finally:
            ready.set()
            trial.feed.end()
            if self._trials.get(trial_id) is trial:
                del self._trials[trial_id]

    async def _show(self, trial: _Trial, engine: Engine) -> None:
        try:
            rule = await engine.start(trial.definition)
        except EngineError as error:
            trial.feed.publish(msgspec.json.encode({"error": str(error)}))
            return
        await rule.finished.wait()
        if rule.status.state.is_failure:
            trial.feed.publish(msgspec.json.encode({"error": rule.status.message}))

    def _mock(self, made: Engine, asked: TrialDef) -> None:
        for name, mock in asked.mock_source.items():
            if name not in made.catalog:
                raise Problem(f"stream {name} is not found", code=STREAM)
            made.catalog.add(_mocked(made.catalog[name], mock), replace=True)
        for name in streams_of(asked.sql) - asked.mock_source.keys():
            if name in made.catalog and made.catalog[name].source_type == "memory":
                raise Problem(
                    f"{name} is a memory stream, which a trial run can't read",
                    code=STREAM,
                    hint="give rows for it in mockSource",
                )

    def _publish(self, trial_id: str, payload: bytes) -> None:
        trial = self._trials.get(trial_id)
        if trial is not None:
            trial.feed.publish(payload)

    def _get(self, trial_id: str) -> _Trial:
        if trial_id not in self._trials:
            raise missing(f"trial run {trial_id}")
        return self._trials[trial_id]


def _mocked(stream: Stream, mock: MockSource) -> Stream:
    """Return a stream with the same columns that a simulator feeds."""
    options = msgspec.structs.replace(
        stream.options, type="simulator", extra={}, conf_key="default", shared=False, format="json"
    )
    return dataclasses.replace(
        stream,
        options=options,
        properties={
            "data": mock.data,
            "interval": max(1, mock.interval) if mock.loop else mock.interval,
            "loop": mock.loop,
        },
    )


def _sink(publish: Callable[[str, bytes], None]) -> type[Sink[Any]]:
    class TrialSink(Sink[_TrialConfig]):
        takes_payloads = True

        async def collect(self, batch: Batch) -> None:
            for payload in batch.payloads or ():
                publish(self.config.trial, bytes(payload))

    return TrialSink
