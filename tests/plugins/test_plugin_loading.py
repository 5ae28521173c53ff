"""Loading: what is wrong with a file, where, and what to do; changes count without a restart."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from engine import Engine
from engine.cli import app
from engine.errors import EngineError, PluginError
from engine.registry import PluginKind
from tests.plugins.folder import PluginRoot

BROKEN = {
    "a syntax error": (
        "functions",
        "from engine.api import Function\n\ndef broken(:\n",
        r"{path}:3: syntax error",
    ),
    "a null byte": ("functions", "x = 1\0\n", r"{path}.*null bytes"),
    "an error while it is imported": (
        "functions",
        "def helper():\n    return 1 / 0\n\nhelper()\n",
        "{path}:2: ZeroDivisionError",
    ),
    "it ends the program": ("functions", "import sys\nsys.exit(3)\n", "{path}:2: it ends the"),
    "a module that isn't there": (
        "functions",
        "import json\nimport surely_not_there.part\n",
        r"{path}:2: No module named(.|\n)*pip install surely_not_there$",
    ),
    "a name that isn't there": (
        "functions",
        "from engine.api import Funktion\n",
        r"{path}:1: cannot import name 'Funktion'(.|\n)*did you mean 'Function'",
    ),
    "no symbol": (
        "functions",
        "'''Nothing.'''\n",
        r"{path}:1: expected the symbol Odd, it exports no Function(.|\n)*define class Odd",
    ),
    "a symbol in another case": (
        "functions",
        "from engine.api import Function\n\nclass oDD(Function):\n    def exec(self, ctx): ...\n",
        r"{path}:3: expected the symbol Odd, found oDD(.|\n)*name the class Odd",
    ),
    "a misnamed symbol": (
        "sinks",
        """\
        from engine.api import Config, Sink

        class Even(Sink[Config]):
            async def collect(self, batch): ...
        """,
        r"{path}:3: expected the symbol Odd, found Even(.|\n)*hint: name the class Odd",
    ),
    "a symbol of a wrong type": (
        "functions",
        "import os\nOdd = 5\n",
        "{path}:2: Odd is of type int",
    ),
    "a class that is no plugin": (
        "functions",
        "\nclass Odd:\n    pass\n",
        r"{path}:2: Odd is no Function or AggregateFunction(.|\n)*derive it from engine.api.Fu",
    ),
    "a plugin of another kind": (
        "functions",
        "from engine.api import Sink\nclass Odd(Sink):\n    async def collect(self, b): ...\n",
        r"{path}:2: Odd is a sink, no function(.|\n)*move the file to plugins/sinks",
    ),
    "no exec": (
        "functions",
        "from engine.api import Function\nclass Odd(Function):\n    pass\n",
        r"{path}:2: Odd has no exec(.|\n)*write def exec\(self, ctx, …\)",
    ),
    "exec without the context": (
        "functions",
        "from engine.api import Function\nclass Odd(Function):\n    def exec(self, value): ...\n",
        r"{path}:3: Odd.exec must take the context first(.|\n)*write def exec\(self, ctx, …\)",
    ),
    "an async exec": (
        "functions",
        "from engine.api import Function\nclass Odd(Function):\n    async def exec(self, x): ...\n",
        r"{path}:3: Odd.exec must not be async",
    ),
    "exec_batch without the context": (
        "functions",
        """\
        from engine.api import Function
        class Odd(Function):
            def exec(self, ctx): ...
            def exec_batch(self): ...
        """,
        r"{path}:4: Odd.exec_batch must take the context first",
    ),
    "collect without a batch": (
        "sinks",
        """\
        from engine.api import Config, Sink
        class Odd(Sink[Config]):
            async def collect(self): ...
        """,
        r"{path}:3: Odd.collect doesn't take(.|\n)*write async def collect\(self, batch\)",
    ),
    "open with an argument": (
        "sinks",
        """\
        from engine.api import Config, Sink
        class Odd(Sink[Config]):
            async def open(self, ctx): ...
            async def collect(self, batch): ...
        """,
        r"{path}:3: Odd.open doesn't take(.|\n)*write def open\(self\)",
    ),
    "an async validate": (
        "sinks",
        """\
        from engine.api import Config, Sink
        class Odd(Sink[Config]):
            async def validate(self): ...
            async def collect(self, batch): ...
        """,
        r"{path}:3: Odd.validate must not be async",
    ),
    "a source that yields": (
        "sources",
        """\
        from engine.api import Config, Source
        class Odd(Source[Config]):
            async def run(self, emit):
                yield 1
        """,
        r"{path}:3: Odd.run must not yield(.|\n)*await emit",
    ),
    "run without emit": (
        "sources",
        """\
        from engine.api import Config, Source
        class Odd(Source[Config]):
            async def run(self): ...
        """,
        r"{path}:3: Odd.run doesn't take(.|\n)*write async def run\(self, emit\)",
    ),
    "collect with another second argument": (
        "sinks",
        """\
        from engine.api import Config, Sink
        class Odd(Sink[Config]):
            async def collect(self, batch, name): ...
        """,
        r"{path}:3: Odd.collect doesn't take(.|\n)*collect\(self, batch, token=None\)",
    ),
    "a position without seek": (
        "sources",
        """\
        from engine.api import Config, Source
        class Odd(Source[Config]):
            async def run(self, emit): ...
            def position(self): ...
        """,
        r"{path}:4: Odd.position is of no use without seek(.|\n)*async def seek\(self, offsets\)",
    ),
    "an ack without offsets": (
        "sources",
        """\
        from engine.api import Config, Source
        class Odd(Source[Config]):
            async def run(self, emit): ...
            async def ack(self, offsets): ...
        """,
        r"{path}:4: Odd.ack is of no use without position and seek(.|\n)*def position\(self\)",
    ),
    "a method that is none": (
        "sources",
        """\
        from engine.api import Config, Source
        class Odd(Source[Config]):
            open = 5
            async def run(self, emit): ...
        """,
        r"{path}:2: Odd.open is no method",
    ),
    "a configuration that is no Config": (
        "sources",
        """\
        from engine.api import Source
        class Odd(Source[dict]):
            async def run(self, emit): ...
        """,
        r"{path}:2: the configuration of Odd is dict(.|\n)*class OddConfig\(Config\)",
    ),
    "a property without a type": (
        "sources",
        """\
        from engine.api import Config, Source
        class OddConfig(Config):
            limit = 5
        class Odd(Source[OddConfig]):
            async def run(self, emit): ...
        """,
        r"{path}:2: OddConfig.limit has no type(.|\n)*write limit: int = 5",
    ),
    "a default of another type": (
        "sinks",
        """\
        from engine.api import Config, Sink
        class OddConfig(Config):
            limit: int = "five"
        class Odd(Sink[OddConfig]):
            async def collect(self, batch): ...
        """,
        r"{path}:2: the default 'five' of OddConfig.limit doesn't fit: Expected `int`, got `str`",
    ),
    "a default that isn't there": (
        "sinks",
        """\
        from engine.api import Config, Sink
        class OddConfig(Config):
            limit: int = None
        class Odd(Sink[OddConfig]):
            async def collect(self, batch): ...
        """,
        r"{path}:2: the default None of OddConfig.limit (.|\n)*write limit: int | None = None",
    ),
    "a duration as text": (
        "sinks",
        """\
        from engine.api import Config, Duration, Sink
        class OddConfig(Config):
            every: Duration = "1s"
        class Odd(Sink[OddConfig]):
            async def collect(self, batch): ...
        """,
        r"{path}:2: the default '1s' of OddConfig.every(.|\n)*Duration\(1\) is a second",
    ),
    "a constructor with arguments": (
        "functions",
        """\
        from engine.api import Function
        class Odd(Function):
            def __init__(self, factor): ...
            def exec(self, ctx): ...
        """,
        r"{path}:2: Odd\(\) needs factor(.|\n)*without arguments",
    ),
    "a constructor that fails": (
        "functions",
        """\
        from engine.api import Function
        class Odd(Function):
            def __init__(self):
                self.table = {}["missing"]
            def exec(self, ctx): ...
        """,
        r"{path}:4: Odd\(\) failed: KeyError",
    ),
    "a factory that makes something else": (
        "functions",
        "def Odd():\n    return 5\n",
        r"{path}:1: Odd\(\) made int",
    ),
    "a factory whose product breaks the contract": (
        "functions",
        """\
        from engine.api import Function
        class Product(Function):
            def exec(self, value): ...
        def Odd():
            return Product()
        """,
        r"{path}:3: Product.exec must take the context first",
    ),
    "a shared instance that breaks the contract": (
        "functions",
        """\
        from engine.api import Function
        class Product(Function):
            def exec(self, value): ...
        Odd = Product()
        """,
        r"{path}:3: Product.exec must take the context first",
    ),
    "a shared aggregate": (
        "functions",
        """\
        from engine.api import AggregateFunction
        class Sum(AggregateFunction):
            def add(self, x): ...
            def merge(self, newer): ...
            def result(self): ...
        Odd = Sum()
        """,
        r"{path}:6: Odd is an instance(.|\n)*export the class",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_says_where_and_what_and_spoils_no_other(root: PluginRoot, case: str) -> None:
    kind, text, message = BROKEN[case]
    path = root.write(kind, "odd.py", text)
    root.function("fine.py")
    with pytest.raises(PluginError, match=message.replace("{path}", str(path))):
        root.registry.get(PluginKind(kind), "odd").instance()
    assert root.answer("fine") == "fine.py"
    described = {one.name: one for one in root.registry.describe_all()}
    assert described["fine"].error == ""
    if case != "a constructor that fails":  # describing makes no instances of a class
        assert str(path) in described["odd"].error


def test_a_file_that_may_not_be_read_is_an_error_of_its_own(root: PluginRoot) -> None:
    path = root.path / "plugins" / "functions" / "odd.py"
    root.function("fine.py")
    path.symlink_to(root.path / "gone.py")
    assert "odd.py: can't be read: No such file" in root.error("functions", "odd")
    assert root.answer("fine") == "fine.py"


def test_a_folder_that_may_not_be_read_shows_in_errors_and_spoils_no_other(
    root: PluginRoot, caplog: pytest.LogCaptureFixture
) -> None:
    root.function("fine.py")
    (root.path / "plugins" / "sinks").write_text("no folder")
    assert root.answer("fine") == "fine.py"
    message = root.error("sinks", "any")
    assert f"{root.path}/plugins/sinks can't be read: Not a directory" in message
    assert root.registry.problems() == [f"{root.path}/plugins/sinks can't be read: Not a directory"]
    assert len([one for one in caplog.messages if "can't be read" in one]) == 1
    (root.path / "plugins" / "sinks").unlink()
    assert root.registry.problems() == []


@contextmanager
def as_nobody() -> Iterator[None]:
    """Act as a user to whom file permissions apply, which they don't to root."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


