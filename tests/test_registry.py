"""Finding plugins: names, versions, places, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import PluginError
from engine.registry import PluginKind, PluginRegistry

FUNCTION = """
from engine.api import Function
class {symbol}(Function):
    def exec(self, ctx, value):
        return "{text}"
"""


def write(
    root: Path, name: str, text: str = "", *, kind: str = "functions", symbol: str = ""
) -> None:
    path = root / "plugins" / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = name.partition("@")[0].removesuffix(".py")
    symbol = symbol or stem[:1].upper() + stem[1:]
    path.write_text(text or FUNCTION.format(symbol=symbol, text=name))


@pytest.mark.parametrize("file", ["wordCount.py", "WordCount.py", "wordCount@v1.0.0.py"])
def test_a_file_is_named_by_plugin_or_symbol(tmp_path: Path, file: str) -> None:
    write(tmp_path, file)
    plugin = PluginRegistry(tmp_path).get(PluginKind.FUNCTION, "wordCount")
    assert plugin.name == "wordCount"
    assert plugin.instance().exec(None, 1) == file


@pytest.mark.parametrize(
    ("versions", "latest"),
    [
        (["v1.9.0", "v1.10.0"], "1.10.0"),
        (["1.0.0", "1.0.0-rc.1"], "1.0.0"),
        (["20200331", "20210101"], "20210101"),
        (["20200331", "v0.1.0"], "0.1.0"),
        (["beta", "alpha"], "beta"),
        (["", "zzz"], "zzz"),
    ],
)
def test_of_several_versions_the_latest_takes_effect(
    tmp_path: Path, versions: list[str], latest: str
) -> None:
    for version in versions:
        write(tmp_path, f"WordCount@{version}.py" if version else "WordCount.py")
    assert PluginRegistry(tmp_path).get(PluginKind.FUNCTION, "wordCount").version == latest


def test_the_root_wins_over_bundled_plugins(tmp_path: Path) -> None:
    write(
        tmp_path,
        "log.py",
        "from engine.api import Config, Sink\n"
        "class Log(Sink[Config]):\n    async def collect(self, batch): ...\n",
        kind="sinks",
    )
    registry = PluginRegistry(tmp_path)
    assert str(tmp_path) in registry.get(PluginKind.SINK, "log").origin
    assert "mqtt" in registry.names(PluginKind.SINK)


def test_a_package_folder_is_a_plugin(tmp_path: Path) -> None:
    write(tmp_path, "big/__init__.py", "from .part import Big\n", symbol="Big")
    (tmp_path / "plugins/functions/big/part.py").write_text(
        FUNCTION.format(symbol="Big", text="package")
    )
    plugin = PluginRegistry(tmp_path).get(PluginKind.FUNCTION, "big")
    assert plugin.instance().exec(None, 1) == "package"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Wrong:\n    pass\n", r"expected the symbol Odd, it exports no Function"),
        (FUNCTION.format(symbol="Even", text=""), r"expected the symbol Odd, found Even"),
        ("def broken(:\n", r"odd.py:1: syntax error"),
        ("import surely_not_installed\n", r"surely_not_installed(.|\n)*pip install"),
        ("1 / 0\n", r"odd.py:1: ZeroDivisionError"),
        ("Odd = 5\n", r"odd.py:1: Odd is of type int"),
        ("class Odd:\n    pass\n", r"odd.py:1: Odd is no Function"),
    ],
)
def test_a_broken_file_says_what_is_wrong_and_spoils_no_other(
    tmp_path: Path, text: str, message: str
) -> None:
    write(tmp_path, "odd.py", text)
    write(tmp_path, "fine.py")
    registry = PluginRegistry(tmp_path)
    with pytest.raises(PluginError, match=message):
        registry.get(PluginKind.FUNCTION, "odd")
    assert registry.get(PluginKind.FUNCTION, "fine").instance()


def test_a_constructor_that_fails_or_makes_something_else_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "odd.py", "def Odd():\n    return 5\n")
    with pytest.raises(PluginError, match=r"Odd\(\) made int"):
        PluginRegistry(tmp_path).get(PluginKind.FUNCTION, "odd").instance()


def test_an_unknown_plugin_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"unknown sink 'mqqt'\n.*did you mean 'mqtt'"):
        PluginRegistry(tmp_path).get(PluginKind.SINK, "mqqt")


def test_nothing_is_imported_before_it_is_used(tmp_path: Path) -> None:
    write(tmp_path, "loud.py", "raise SystemExit\n")
    registry = PluginRegistry(tmp_path)
    assert registry.has(PluginKind.FUNCTION, "loud")
    assert "loud" in registry.names(PluginKind.FUNCTION)
