"""Making the zip of a plugin from its files below a root."""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from engine.errors import PluginError
from engine.packages.archive import unpack
from engine.packages.contents import DATA, contents_of
from engine.registry import Origin, PluginFile, PluginKind, PluginRegistry, plugin_name

_LEFT_OUT = ("__pycache__", ".pyc", ".new")
_VERSION = re.compile(r"[^/\\\x00-\x1f\x7f]*")
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""Time of all entries, so that the same files give the same zip."""


def pack(
    registry: PluginRegistry,
    root: Path,
    kind: PluginKind,
    name: str,
    target: Path | None = None,
    *,
    version: str = "",
) -> Path:
    """Write the package of a plugin in the root, its latest version; return where.

    Into it go the plugin, ``<plugin>.yaml`` and ``.json`` of ``etc/<kind>/``, and all of
    ``etc/<kind>/<plugin>/``.
    ``target`` is a file or a folder, by default the working directory; a file of that name is
    overwritten. ``version`` names the version if the file has none.

    Raises:
        PluginError: there is no such plugin in the root, or it can't be used, or the file can't be
            written.
    """
    if not _VERSION.fullmatch(version):
        raise PluginError(
            f"{version!r} can't be the version of a file",
            hint="leave slashes and control characters out",
        )
    name = plugin_name(name)
    file = _file_of(registry, kind, name)
    registry.examine(kind, file.path)
    if version and file.version:
        raise PluginError(f"{file.path}: it has the version {file.version} already")
    stem = file.path.name.removesuffix(".py") + (f"@{version}" if version else "")
    target = target or Path()
    if target.is_dir():
        target /= f"{stem}.zip"
    half = target.with_name(f".{target.name}.half")
    try:
        with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED) as opened:
            for path, inside in sorted(_files(file, stem, root / "etc" / kind, name)):
                info = zipfile.ZipInfo(inside, _MOMENT)
                info.external_attr = 0o644 << 16
                opened.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED)
        _check(half, target.name, kind, name)
        os.replace(half, target)
    except OSError as error:
        is_target = error.filename in (None, str(half), str(target))
        what = f"{target}: can't be written" if is_target else f"{error.filename}: can't be read"
        raise PluginError(f"{what}: {error.strerror or error}") from error
    finally:
        half.unlink(missing_ok=True)
    return target.absolute()


def _file_of(registry: PluginRegistry, kind: PluginKind, name: str) -> PluginFile:
    for present in registry.files(kind):
        if present.name == name and present.origin is Origin.ROOT:
            file = PluginFile.at(kind, Path(present.file))
            if file is not None:
                return file
    found = registry.describe(kind, name)  # explains an unknown name
    raise PluginError(
        f"{kind.singular} {name} is no file in the root, but {found.origin}: {found.file}"
    )


def _files(file: PluginFile, stem: str, etc: Path, name: str) -> Iterator[tuple[Path, str]]:
    """Yield the files of a package with their names inside."""
    if file.path == file.source:
        yield file.path, f"{stem}.py"
    else:
        yield from _below(file.path, stem)
    for suffix in ("yaml", "json"):
        if (path := etc / f"{name}.{suffix}").is_file():
            yield path, path.name
    yield from _below(etc / name, DATA)


def _below(folder: Path, inside: str) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*"):
        if not path.is_file() or any(str(part).endswith(_LEFT_OUT) for part in path.parts):
            continue
        yield path, f"{inside}/{path.relative_to(folder).as_posix()}"


def _check(archive: Path, shown: str, kind: PluginKind, name: str) -> None:
    """Check that a package can be installed."""
    with tempfile.TemporaryDirectory() as folder:
        names = unpack(archive, Path(folder))
        contents_of(kind, name, Path(folder), names, shown)
