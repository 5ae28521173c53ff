"""One JavaScript function in an interpreter of its own, with limits."""

from __future__ import annotations

import base64
import logging
import threading
from typing import Any

import msgspec

from engine.errors import ConfigError, RowError
from engine.sql.text import to_text

logger = logging.getLogger(__name__)

TIME_LIMIT = 0.1
"""Seconds of processor time for one call; the event loop waits for it."""
MEMORY_LIMIT = 32 << 20
"""Bytes that one interpreter may have; an empty one takes 100 KB."""
_SMALL = 1 << 31
"""Whole numbers up to here are handed over as such, others as JavaScript has them, as floats."""
_PRELUDE = """
const __lines = [];
function log(...values) {
  if (__lines.length < 20)
    __lines.push(values.map(v => typeof v === 'object' ? JSON.stringify(v) : String(v)).join(' '));
}
function __taken() { return __lines.splice(0).join('\\n'); }
const __nul = '\\0';
const __packed = v => typeof v === 'string' && v.includes(__nul) ? {[__nul]: v} : v;
const __unpacked = v => v !== null && typeof v === 'object' && __nul in v ? v[__nul] : v;
"""
_NUL = "\0"
"""The binding cuts texts here, so that those with it travel inside of an object, as JSON."""


class Interpreter:
    """Calls the function ``name`` of a script; its global variables live as long as this.

    One call at a time: calls of several threads wait for each other.
    """

    def __init__(self, name: str, script: str) -> None:
        """Run the script, which defines the function.

        Raises:
            ConfigError: it fails or defines no such function, or there is no interpreter.
        """
        try:
            import quickjs
        except ImportError:
            raise ConfigError(
                "there is no interpreter for JavaScript",
                hint="pip install 'headrace[javascript]'",
            ) from None
        self._failed: type[Exception] = quickjs.JSException
        self._name = name
        self._lock = threading.Lock()
        self._context = quickjs.Context()
        self._context.set_memory_limit(MEMORY_LIMIT)
        self._context.set_time_limit(TIME_LIMIT)
        self._context.eval(_PRELUDE)
        try:
            self._context.eval(script)
            kind = self._context.eval(f"typeof {name}")
            if _NUL in script:
                raise ConfigError(f"script {name} has a zero character")
        except self._failed as error:
            raise ConfigError(f"script {name}: {_reason(error)}") from None
        if kind != "function":
            raise ConfigError(
                f"script {name} defines no function {name}",
                hint=f"write function {name}(…) {{ … }}",
            )
        self._function = self._context.eval(f"(...a) => __packed({name}(...a))")
        self._unpacking = self._context.eval(f"(...a) => __packed({name}(...a.map(__unpacked)))")
        self._logs = "log" in script

    def __call__(self, *args: Any) -> Any:
        """Return the function's value for some arguments.

        Raises:
            RowError: it throws, or takes more time or memory than it may.
        """
        with self._lock:
            try:
                is_packed = any(type(value) is str and _NUL in value for value in args)
                function = self._unpacking if is_packed else self._function
                return self._received(function(*map(self._sent, args)))
            except self._failed as error:
                raise RowError(f"{self._name}: {_reason(error)}") from None
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise RowError(f"{self._name}: the result is no value: {error}") from None
            finally:
                if self._logs:
                    self._write_log()

    def _sent(self, value: Any) -> Any:
        if type(value) is str:
            return self._as_json({_NUL: value}) if _NUL in value else value
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int:
            return value if -_SMALL <= value < _SMALL else float(value)
        if isinstance(value, (dict, list, tuple)):
            return self._as_json(value)
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return to_text(value)

    def _as_json(self, value: Any) -> Any:
        return self._context.parse_json(msgspec.json.encode(value).decode())

    def _received(self, value: Any) -> Any:
        if value is None or type(value) in (str, bool, float, int):
            return value
        text = value.json()
        if text is None:
            raise RowError(f"{self._name}: the result is no value, but a function or symbol")
        found = msgspec.json.decode(text)
        return found[_NUL] if isinstance(found, dict) and found.keys() == {_NUL} else found

    def _write_log(self) -> None:
        try:
            for line in str(self._context.eval("__taken()")).splitlines():
                logger.info("script %s: %s", self._name, line)
        except self._failed as error:
            logger.warning("script %s: its log is lost: %s", self._name, _reason(error))


def _reason(error: Exception) -> str:
    """Return what an exception of the interpreter says, in words for those who wrote the script."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines or lines[0] in ("null", "InternalError: out of memory"):
        return f"it needs more memory than {MEMORY_LIMIT >> 20} MiB"
    if lines[0].endswith("InternalError: interrupted"):
        return f"it takes longer than {TIME_LIMIT * 1000:.0f} ms"
    return " ".join(lines[:2])
