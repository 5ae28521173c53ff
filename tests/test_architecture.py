"""The house stays in order: who imports whom, how large a room may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
MODULES = sorted((CHECKOUT / "engine").rglob("*.py"))
PLUGINS = sorted((CHECKOUT / "plugins").rglob("*.py"))
LONGEST = 600  # lines; the expression compiler is one room on purpose

# A module may import from its own line and from those above it.
LAYERS = [
    (
        "engine.errors",
        "engine.blame",
        "engine.guard",
        "engine.offspring",
        "engine.parting",
        "engine.backoff",
        "engine.suggest",
        "engine.topics",
        "engine.addresses",
        "engine.duration",
        "engine.clock",
        "engine.batch",
        "engine.state",
        "engine.config.fields",
    ),
    ("engine.config", "engine.folders"),
    ("engine.api", "engine.contact", "engine.tracing"),
    ("engine.sql.names", "engine.sql.ast", "engine.sql.kinds", "engine.sql.text"),
    ("engine.layout",),
    ("engine.sql", "engine.functions", "engine.ops", "engine.template"),
    (
        "engine.codec",
        "engine.catalog",
        "engine.http",
        "engine.memory",
        "engine.mqtt",
        "engine.networks",
        "engine.plugin",
        "engine.registry",
        "engine.schemas",
        "engine.scripts",
        "engine.services",
        "engine.tls",
    ),
    ("engine.lookup",),
    ("engine.run",),
    ("engine.explain", "engine.packages"),
    ("engine.reload", "engine.engine", "engine.broker"),
    ("engine.testing", "engine.demo", "engine.command", "engine.reference", "engine.watch"),
    ("engine.server",),
    (
        "engine.cli",
        "engine.cli_client",
        "engine.cli_plugin",
        "engine.cli_serve",
        "engine.cli_state",
    ),
    ("engine", "engine.__main__"),
]


def name_of(path: Path) -> str:
    name = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def layer_of(name: str) -> int:
    best = max(
        (prefix for line in LAYERS for prefix in line if f"{name}.".startswith(f"{prefix}.")),
        key=len,
    )
    return next(number for number, line in enumerate(LAYERS) if best in line)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    own = layer_of(name_of(path))
    upwards = [
        name
        for name in imports(path)
        if name.partition(".")[0] == "engine" and name != "engine" and layer_of(name) > own
    ]
    if name_of(path) != "engine":  # the package imports its public names when they are used
        assert not upwards


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_plugins_import_the_contract_and_nothing_behind_it(path: Path) -> None:
    allowed = {
        "engine.api",
        "engine.http",
        "engine.lookup.keyed",
        "engine.lookup.match",
        "engine.memory",
        "engine.mqtt",
        "engine.mqtt.broker",
        "engine.template",
        "engine.topics",
    }
    assert {name for name in imports(path) if name.startswith("engine")} <= allowed


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_its_own_room_knows_a_library(path: Path) -> None:
    homes = {
        "sqlglot": "engine.sql",
        "yaml": "engine.config",
        "mqtt5": "engine.mqtt",
        "aiomqtt": "engine.mqtt",
        "iotcore": "engine.broker",
        "typer": "engine.cli",
        "litestar": "engine.server",
        "opentelemetry": "engine.tracing",
        "uvicorn": "engine.server.serve",
        "google": "engine.schemas",
        "grpc_tools": "engine.schemas",
        "quickjs": "engine.scripts.interpreter",
        "jwt": "engine.server.credentials",
        "re2": "engine.sql.regexp",
        "cryptography": "engine.run.sealing",
    }
    for name in imports(path):
        home = homes.get(name.partition(".")[0])
        assert home is None or name_of(path).startswith(home)


@pytest.mark.parametrize("path", [*MODULES, *PLUGINS], ids=name_of)
def test_a_module_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text))