async def test_a_rule_hears_of_the_folder_that_may_have_its_function() -> None:
    with TemporaryDirectory() as folder:
        root = PluginRoot(Path(folder))
        Path(folder).chmod(0o755)
        path = root.function("mine.py").parent
        path.chmod(0)
        try:
            with as_nobody():
                async with Engine(root.path) as engine:
                    engine.define_stream("demo", type="memory", datasource="demo")
                    with pytest.raises(EngineError, match="unknown function mine") as caught:
                        await engine.start(
                            {"id": "r", "sql": "SELECT mine(a) FROM demo", "actions": [{"nop": {}}]}
                        )
                assert f"{path} can't be read: Permission denied" in str(caught.value)
        finally:
            path.chmod(0o755)


@pytest.mark.parametrize("command", [("list",), ("new", "sink", "own"), ("remove", "sink", "odd")])
def test_no_command_fails_at_a_locked_folder(command: tuple[str, ...]) -> None:
    with TemporaryDirectory() as folder:
        root = PluginRoot(Path(folder))
        Path(folder).chmod(0o755)
        root.write("sinks", "odd.py", "")
        path = root.path / "plugins"
        path.chmod(0)
        try:
            with as_nobody():
                outcome = CliRunner().invoke(app, ["plugin", *command, "--root", folder])
        finally:
            path.chmod(0o755)
        assert outcome.exception is None or isinstance(outcome.exception, EngineError)


