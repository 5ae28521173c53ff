"""What a plugin says that it needs (PEP 723) is checked before it is run."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import API_VERSION
from engine.errors import PluginError
from engine.plugin.script import Script, read_script
from engine.plugin.version import satisfies
from engine.registry import PluginKind
from tests.plugins.folder import FUNCTION, PluginRoot


def geo(root: PluginRoot, block: str, *, before: str = "") -> str:
    """Write a function plugin with inline metadata; return its path."""
    text = FUNCTION.format(symbol="Geo", answer="fine")
    lines = "".join(f"# {line}\n" if line else "#\n" for line in block.splitlines())
    path = root.write("functions", "geo.py", f"{before}# /// script\n{lines}# ///\n{text}")
    return str(path)


@pytest.mark.parametrize(
    "block",
    [
        "",
        "dependencies = []",
        'dependencies = ["msgspec"]',
        'dependencies = ["msgspec>=0.1", "PyYAML"]',
        "dependencies = [\"surely-not-there; python_version < '3'\"]",
        'requires-python = ">=3.8"',
        '[tool.headrace]\nrequires-engine = ">=1.0,<2"',
        "dependencies = [\"anyio[trio]; sys_platform == 'nowhere'\"]",
        '[tool.other]\nanything = "goes"',
    ],
)
def test_a_plugin_whose_needs_are_met_is_loaded(root: PluginRoot, block: str) -> None:
    geo(root, block)
    assert root.answer("geo") == "fine"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ('dependencies = ["surely-not-there>=2"]', "it needs surely-not-there>=2"),
        ('dependencies = ["msgspec>=99"]', "it needs msgspec>=99 (installed is "),
        ('dependencies = ["anyio[no-such]", "surely-not-there"]', "it needs surely-not-there\n"),
        ('dependencies = ["not a name !"]', "dependencies: 'not a name !': "),
        ('dependencies = "numpy"', "inline metadata: Expected `array`, got `str`"),
        ('requires-python = ">=99"', "it needs Python >=99, not "),
        ('requires-python = "newest"', "requires-python: Invalid specifier"),
        ('[tool.headrace]\nrequires-engine = ">=99"', "it needs the plugin API >=99, and this is "),
        ('[tool.headrace]\nrequires-engine = "1.0"', "requires-engine: '1.0' is no comparison"),
        ('[tool.headrace]\nrequires = ">=1"', "unknown field `requires`"),
    ],
)
def test_a_plugin_whose_needs_are_not_met_says_so_and_is_not_run(
    root: PluginRoot, block: str, message: str
) -> None:
    path = geo(root, block, before="")
    with open(path, "a") as file:
        file.write("\nraise SystemExit('it was run')\n")
    root.function("fine.py")
    error = root.error("functions", "geo")
    assert message in error
    assert error.startswith(path)
    assert root.answer("fine") == "fine.py"


def test_what_is_missing_comes_with_the_command_that_installs_it(root: PluginRoot) -> None:
    geo(root, 'dependencies = ["surely-not-there>=2", "msgspec", "nor-this"]')
    error = root.error("functions", "geo")
    command = f"{sys.executable} -m pip install 'surely-not-there>=2' nor-this"
    assert error.endswith(f"hint: install it: {command}")


def test_what_an_extra_needs_is_missing_too(root: PluginRoot) -> None:
    geo(root, 'dependencies = ["anyio[trio]"]')  # the engine needs anyio, never trio
    assert "it needs anyio[trio] (installed is " in root.error("functions", "geo")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("'''Doc.'''\n# /// script\n# a = [\n# ///\n", 3, "inline metadata: "),
        ("\n# /// script\n#\n# a = 1\n# b = no\n# ///\n", 5, "inline metadata: Invalid value"),
        ("\n\n# /// script\n# dependencies = []\nx = 1\n", 3, "has no end"),
        ("# /// script\n# ///\n\n# /// script\n# ///\n", 4, "a second block"),
    ],
)
def test_a_malformed_block_is_an_error_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        read_script(text.encode(), "geo.py")
    assert caught.value.message.startswith(f"geo.py:{line}: ")


def test_a_block_ends_with_the_last_closing_line_of_the_comment() -> None:
    text = '# /// script\n# requires-python = """\n# ///\n# """\n# ///\n# more\n'
    assert read_script(text.encode(), "geo.py") == Script(requires_python="///\n")


@given(
    st.lists(
        st.sampled_from(
            ["# /// script", "# ///", "#", "# a = 1", "# dependencies = ['x']", "x = 1", "# [tool"]
        )
        | st.text(max_size=12)
    )
)
def test_any_text_gives_metadata_or_an_error_with_its_place(lines: list[str]) -> None:
    try:
        assert isinstance(read_script("\n".join(lines).encode(), "geo.py"), Script)
    except PluginError as error:
        assert error.message.startswith("geo.py:")  # noqa: PT017


@pytest.mark.parametrize(
    ("wanted", "fitting", "others"),
    [
        (">=1.0,<2", ["1.0.0", "1.9.9"], ["0.9.9", "2.0.0", "2.0.0-rc.1"]),
        (">=1.0 <2", ["1.0.0", "1.9.9"], ["0.9.9", "2.0.0", "2.0.0-rc.1"]),
        (">=1.2.3", ["1.2.3", "3.0.0"], ["1.2.2", "1.2.3-rc.1"]),
        (">1", ["1.0.1"], ["1.0.0"]),
        ("<=1.5", ["1.5.0", "1.4.9"], ["1.5.1"]),
        ("== 1.2.0", ["1.2.0"], ["1.2.1"]),
        ("=1.2", ["1.2.0"], ["1.2.1"]),
        (">=1, !=1.1.0", ["1.0.0", "1.1.1"], ["1.1.0"]),
        ("^1.2", ["1.2.0", "1.9.0"], ["1.1.0", "2.0.0"]),
        ("^0.2", ["0.2.5"], ["0.3.0", "0.1.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("^0", ["0.9.0"], ["1.0.0"]),
        ("~1.2", ["1.2.9"], ["1.3.0"]),
        ("~1", ["1.9.0"], ["2.0.0"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.2.2", "1.3.0"]),
        ("~=1.2", ["1.2.0", "1.9.0"], ["2.0.0", "1.1.0"]),
        ("~=1.2.3", ["1.2.9"], ["1.3.0"]),
    ],
)
def test_ranges_of_semantic_versions(wanted: str, fitting: list[str], others: list[str]) -> None:
    assert [version for version in (*fitting, *others) if satisfies(version, wanted)] == fitting


@pytest.mark.parametrize("wanted", ["", "1.0", "newest", ">=1.0;<2", ">=", ">=1.0.0.0", ">=1,,<2"])
def test_a_range_that_can_not_be_read_is_an_error(wanted: str) -> None:
    with pytest.raises(ValueError, match="comparison"):
        satisfies(API_VERSION, wanted)


def test_a_description_has_what_is_needed_even_if_it_is_missing(root: PluginRoot) -> None:
    geo(root, 'dependencies = ["surely-not-there"]\nrequires-python = ">=3.8"')
    described = root.registry.describe(PluginKind.FUNCTION, "geo")
    assert described.dependencies == ("surely-not-there",)
    assert described.requires_python == ">=3.8"
    assert "surely-not-there" in described.error
