"""Fixtures that several test modules use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings

from engine import Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind

# a busy machine is no defect
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("patient")

Rows = list[dict[str, Any]]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine with an empty root and a schemaless memory stream ``demo``."""
    async with Engine(tmp_path, drain=5) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        yield engine


@pytest.fixture
def collected(engine: Engine) -> Rows:
    """What rules with the sink ``collect`` have given; a row for each result."""
    rows: Rows = []

    class Collect(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            rows.extend(batch.rows or ())

    engine.plugins.register(PluginKind.SINK, "collect", Collect)
    return rows


async def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    """Return as soon as a condition holds, without guessing how long that takes."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.002)