@pytest.mark.parametrize("locked", ["odd.py", "odd/part.py", "odd", "."])
def test_what_permissions_forbid_is_an_error_of_its_own(locked: str) -> None:
    with TemporaryDirectory() as folder:
        root = PluginRoot(Path(folder))
        Path(folder).chmod(0o755)
        sink = "from engine.api import Config, Sink\nclass {}(Sink[Config]):\n{}"
        body = "    async def collect(self, batch): ...\n"
        root.write("sinks", "fine.py", sink.format("Fine", body))
        if locked == "odd.py":
            root.write("sinks", "odd.py", sink.format("Odd", body))
        else:
            root.write("sinks", "odd/__init__.py", "from .part import Odd\n")
            root.write("sinks", "odd/part.py", sink.format("Odd", body))
        path = root.path / "plugins" / "sinks" / locked
        path.chmod(0)
        try:
            with as_nobody():
                message = root.error("sinks", "odd")
                assert "can't be read: Permission denied" in message
                assert str(path.resolve()) in message
                if locked != ".":
                    assert root.registry.get(PluginKind.SINK, "fine").instance()
        finally:
            path.chmod(0o755)
        assert root.registry.get(PluginKind.SINK, "odd").instance()


def test_a_module_beside_the_plugin_is_to_be_put_into_a_package(root: PluginRoot) -> None:
    root.function("helper.py")
    root.write("functions", "odd.py", "import helper\n")
    assert "make odd a package folder" in root.error("functions", "odd")


