"""What a file exports: classes, factories and instances, one or several, for whom."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import Any

import pytest

from engine import Engine
from engine.api import Config, Function, LookupSource, Sink, Source
from engine.errors import ConfigError, PluginError
from engine.registry import PluginKind
from tests.conftest import Rows, eventually
from tests.plugins.folder import PluginRoot

COUNTING = """\
from engine.api import Function

class Counting(Function):
    '''Counts its calls, in an attribute.'''
    def __init__(self):
        self.calls = 0
    def exec(self, ctx, value=None):
        self.calls += 1
        return self.calls

def make():
    return Counting()
"""


@pytest.mark.parametrize("export", ["class Count2(Counting): ...", "Count2 = make"])
def test_a_class_or_factory_makes_an_instance_for_each_use(root: PluginRoot, export: str) -> None:
    root.write("functions", "count2.py", f"{COUNTING}\n{export}\n")
    plugin = root.registry.get(PluginKind.FUNCTION, "count2")
    assert not plugin.is_shared
    one, other = plugin.instance(), plugin.instance()
    assert [one.exec(None), one.exec(None), other.exec(None)] == [1, 2, 1]


def test_an_instance_is_shared(root: PluginRoot) -> None:
    root.write("functions", "count2.py", f"{COUNTING}\nCount2 = Counting()\n")
    plugin = root.registry.get(PluginKind.FUNCTION, "count2")
    assert plugin.is_shared
    assert plugin.instance() is plugin.instance()


@pytest.mark.parametrize(
    ("export", "counts"), [("Counting", [[1, 2], [1, 2]]), ("Counting()", [[1, 3], [2, 4]])]
)
async def test_rules_share_an_instance_but_not_what_a_class_makes(
    engine: Engine, collected: Rows, export: str, counts: list[list[int]]
) -> None:
    PluginRoot(engine.root).write("functions", "count2.py", f"{COUNTING}\nCount2 = {export}\n")
    for rule in ("a", "b"):
        sql = f"SELECT '{rule}' AS rule, count2() AS calls FROM demo"
        started = await engine.start({"id": rule, "sql": sql, "actions": [{"collect": {}}]})
        await eventually(lambda started=started: started.status.state == "running")
    for size in (2, 4):
        await engine.push("demo", [{"n": 1}])
        await eventually(lambda size=size: len(collected) == size)
    by_rule = [[row["calls"] for row in collected if row["rule"] == rule] for rule in ("a", "b")]
    assert sorted(by_rule) == counts


# -- several functions in one file -------------------------------------------------------------

GEO = """\
from engine.api import Function

class Encode(Function):
    def exec(self, ctx, value=None): return "encoded"

class Decode(Function):
    def exec(self, ctx, value=None): return "decoded"

