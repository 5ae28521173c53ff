"""What an exception says to the author of the code that raised it: kind, text and place."""

from __future__ import annotations

import sysconfig
from functools import lru_cache
from pathlib import Path

from engine.errors import EngineError

_OURS = Path(__file__).parent
_LIBRARIES = tuple(
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def told(error: BaseException) -> str:
    """Return kind and text of an exception, and where it was raised if that is known.

    One of the engine says all that there is to say in its message.
    """
    if isinstance(error, EngineError):
        return error.message
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    place = place_of(error)
    return f"{text} at {place}" if place else text


def message_of(error: BaseException) -> str:
    """Return what `told` does with hint and place in a file, of a group what its first one says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, EngineError) else told(error)


def place_of(error: BaseException) -> str:
    """Return ``file:line`` of the innermost call outside of the engine and of libraries, or ""."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if _is_somebodys(file):
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


@lru_cache(maxsize=4096)
def _is_somebodys(file: str) -> bool:
    """Tell whether a file is neither the engine's nor a library's."""
    if file.startswith("<"):  # generated
        return False
    return not any(parent in (_OURS, *_LIBRARIES) for parent in Path(file).parents)
