"""A new plugin that works, with its test: the start for an author."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from engine.errors import PluginError
from engine.registry import PluginKind, plugin_name, symbol_of
from engine.sql.functions import builtins

_NAME = re.compile(r"[a-z][A-Za-z0-9_]*")

_PLUGINS = {
    PluginKind.SOURCE: '''\
"""{Name}: say in a sentence what it reads."""

from engine.api import Batch, Config, Duration, Emit, Source


class {Name}Config(Config):
    """The properties of a stream WITH (TYPE = '{name}')."""

    interval: Duration = Duration(1)
    """Time between two messages."""


class {Name}(Source[{Name}Config]):
    """One row at each interval."""

    async def open(self) -> None:
        """Connect here; raise NotConnected if nobody answers, and open is called again."""
        self._number = self.ctx.get_counter("sent")

    async def run(self, emit: Emit) -> None:
        clock = self.ctx.clock
        while True:
            self._number = self.ctx.incr_counter("sent")
            await emit(Batch([{{"number": self._number}}]))  # waits while the rule is full
            await clock.sleep_until(clock.now() + int(self.config.interval * 1000))

    async def close(self) -> None:
        """Let go of what open has got; called also after an open that failed."""
''',
    PluginKind.SINK: '''\
"""{Name}: say in a sentence where results go."""

import msgspec

from engine.api import Batch, Config, NotConnected, Sink


class {Name}Config(Config):
    """The properties of the action ``{name}``."""

    path: str
    """A file below the root; rows are appended to it, one a line."""


class {Name}(Sink[{Name}Config]):
    """Rows as lines of JSON."""

    def collect(self, batch: Batch) -> None:
        """Returning means that all of the batch is delivered."""
        path = self.ctx.file(self.config.path)
        lines = b"".join(msgspec.json.encode(row) + b"\\n" for row in batch.rows or ())
        try:
            with path.open("ab") as file:
                file.write(lines)
        except OSError as error:
            raise NotConnected(f"{{path}}: {{error.strerror}}") from error
''',
    PluginKind.FUNCTION: '''\
"""{name}(value): say in a sentence what it gives."""

from engine.api import Context, Function


class {Name}(Function):
    """{name}(value): the value, limited to 0 … 100; null for null."""

    stateless = True  # a call depends on nothing but its arguments

    def exec(self, ctx: Context, value: float | None) -> float | None:
        return None if value is None else min(100, max(0, value))
''',
}

_TESTS = {
    PluginKind.SOURCE: '''\
"""The source {name} keeps the contract and does what it should."""

from pathlib import Path

from engine.testing import check_source

ROOT = Path(__file__).parent.parent


def test_the_contract() -> None:
    wrong = [{{"interval": "soon"}}]
    seen = check_source("{name}", ROOT, {{"interval": "5ms"}}, rows=2, wrong=wrong)
    assert seen.rows[:2] == [{{"number": 1}}, {{"number": 2}}]
''',
    PluginKind.SINK: '''\
"""The sink {name} keeps the contract and does what it should."""

import json
from pathlib import Path

from engine.testing import check_sink

ROOT = Path(__file__).parent.parent


def test_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"

    def received() -> list[object]:
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    wrong = [{{"path": 5}}, {{}}]
    check_sink("{name}", ROOT, {{"path": str(path)}}, received=received, wrong=wrong)
''',
    PluginKind.FUNCTION: '''\
"""The function {name} keeps the contract and does what it should."""

from pathlib import Path

from engine.testing import Feed, check_function, run_case

ROOT = Path(__file__).parent.parent


def test_the_contract() -> None:
    seen = check_function("{name}", ROOT, [(5,), (-1,), (101.5,), (None,)])
    assert seen.results == [5, 0, 100, None]


def test_in_a_rule() -> None:
    import asyncio

    outcome = asyncio.run(
        run_case(
            "SELECT {name}(v) AS limited FROM demo",
            [Feed.of("CREATE STREAM demo () WITH ()", (0, {{"v": 50}}), (1, {{"v": 500}}))],
            root=ROOT,
        )
    )
    assert outcome.rows == [{{"limited": 50}}, {{"limited": 100}}]
''',
}


def create(root: Path, kind: PluginKind, name: str) -> tuple[Path, Path]:
    """Write a plugin and its test below a root; return where they are.

    Raises:
        PluginError: the name can't be one, something of that name is there, or the files can't be
            written.
    """
    name = plugin_name(name)
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PluginError(
            f"{name!r} can't be the name of a plugin",
            hint="write it in camel case, such as mySource",
        )
    if kind is PluginKind.FUNCTION and builtins().get(name) is not None:
        raise PluginError(f"{name} is a built-in function", hint="choose another name")
    paths = root / "plugins" / kind / f"{name}.py", root / "tests" / f"test_{name}.py"
    try:
        for path in paths:
            if path.exists():
                raise PluginError(f"{path} is there already", hint="choose another name")
            path.parent.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, (_PLUGINS[kind], _TESTS[kind]), strict=True):
            path.write_text(text.format(name=name, Name=symbol_of(name)), "utf-8")
    except OSError as error:
        raise PluginError(
            f"{error.filename}: can't be written: {error.strerror}",
            hint="look at the rights of the folder",
        ) from error
    return paths