functions = {"geoEncode": Encode, "geoDecode": Decode()}
"""


def test_a_table_exports_several_functions(root: PluginRoot) -> None:
    root.write("functions", "geo.py", GEO)
    assert root.registry.names(PluginKind.FUNCTION) == ["geoDecode", "geoEncode"]
    assert root.answer("geoEncode") == "encoded"
    assert root.answer("geoDecode") == "decoded"
    assert root.registry.get(PluginKind.FUNCTION, "geoDecode").is_shared
    assert not root.registry.has(PluginKind.FUNCTION, "geo")
    assert "did you mean 'geoDecode'" in root.error("functions", "geoDecod")


def test_the_functions_of_a_file_are_found_without_running_it(root: PluginRoot) -> None:
    root.write("functions", "geo.py", f"{GEO}\nraise SystemExit\n")
    assert root.registry.has(PluginKind.FUNCTION, "geoEncode")
    assert "geo.py:11: it ends the program" in root.error("functions", "geoEncode")


def test_a_file_may_export_its_symbol_beside_a_table(root: PluginRoot) -> None:
    root.write("functions", "geo.py", f"{GEO}\nclass Geo(Encode): ...\n")
    assert root.registry.names(PluginKind.FUNCTION) == ["geo", "geoDecode", "geoEncode"]
    assert root.answer("geo") == "encoded"


def test_a_table_of_a_superseded_version_does_not_count(root: PluginRoot) -> None:
    root.write("functions", "geo@1.0.0.py", GEO.replace("geoDecode", "geoOld"))
    root.write("functions", "geo@2.0.0.py", GEO)
    assert root.registry.names(PluginKind.FUNCTION) == ["geoDecode", "geoEncode"]


def test_a_table_that_changes_counts_at_once(root: PluginRoot) -> None:
    root.write("functions", "geo.py", GEO)
    assert root.answer("geoDecode") == "decoded"
    root.write("functions", "geo.py", GEO.replace("geoDecode", "geoUncode"))
    assert not root.registry.has(PluginKind.FUNCTION, "geoDecode")
    assert root.answer("geoUncode") == "decoded"


def test_one_broken_function_of_a_table_spoils_no_other(root: PluginRoot) -> None:
    root.write("functions", "geo.py", GEO.replace("Decode()", "5"))
    assert root.answer("geoEncode") == "encoded"
    assert "geoDecode is of type int" in root.error("functions", "geoDecode")
    assert "geoDecode is of type int" in root.registry.describe(PluginKind.FUNCTION, "geo").error


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("functions = 5", "geo.py:9: functions is no table"),
        ("functions = {}", "geo.py:9: functions is no table"),
        ("functions = {5: Encode}", "geo.py:9: functions is no table"),
        ("functions = dict(geoX=Encode)", "geo.py:9: the table doesn't spell out geoX"),
        ("functions = {'geo' + 'X': Encode}", "geo.py:9: the table doesn't spell out geoX"),
    ],
)
def test_a_malformed_table_is_an_error(root: PluginRoot, table: str, message: str) -> None:
    root.write("functions", "geo.py", GEO.replace(GEO.splitlines()[-1], table))
    described = root.registry.describe(PluginKind.FUNCTION, "geo")
    assert message in described.error


def test_two_files_that_export_one_function_are_a_clash(root: PluginRoot) -> None:
    root.write("functions", "geo.py", GEO)
    root.function("geoEncode.py")
    message = root.error("functions", "geoEncode")
    assert "the function geoEncode is also exported by geo.py" in message
    assert root.answer("geoDecode") == "decoded"


def test_a_clash_shows_in_a_folder_that_was_looked_through_before(root: PluginRoot) -> None:
    geo = root.write("functions", "geo.py", GEO)
    encode = root.function("geoEncode.py")
    other = root.function("other.py")
    root.write("functions", "geo.py", GEO.replace("geoEncode", "geoIncode"))
    long_ago = time.time() - 3600
    for path in (geo, encode, other, geo.parent):
        os.utime(path, (long_ago, long_ago))
    assert root.answer("other") == "other.py"  # looks through all files, and may keep what it saw
    root.write("functions", "geo.py", GEO)  # in place: only the time of the file tells
    message = root.error("functions", "geoEncode")
    assert "the function geoEncode is also exported by geo.py" in message


# -- built-in and registered functions ---------------------------------------------------------


@pytest.mark.parametrize("name", ["upper", "Upper", "uPPER", "count", "lag"])
def test_a_built_in_function_is_not_overloaded(root: PluginRoot, name: str) -> None:
    path = root.function(f"{name}.py")
    root.function("fine.py")
    assert "is a built-in function" in root.error("functions", name)
    assert str(path) in root.error("functions", name)
    assert "is a built-in function" in root.registry.describe(PluginKind.FUNCTION, name).error
    with pytest.raises(PluginError, match="is a built-in function"):
        root.registry.examine(PluginKind.FUNCTION, path)
    assert root.answer("fine") == "fine.py"


async def test_rules_keep_the_built_in_function_and_the_log_says_so(
    root: PluginRoot, caplog: pytest.LogCaptureFixture
) -> None:
    path = root.function("upper.py")
    with caplog.at_level(logging.ERROR):
        async with Engine(root.path) as engine:
            spec = engine.functions.get("upper")
    assert spec is not None
    assert spec.category == "text"
    told = f"plugin upper isn't used: {path}: upper is a built-in function\n"
    assert caplog.messages == [f"{told}  hint: give the function another name"]


def test_names_in_a_table_are_exact(root: PluginRoot) -> None:
    root.write("functions", "geo.py", GEO.replace('"geoDecode"', '"GeoDecode"'))
    assert root.answer("GeoDecode") == "decoded"
    assert root.registry.describe(PluginKind.FUNCTION, "GeoDecode").name == "geo"
    assert not root.registry.has(PluginKind.FUNCTION, "geoDecode")


@pytest.mark.parametrize(
    ("given", "message"),
    [(5, "this is of type int, no function"), (partial(max, 1), "a function has no name")],
)
def test_what_is_no_function_is_not_registered(root: PluginRoot, given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Engine(root.path).function(given)


def test_a_registered_function_is_a_plugin(root: PluginRoot) -> None:
    engine = Engine(root.path)

    @engine.function
    def twice(value: float) -> float:
        """Twice the value."""
        return 2 * value

    assert "twice" in engine.plugins.names(PluginKind.FUNCTION)
    described = engine.plugins.describe(PluginKind.FUNCTION, "twice")
    assert (described.origin, described.doc) == ("registered", "Twice the value.")
    assert described.functions == ("twice",)
    assert engine.plugins.get(PluginKind.FUNCTION, "twice").instance().exec(None, 4) == 8
    spec = engine.functions.get("twice")
    assert spec is not None
    assert spec.call is twice
    with pytest.raises(ConfigError, match="built-in"):
        engine.function(twice, name="UPPER")  # type: ignore[call-overload]


def test_a_function_that_is_registered_again_replaces_the_first(root: PluginRoot) -> None:
    engine = Engine(root.path)
    for answer in (1, 2):
        engine.functions.register(lambda answer=answer: answer, "answer")
        spec = engine.functions.get("answer")
        assert spec is not None
        assert spec.call() == answer


def test_names_of_plugin_functions_are_exact(root: PluginRoot) -> None:
    root.function("geoHash.py")
    functions = Engine(root.path).functions
    assert functions.get("geoHash") is not None
    assert functions.get("GeoHash") is None
    assert functions.get("geohash") is None


def test_a_changed_function_is_described_anew(root: PluginRoot) -> None:
    root.function("geoHash.py")
    functions = Engine(root.path).functions
    before = functions.get("geoHash")
    assert functions.get("geoHash") is before
    root.write(
        "functions",
        "geoHash.py",
        "from engine.api import Function\nclass GeoHash(Function):\n"
        "    def exec(self, ctx, latitude, longitude): ...\n",
    )
    after = functions.get("geoHash")
    assert after is not None
    assert after.signature == "geoHash(latitude any, longitude any)"


def test_a_broken_plugin_does_not_hide_the_others(
    root: PluginRoot, caplog: pytest.LogCaptureFixture
) -> None:
    root.write("functions", "geo.py", "def broken(:\n")
    root.function("fine.py")
    specs = {spec.name for spec in Engine(root.path).functions}
    assert {"fine", "upper"} <= specs
    assert "geo" not in specs
    assert any("geo.py:1: syntax error" in message for message in caplog.messages)


async def test_only_the_rule_that_needs_a_broken_plugin_fails(
    engine: Engine, collected: Rows
) -> None:
    plugins = PluginRoot(engine.root)
    path = plugins.write("functions", "geo.py", "\ndef broken(:\n")
    plugins.function("fine.py", "yes")

    def rule(name: str, call: str) -> dict[str, Any]:
        return {"id": name, "sql": f"SELECT {call} AS x FROM demo", "actions": [{"collect": {}}]}

    with pytest.raises(PluginError, match=f"{path}:2: syntax error"):
        await engine.start(rule("a", "geo(n)"))
    started = await engine.start(rule("b", "fine(n)"))
    await eventually(lambda: started.status.state == "running")
    await engine.push("demo", [{"n": 1}])
    await eventually(lambda: collected == [{"x": "yes"}])


async def test_running_rules_keep_their_version_and_new_ones_get_the_latest(
    engine: Engine, collected: Rows
) -> None:
    plugins = PluginRoot(engine.root)
    for number, file in enumerate(("geo@1.9.0.py", "geo@1.10.0.py")):
        plugins.function(file)
        sql = f"SELECT {number} AS rule, geo() AS version FROM demo"
        started = await engine.start({"id": f"r{number}", "sql": sql, "actions": [{"collect": {}}]})
        await eventually(lambda started=started: started.status.state == "running")
    await engine.push("demo", [{"n": 1}])
    await eventually(lambda: len(collected) == 2)
    assert sorted(collected, key=lambda row: row["rule"]) == [
        {"rule": 0, "version": "geo@1.9.0.py"},
        {"rule": 1, "version": "geo@1.10.0.py"},
    ]


# -- registered plugins of other kinds ---------------------------------------------------------


def test_a_registered_plugin_that_breaks_the_contract_is_refused(root: PluginRoot) -> None:
    class Odd(Sink[Config]):
        async def collect(self) -> None:  # type: ignore[override]
            ...

    with pytest.raises(PluginError, match=r"registered sink odd: Odd.collect doesn't take"):
        root.registry.register(PluginKind.SINK, "odd", Odd)
    with pytest.raises(PluginError, match="is of type str"):
        root.registry.register(PluginKind.SINK, "odd", "text")
    with pytest.raises(PluginError, match="is a built-in function"):
        root.registry.register(PluginKind.FUNCTION, "upper", Function)
    assert not root.registry.has(PluginKind.SINK, "odd")


# -- sources and lookup sources ----------------------------------------------------------------

SOURCE = """\
    async def run(self, emit): ...