def test_an_error_inside_of_a_package_has_the_place_of_the_module(root: PluginRoot) -> None:
    root.write("functions", "odd/__init__.py", "from .part import Odd\n")
    part = root.write("functions", "odd/part.py", "\n\nOdd = 1 / 0\n")
    assert f"{part}:3: ZeroDivisionError" in root.error("functions", "odd")
    part.write_text("\ndef broken(:\n")
    assert f"{part}:2: syntax error" in root.error("functions", "odd")
    part.write_text("")
    assert "cannot import name 'Odd' from '.part'" in root.error("functions", "odd")
    root.write("functions", "odd/__init__.py", "from .parts import Odd\n")
    message = root.error("functions", "odd")
    assert "__init__.py:1: No module named '.parts'" in message
    assert "check the name of the module" in message


def test_a_failed_import_leaves_no_module_behind(root: PluginRoot) -> None:
    root.write("functions", "leftOver/__init__.py", "from . import part\n1 / 0\n")
    root.write("functions", "leftOver/part.py", "")
    root.error("functions", "leftOver")
    assert not [name for name in sys.modules if "leftOver" in name]


def test_nothing_is_written_beside_plugins(root: PluginRoot) -> None:
    root.write("functions", "big/__init__.py", "from .part import Big\n")
    root.write(
        "functions",
        "big/part.py",
        "from engine.api import Function\nclass Big(Function):\n    def exec(self, ctx): ...\n",
    )
    root.function("small.py")
    root.registry.get(PluginKind.FUNCTION, "big")
    root.registry.get(PluginKind.FUNCTION, "small")
    assert not list(root.path.rglob("__pycache__"))


# -- changes -----------------------------------------------------------------------------------


