"""Work that goes on after the request for it was answered: asked for by id, and cancelled."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup

from engine.errors import EngineError
from engine.server.problems import Problem, missing

logger = logging.getLogger(__name__)

_KEPT = 100
"""Jobs that are remembered; of those that have ended the oldest are forgotten first."""

State = Literal["pending", "running", "completed", "failed", "cancelled"]


@dataclass(slots=True)
class _Job:
    state: State = "pending"
    message: str = ""
    created: int = field(default_factory=lambda: _now())
    updated: int = field(default_factory=lambda: _now())
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def has_ended(self) -> bool:
        return self.state not in ("pending", "running")

    def become(self, state: State, message: str = "") -> None:
        self.state, self.message, self.updated = state, message, _now()


class Jobs:
    """The jobs of a server; they are gone when it ends."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._jobs: dict[str, _Job] = {}

    def start(self, work: Callable[[], Awaitable[str]]) -> str:
        """Begin a job and return its id; ``work`` returns what is to be said of its success.

        Raises:
            Problem: too many are going on.
        """
        self._forget()
        if len(self._jobs) >= _KEPT:
            raise Problem(f"{_KEPT} tasks are going on", status=429, hint="try again later")
        job_id, job = uuid.uuid4().hex, _Job()
        self._jobs[job_id] = job
        self._tasks.start_soon(self._run, job, work, name=f"job[{job_id}]")
        return job_id

    def get(self, job_id: str) -> dict[str, Any]:
        """Return how a job is; its times are epoch milliseconds.

        Raises:
            Problem: there is none.
        """
        job = self._found(job_id)
        return {
            "id": job_id,
            "status": job.state,
            "message": job.message,
            "createdTimestamp": job.created,
            "updatedTimestamp": job.updated,
        }

    def cancel(self, job_id: str) -> None:
        """End a job where it is; what it has done by then stays done.

        Raises:
            Problem: there is none.
        """
        self._found(job_id).scope.cancel()

    def _found(self, job_id: str) -> _Job:
        if job_id not in self._jobs:
            raise missing(f"task {job_id[:40]}")
        return self._jobs[job_id]

    async def _run(self, job: _Job, work: Callable[[], Awaitable[str]]) -> None:
        with job.scope:
            job.become("running")
            try:
                job.become("completed", await work())
            except EngineError as error:
                job.become("failed", str(error))
            except Exception:
                logger.exception("a task has failed")
                job.become("failed", "the server has failed; its log says more")
        if not job.has_ended:
            job.become("cancelled")

    def _forget(self) -> None:
        for job_id in [job_id for job_id, job in self._jobs.items() if job.has_ended]:
            if len(self._jobs) < _KEPT:
                return
            del self._jobs[job_id]


def _now() -> int:
    return time.time_ns() // 1_000_000
