"""A root folder with plugins, for tests."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from engine.errors import PluginError
from engine.registry import PluginKind, PluginRegistry

FUNCTION = """\
from engine.api import Function
class {symbol}(Function):
    def exec(self, ctx, value=None):
        return "{answer}"
"""


class PluginRoot:
    """Writes plugin files below a root and looks them up as an engine does."""

    def __init__(self, path: Path, bundled: Path | None = None) -> None:
        self.path = path
        nothing = path / "nothing"
        self.registry = PluginRegistry(path, bundled or nothing)

    def write(self, kind: str, name: str, text: str) -> Path:
        """Write ``plugins/<kind>/<name>``."""
        path = self.path / "plugins" / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    def function(self, name: str, answer: str = "", *, symbol: str = "") -> Path:
        """Write a function plugin that returns ``answer``, by default the name of its file."""
        stem = name.partition("@")[0].removesuffix(".py")
        symbol = symbol or stem[:1].upper() + stem[1:]
        return self.write("functions", name, FUNCTION.format(symbol=symbol, answer=answer or name))

    def answer(self, name: str) -> object:
        """Return what a function plugin answers."""
        return self.registry.get(PluginKind.FUNCTION, name).instance().exec(None)

    def error(self, kind: str, name: str) -> str:
        """Return the message of the error that using a plugin gives."""
        try:
            self.registry.get(PluginKind(kind), name).instance()
        except PluginError as error:
            return str(error)
        raise AssertionError(f"{name} can be used")