def test_a_file_is_imported_once_for_all_its_uses(root: PluginRoot) -> None:
    root.write(
        "functions",
        "geo.py",
        """\
        from pathlib import Path
        from engine.api import Function
        log = Path(__file__).with_name("imports.log")
        log.write_text(log.read_text() + "x" if log.exists() else "x")
        class Geo(Function):
            def exec(self, ctx): ...
        """,
    )
    assert root.registry.has(PluginKind.FUNCTION, "geo")
    assert not (root.path / "plugins/functions/imports.log").exists()
    first = root.registry.get(PluginKind.FUNCTION, "geo")
    assert root.registry.get(PluginKind.FUNCTION, "geo") is first
    assert first.instance() is not first.instance()
    assert (root.path / "plugins/functions/imports.log").read_text() == "x"


def test_a_changed_file_counts_at_once_and_old_instances_keep_the_old_one(
    root: PluginRoot,
) -> None:
    root.function("geo.py", "one")
    old = root.registry.get(PluginKind.FUNCTION, "geo")
    running = old.instance()
    for answer in ("two", "six", "ten"):  # texts of the same length within the same second
        root.function("geo.py", answer)
        assert root.answer("geo") == answer
    assert running.exec(None) == "one"
    assert old.instance().exec(None) == "one"


def test_a_touched_file_is_not_loaded_again(root: PluginRoot) -> None:
    path = root.function("geo.py")
    first = root.registry.get(PluginKind.FUNCTION, "geo")
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    assert root.registry.get(PluginKind.FUNCTION, "geo") is first


@pytest.mark.parametrize("age", [0, 3600])
def test_new_versions_and_removals_count_at_once(root: PluginRoot, age: int) -> None:
    """Also where the folder was last changed long ago, so that its listing is kept."""

    def aged() -> None:
        folder = root.path / "plugins" / "functions"
        then = time.time() - age
        for path in (*folder.iterdir(), folder):
            os.utime(path, (then, then))

    root.function("geo@1.0.0.py")
    aged()
    assert root.answer("geo") == "geo@1.0.0.py"
    newer = root.function("geo@1.1.0.py")
    assert root.answer("geo") == "geo@1.1.0.py"
    newer.unlink()
    assert root.answer("geo") == "geo@1.0.0.py"
    root.function("other.py")
    assert root.registry.names(PluginKind.FUNCTION) == ["geo", "other"]
    assert root.answer("other") == "other.py"


def test_a_change_inside_of_a_package_counts(root: PluginRoot) -> None:
    root.write("functions", "big/__init__.py", "from .part import Big\n")
    text = (
        "from engine.api import Function\nclass Big(Function):\n    def exec(self, ctx): return {}"
    )
    part = root.write("functions", "big/part.py", text.format(1))
    assert root.registry.get(PluginKind.FUNCTION, "big").instance().exec(None) == 1
    part.write_text(text.format(2))
    assert root.registry.get(PluginKind.FUNCTION, "big").instance().exec(None) == 2


def test_a_folder_that_becomes_a_package_is_found(root: PluginRoot) -> None:
    folder = root.path / "plugins" / "functions" / "big"
    folder.mkdir(parents=True)
    old = time.time() - 3600
    os.utime(folder, (old, old))
    os.utime(folder.parent, (old, old))
    assert not root.registry.has(PluginKind.FUNCTION, "big")
    (folder / "__init__.py").write_text(
        "from engine.api import Function\nclass Big(Function):\n    def exec(self, ctx): ..."
    )
    os.utime(folder.parent, (old, old))
    assert root.registry.has(PluginKind.FUNCTION, "big")


def test_a_repaired_file_can_be_used(root: PluginRoot) -> None:
    root.write("functions", "geo.py", "def broken(:\n")
    root.error("functions", "geo")
    root.function("geo.py")
    assert root.answer("geo") == "geo.py"


def test_a_file_that_breaks_does_not_break_what_runs(root: PluginRoot) -> None:
    root.function("geo.py", "fine")
    running = root.registry.get(PluginKind.FUNCTION, "geo").instance()
    root.write("functions", "geo.py", "def broken(:\n")
    assert "syntax error" in root.error("functions", "geo")
    assert running.exec(None) == "fine"


# -- distributions -----------------------------------------------------------------------------