"""
LOOKUP = """\
    async def lookup(self, fields, keys, values):
        return [{"found": values}]
"""
IMPORTS = "from engine.api import Config, LookupSource, Source\n"


@pytest.mark.parametrize(
    ("text", "stream", "lookup"),
    [
        (f"class Geo(Source[Config]):\n{SOURCE}", "Geo", ""),
        (f"class Geo(LookupSource[Config]):\n{LOOKUP}", "", "Geo"),
        (f"class GeoLookup(LookupSource[Config]):\n{LOOKUP}", "", "GeoLookup"),
        (f"class Geo(Source[Config], LookupSource[Config]):\n{SOURCE}{LOOKUP}", "Geo", "Geo"),
        (
            f"class Geo(Source[Config]):\n{SOURCE}class GeoLookup(LookupSource[Config]):\n{LOOKUP}",
            "Geo",
            "GeoLookup",
        ),
    ],
)
async def test_a_source_file_serves_streams_lookup_tables_or_both(
    root: PluginRoot, text: str, stream: str, lookup: str
) -> None:
    root.write("sources", "geo.py", IMPORTS + text)
    if stream:
        plugin = root.registry.stream_source("geo")
        assert plugin.symbol == stream
        assert isinstance(plugin.instance(), Source)
    else:
        with pytest.raises(PluginError, match="for lookup tables only"):
            root.registry.stream_source("geo")
    if lookup:
        plugin = root.registry.lookup_source("geo")
        assert plugin.symbol == lookup
        instance = plugin.instance()
        assert isinstance(instance, LookupSource)
        assert await instance.lookup_many([], ["k"], [[1], [2]]) == [
            [{"found": [1]}],
            [{"found": [2]}],
        ]
    else:
        with pytest.raises(PluginError, match="can't serve lookup tables"):
            root.registry.lookup_source("geo")
    roles = {"source": stream, "lookup": lookup}
    described = root.registry.describe(PluginKind.SOURCE, "geo")
    assert described.roles == tuple(role for role, symbol in roles.items() if symbol)
    assert described.error == ""
