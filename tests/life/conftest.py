"""An engine in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import pytest

from engine import Engine
from engine.clock import VirtualClock
from tests.life.support import START, Journal


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
async def engine(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Engine]:
    """An engine in virtual time, with a memory stream ``demo``."""
    async with Engine(tmp_path, clock=clock, drain=5, zone=UTC) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        yield engine


@pytest.fixture
def journal(engine: Engine) -> Journal:
    return Journal(engine)