class Site:
    """A folder of installed distributions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, name: str, version: str, module: str, text: str, points: str) -> None:
        self.path.mkdir(exist_ok=True)
        (self.path / f"{module}.py").write_text(dedent(text))
        info = self.path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(dedent(points))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    return Site(path)


INSTALLED = """\
from engine.api import Function
class Anything(Function):
    def exec(self, ctx):
        return "installed"
"""


def test_distributions_announce_plugins_by_entry_points(root: PluginRoot, site: Site) -> None:
    assert not root.registry.has(PluginKind.FUNCTION, "geo")
    site.install(
        "geo-plugins",
        "1.2.0",
        "geo_plugins_a",
        INSTALLED,
        "[headrace.functions]\ngeo = geo_plugins_a:Anything\n",
    )
    assert root.registry.names(PluginKind.FUNCTION) == ["geo"]
    assert "geo_plugins_a" not in sys.modules
    plugin = root.registry.get(PluginKind.FUNCTION, "geo")
    assert plugin.instance().exec(None) == "installed"
    assert (plugin.version, plugin.origin) == ("1.2.0", "geo-plugins (geo_plugins_a:Anything)")
    (present,) = root.registry.files(PluginKind.FUNCTION)
    assert (present.version, present.origin, present.state) == ("1.2.0", "installed", "active")
    root.function("geo.py")
    assert root.answer("geo") == "geo.py"
    assert [file.state for file in root.registry.files(PluginKind.FUNCTION)] == ["active", "hidden"]


def test_two_distributions_with_one_plugin_are_a_clash(root: PluginRoot, site: Site) -> None:
    for name in ("geo-b", "geo-c"):
        module = name.replace("-", "_")
        site.install(
            name, "1.0", module, INSTALLED, f"[headrace.functions]\ngeo = {module}:Anything\n"
        )
    message = root.error("functions", "geo")
    assert "geo-b (geo_b:Anything) and geo-c (geo_c:Anything)" in message
    assert "uninstall" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import surely_not_there\n", "ModuleNotFoundError: No module named 'surely_not_there'"),
        ("Anything = 5\n", "Anything is of type int"),
        ("class Anything: ...\n", "Anything is no Function"),
        ("raise SystemExit(1)\n", "SystemExit"),
    ],
)
def test_a_broken_distribution_is_named(
    root: PluginRoot, site: Site, text: str, message: str
) -> None:
    module = f"geo_broken_{abs(hash(text))}"
    site.install("geo-d", "1.0", module, text, f"[headrace.functions]\ngeo = {module}:Anything\n")
    root.function("fine.py")
    assert message in root.error("functions", "geo")
    assert f"geo-d ({module}:Anything)" in root.error("functions", "geo")
    assert message in root.registry.describe(PluginKind.FUNCTION, "geo").error
    assert root.answer("fine") == "fine.py"


def test_declarations_that_are_fine_are_let_pass(root: PluginRoot) -> None:
    root.write(
        "sinks",
        "fine.py",
        """\
        import enum
        from pathlib import Path
        from typing import Annotated, ClassVar, Literal
        import msgspec
        from engine.api import Config, Duration, Sink, Size, Template

        class Mode(enum.Enum):
            FAST = "fast"

        class Inner(msgspec.Struct, frozen=True):
            x: int = 1

        class FineConfig(Config):
            plain: int = 5
            number: float = 1
            maybe: int | None = None
            every: Duration = Duration(1)
            size: Size = Size(5)
            topic: Template = Template("x")
            mode: Mode = Mode.FAST
            word: Literal["a", "b"] = "a"
            inner: Inner = Inner()
            several: list[int] = []
            pair: tuple[int, int] = (1, 2)
            bound: Annotated[int, msgspec.Meta(ge=1)] = 1
            own: Path = Path("here")
            limit: ClassVar[int] = 5
            _internal = 7

        class Fine(Sink[FineConfig]):
            async def collect(self, batch): ...
        """,
    )
    assert root.registry.get(PluginKind.SINK, "fine").instance()
