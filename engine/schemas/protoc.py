"""Compiling .proto files, by the official compiler in a process of its own.

The compiler comes with the package grpcio-tools. It is asked once for each state of the files, so
that neither its memory nor its faults become the engine's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from engine.errors import ConfigError

_LONGEST = 30.0  # seconds
_PLACED = re.compile(r"\.proto:(\d+:\d+:)? ")


def compiled(path: Path, folders: Sequence[Path]) -> bytes:
    """Return a .proto file and all that it imports as a serialized ``FileDescriptorSet``.

    ``folders`` are where imports are looked for, beside that of the file itself.

    Raises:
        ConfigError: it is malformed (the message has file, line and column), or there is no
            compiler.
    """
    if find_spec("grpc_tools") is None:
        raise ConfigError(
            f"{path}: there is no compiler for protobuf schemas",
            hint="pip install 'headrace[protobuf]'",
        )
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "set"
        includes = [f"-I{folder}" for folder in (path.parent, *folders) if folder.is_dir()]
        command = [sys.executable, "-P", "-m", "grpc_tools.protoc", *includes]
        command += ["--include_imports", f"--descriptor_set_out={target}", str(path)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(f"{path}: compiling it takes longer than {_LONGEST:.0f} s") from None
        if done.returncode or not target.is_file():
            raise ConfigError(_first_error(done.stderr) or f"{path}: it can't be compiled")
        return target.read_bytes()


def _first_error(output: str) -> str:
    """Return the first line with a place; what the compiler says of itself has none."""
    errors = (line for line in output.splitlines() if _PLACED.search(line))
    return next((line for line in errors if "warning:" not in line), "")
