"""The commands ``headrace plugin …``: packages of plugins in a root folder."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

if TYPE_CHECKING:
    from engine.packages import Packages, PluginReport
    from engine.registry import PluginKind

plugins = typer.Typer(
    name="plugin",
    help="Install, make and look at plugins. They count for rules that start afterwards; running "
    "rules keep the version with which they started.",
    no_args_is_help=True,
)


class Kind(StrEnum):
    """The kinds of plugins on the command line."""

    SOURCE = "source"
    SINK = "sink"
    FUNCTION = "function"


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


KindArgument = Annotated[Kind, typer.Argument(help="source, sink or function")]
Name = Annotated[str, typer.Argument(help="The plugin's name, such as mySource.")]
Place = Annotated[str, typer.Argument(help="The zip file: a path or an http(s) URL.")]
Checksum = Annotated[str, typer.Option("--sha256", help="What the SHA-256 of the zip must be.")]
Root = Annotated[
    Path | None,
    typer.Option(
        envvar="HEADRACE_ROOT",
        file_okay=False,
        exists=True,
        help="Folder with plugins/ and etc/; by default the working directory.",
    ),
]
Output = Annotated[Format, typer.Option("--format", help="text or json")]


@plugins.command("install")
def install(
    kind: KindArgument,
    name: Name,
    place: Place,
    sha256: Checksum = "",
    root: Root = None,
    output: Output = Format.TEXT,
) -> None:
    """Install the plugin in a zip file; all of it, or nothing."""
    _show_installed(_packages(root).install(_kind(kind), name, place, sha256=sha256), output)


@plugins.command("update")
def update(
    kind: KindArgument,
    name: Name,
    place: Annotated[
        str, typer.Argument(help="The zip file; by default where the installed one came from.")
    ] = "",
    sha256: Checksum = "",
    root: Root = None,
    output: Output = Format.TEXT,
) -> None:
    """Put another version in the place of the installed one; changed files of etc/ are kept."""
    _show_installed(_packages(root).update(_kind(kind), name, place, sha256=sha256), output)


@plugins.command("remove")
def remove(
    kind: KindArgument,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Also if rule files use it.")] = False,
    root: Root = None,
    output: Output = Format.TEXT,
) -> None:
    """Remove a plugin with all its versions; changed files of etc/ are kept."""
    removed = _packages(root).remove(_kind(kind), name, force=force)
    if output is Format.JSON:
        _show_json(removed)
        return
    typer.echo(f"removed {removed.kind} {removed.name}: {', '.join(removed.files)}")
    for path in removed.kept:
        typer.echo(f"kept {path}, which was changed after the installation")
    for user in removed.used_by:
        typer.echo(f"used by {user.rule} ({user.file})")


@plugins.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="source, sink or function")] = None,
    root: Root = None,
    output: Output = Format.TEXT,
) -> None:
    """List the plugins that there are, wherever they come from."""
    found = _packages(root).all(None if kind is None else _kind(kind))
    if output is Format.JSON:
        _show_json([report.json() for report in found])
        return
    rows = [("KIND", "NAME", "VERSION", "ORIGIN", "")]
    for report in found:
        plugin = report.plugin
        more = f"{len(plugin.versions)} versions" if len(plugin.versions) > 1 else ""
        note = "can't be used" if plugin.error else more
        rows.append((plugin.kind, plugin.name, plugin.version or "-", str(plugin.origin), note))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@plugins.command("describe")
def describe(
    kind: KindArgument, name: Name, root: Root = None, output: Output = Format.TEXT
) -> None:
    """Show all that is known of a plugin: versions, properties, needs, and who uses it."""
    report = _packages(root).describe(_kind(kind), name)
    if output is Format.JSON:
        _show_json(report.json())
        return
    for label, value in _lines(report):
        first, *more = value.splitlines() or [""]
        typer.echo(f"{label:<14}{first}")
        for line in more:
            typer.echo(f"{'':<14}{line}")


@plugins.command("new")
def new(kind: KindArgument, name: Name, root: Root = None, output: Output = Format.TEXT) -> None:
    """Write a plugin that works, and its test, for you to change."""
    plugin, test = _packages(root).new(_kind(kind), name)
    if output is Format.JSON:
        _show_json({"plugin": str(plugin), "test": str(test)})
        return
    typer.echo(f"wrote {plugin}\nwrote {test}\nrun it: python -m pytest {test}")


@plugins.command("pack")
def pack(
    kind: KindArgument,
    name: Name,
    target: Annotated[
        Path | None, typer.Argument(help="File or folder; by default the working directory.")
    ] = None,
    version: Annotated[str, typer.Option(help="The version, if the file's name has none.")] = "",
    root: Root = None,
    output: Output = Format.TEXT,
) -> None:
    """Make the zip file of a plugin in the root, with its files in etc/."""
    written = _packages(root).pack(_kind(kind), name, target, version=version)
    if output is Format.JSON:
        from engine.packages.record import checksum

        _show_json({"file": str(written), "sha256": checksum(written)})
        return
    typer.echo(f"wrote {written}")


def root_of(root: Path | None) -> Path:
    """Return the root of a command; typer has looked at the environment already."""
    return Path(root or os.environ.get("HEADRACE_ROOT") or ".").resolve()


def _packages(root: Path | None) -> Packages:
    from engine.packages import Packages

    return Packages(root_of(root))


def _kind(kind: Kind) -> PluginKind:
    from engine.registry import PluginKind

    return PluginKind(f"{kind}s")


def _show_json(value: Any) -> None:
    typer.echo(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))


def _show_installed(installed: Any, output: Format) -> None:
    if output is Format.JSON:
        _show_json(installed)
        return
    version = f" {installed.version}" if installed.version else ""
    typer.echo(f"installed {installed.kind} {installed.name}{version}: {installed.file}")
    if installed.replaced is not None:
        typer.echo(
            f"in the place of version {installed.replaced or '-'}; running rules keep theirs"
        )
    if installed.hides:
        typer.echo(f"it goes before {installed.hides}")
    for path in installed.kept:
        typer.echo(f"kept {path}, which was changed; the new one is {path}.new")


def _lines(report: PluginReport) -> list[tuple[str, str]]:
    """Return what describe shows, by label."""
    from engine.plugin.outline import outline

    plugin, package = report.plugin, report.package
    versions = "\n".join(
        f"{file.version or '-'}  {file.state}  {file.origin}  {file.file}"
        for file in plugin.versions
    )
    found = [
        ("kind", plugin.kind),
        ("name", plugin.name),
        ("version", plugin.version or "-"),
        ("file", plugin.file),
        ("versions", versions),
        ("error", plugin.error),
        ("symbols", ", ".join(plugin.symbols)),
        ("functions", ", ".join(plugin.functions)),
        ("roles", ", ".join(plugin.roles)),
        ("export", plugin.export),
        ("capabilities", ", ".join(plugin.capabilities)),
        ("dependencies", ", ".join(plugin.dependencies)),
        ("needs python", plugin.requires_python),
        ("needs engine", plugin.requires_engine),
        ("data", plugin.data_path),
        ("package", f"{package.source} (sha256 {package.sha256})" if package else ""),
        ("used by", "\n".join(f"{user.rule} ({user.file})" for user in report.used_by)),
        ("about", plugin.doc),
        ("properties", "\n".join(outline(plugin.schema)) if plugin.schema else ""),
        ("for lookups", "\n".join(outline(plugin.lookup_schema)) if plugin.lookup_schema else ""),
    ]
    return [(label, value) for label, value in found if value]
