"""The embedded MQTT broker (extra ``broker``): a child process on a free port."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.errors import EngineError

_CONFIG = """
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 268435456
max_inflight_count = 500
"""


@contextlib.contextmanager
def embedded_broker(port: int = 0) -> Iterator[str]:
    """Run a broker for MQTT 5 on 127.0.0.1 and yield its address.

    Raises:
        EngineError: the package isn't installed, or the broker doesn't start.
    """
    try:
        from iotcore import Broker
    except ImportError:
        raise EngineError(
            "the embedded broker isn't installed", hint="pip install 'headrace[broker]'"
        ) from None
    port = port or free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "broker.toml"
        config.write_text(_CONFIG.format(port=port))
        try:
            broker = Broker(config_path=str(config)).start()
        except (OSError, RuntimeError, ValueError) as error:
            raise EngineError(f"the embedded broker doesn't start: {error}") from error
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            broker.stop()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
