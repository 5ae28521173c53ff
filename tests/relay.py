"""A connection that can be cut, or held up, while both ends live."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Relay:
    """Passes bytes on between whoever connects to ``port`` and a port behind it."""

    def __init__(self, behind: int) -> None:
        self.port = 0
        self.cuts = 0
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break the connections that there are; bytes on their way are lost."""
        for writer in self._writers:
            writer.transport.abort()
        self.cuts += bool(self._writers)

    def hold(self) -> None:
        """Pass nothing on until `release`."""
        self._passing.clear()

    def release(self) -> None:
        """Pass on what comes, and what has come meanwhile unless its connection was cut."""
        self._passing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.release()
        self.cut()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind, forth = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, forth}
        self._writers |= ends
        try:
            await asyncio.wait(
                [
                    asyncio.create_task(pass_on(reader, forth, self._passing)),
                    asyncio.create_task(pass_on(behind, writer, self._passing)),
                ]
            )
        finally:
            self._writers -= ends


async def pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event
) -> None:
    """Copy until one side is gone, then let go of the other."""
    try:
        while data := await reader.read(65_536):
            await passing.wait()
            if writer.is_closing():
                return
            writer.write(data)
            await writer.drain()
    except OSError:
        writer.transport.abort()
    finally:
        writer.close()
