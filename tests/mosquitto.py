"""A real Mosquitto for tests: started on a free port, killed and restarted at will."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from engine.broker import free_port

_READY_WITHIN = 10.0  # seconds


class Mosquitto:
    """A broker process in a folder of its own.

    ``config`` is appended to the configuration, ``{folder}`` in it is the folder. With
    ``persistence true`` there sessions survive ``kill`` only if the broker had saved them, but
    always ``stop``.
    """

    def __init__(self, folder: Path, config: str = "", *, port: int = 0, options: str = "") -> None:
        self.port = port or free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._file = folder / f"mosquitto-{self.port}.conf"
        self._file.write_text(
            f"listener {self.port} 127.0.0.1\n{options}\n"
            "allow_anonymous true\nuser root\n" + config.format(folder=folder)
        )

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when the port answers."""
        binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if binary is None:
            pytest.fail("mosquitto is missing: apt-get install -y mosquitto", pytrace=False)
        log = self._file.with_suffix(".log")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [binary, "-v", "-c", str(self._file)], stdout=output, stderr=output
            )
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.005)
        self.kill()
        pytest.fail(f"mosquitto did not start: {log.read_text()[-2000:]}", pytrace=False)

    @property
    def log(self) -> str:
        """What it has told so far."""
        return self._file.with_suffix(".log").read_text()

    def save(self) -> None:
        """Have it save what it remembers; for brokers with ``persistence true``."""
        assert self._process is not None
        file = self._folder / "mosquitto.db"
        before = file.stat().st_ino if file.exists() else 0
        self._process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + _READY_WITHIN
        while not file.exists() or file.stat().st_ino == before:
            assert time.monotonic() < deadline, "mosquitto saves nothing"
            time.sleep(0.005)

    def kill(self) -> None:
        """End the process as a crash would."""
        self._end(subprocess.Popen.kill)

    def stop(self) -> None:
        """End the process politely, so that it saves what it should."""
        self._end(subprocess.Popen.terminate)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _end(self, how: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert callable(how)
            how(process)
            process.wait(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
