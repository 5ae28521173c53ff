"""A real server on a free port of this machine, and a client for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.server.serve import answer_calls, listening
from engine.server.service import Service, service
from engine.server.settings import ServerSettings
from tests.server.support import Running, Start


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a server on the test's folder; the same again after it has ended."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Running]:
        given = ServerSettings(**{"port": 0, **settings})
        ready: asyncio.Future[Service] = asyncio.get_running_loop().create_future()

        async def host(listener: socket.socket) -> None:
            # in a task of its own, as fixtures and tests have different ones
            async with service(tmp_path, given, drain=2) as made:
                ready.set_result(made)
                await answer_calls(made, listener)

        with listening(given) as listener:
            task = asyncio.create_task(host(listener))
            await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            made = await ready
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            try:
                async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
                    yield Running(made, client, url)
            finally:
                made.stop()
                await task

    return start


@pytest.fixture
async def server(start: Start) -> AsyncIterator[Running]:
    async with start() as running:
        yield running
