"""Running the server as a program: sockets, signals, the end."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import uvicorn

from engine.errors import ConfigError
from engine.parting import leave_tasks
from engine.server.app import application
from engine.server.audit import AuditLog
from engine.server.service import Service, service
from engine.server.settings import ServerSettings

logger = logging.getLogger(__name__)

_LAST_ANSWERS = 3  # seconds that calls under way have when the server ends


class _Server(uvicorn.Server):
    """uvicorn without its own idea of signals: ending is the engine's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(root: Path | None, settings: ServerSettings, *, drain: float = 10.0) -> None:
    """Serve until SIGINT, SIGTERM or ``POST /stop``; then rules drain. A second signal ends that.

    Raises:
        EngineError: the address is taken, a certificate is wrong, another server has the root …
    """
    if not settings.is_local and not settings.authentication:
        logger.warning(
            "anybody who reaches %s can change everything: set 'authentication: true' "
            "in etc/server.yaml",
            settings.host,
        )
    with listening(settings) as listener:
        async with service(root, settings, drain=drain) as made, anyio.create_task_group() as tasks:
            tasks.start_soon(_watch_signals, made)
            # rules come and go while most of what is there stays: look at it less often, and at
            # little enough of the new at a time that rules are held up for milliseconds only
            gc.freeze()
            gc.set_threshold(20_000, 5, 100)
            await answer_calls(made, listener)
            tasks.cancel_scope.cancel()
        leave_tasks(0)


async def answer_calls(made: Service, listener: socket.socket) -> None:
    """Serve a service until it is to stop.

    Raises:
        ConfigError: the certificate can't be used.
    """
    settings = made.settings
    folder = made.engine.data_path / "server" if settings.audit_log else None
    with contextlib.closing(AuditLog(folder)) as audit:
        config = uvicorn.Config(
            application(made, audit),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_LAST_ANSWERS,
            timeout_keep_alive=30,
            ws_max_size=1 << 20,
            ssl_certfile=settings.tls.certfile if settings.tls else None,
            ssl_keyfile=settings.tls.keyfile if settings.tls else None,
        )
        try:
            config.load()
        except OSError as error:
            raise ConfigError(f"server.tls: {error}") from None
        host, port = listener.getsockname()[:2]
        scheme = "https" if settings.tls else "http"
        logger.info("listening on %s://%s:%d", scheme, host, port)
        server = _Server(config)
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await made.stopping.wait()
                server.should_exit = True

            tasks.start_soon(stop)
            await server.serve(sockets=[listener])
            made.stop()


async def _watch_signals(made: Service) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if made.stopping.is_set():
                await made.engine.stop_all(drain=0)
            made.stop()


@contextlib.contextmanager
def listening(settings: ServerSettings) -> Iterator[socket.socket]:
    """Listen before anything else is done, so that a taken address shows at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is given
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            listener.listen(2048)  # who calls while rules are recovered waits
        except OSError as error:
            raise ConfigError(
                f"can't listen on {settings.host}:{settings.port}: {error.strerror}",
                hint="is another server running? choose another --port",
            ) from None
        yield listener
    finally:
        listener.close()
