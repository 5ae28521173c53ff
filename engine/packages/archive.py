"""Zip files from strangers: looked through before anything is written, unpacked within limits."""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from engine.errors import PluginError

_CHUNK = 1 << 16
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that mean devices on Windows."""


class Limits(NamedTuple):
    """How much a package may hold; sizes in bytes."""

    files: int = 2_000
    total: int = 512 << 20
    """Of all files together, unpacked."""
    ratio: int = 200
    """How many times its packed size a file may have, from ``_CHUNK`` bytes on."""
    name: int = 240
    depth: int = 20


LIMITS = Limits()


def unpack(archive: Path, folder: Path, limits: Limits = LIMITS) -> list[PurePosixPath]:
    """Write the files of a zip below ``folder``, which is there already; return their names.

    Nothing is written unless all names are harmless: relative, without ``..``, links, devices, or
    two that are one on systems that ignore case. Sizes are counted while unpacking, whatever the
    zip says of them.

    Raises:
        PluginError: it is no zip, is damaged, or breaks a rule; what was written by then stays.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except Exception as error:  # damage can show in any way
        raise PluginError(
            f"{archive.name}: no zip file, or a damaged one: {error}",
            hint="make it with: headrace plugin pack KIND NAME",
        ) from error
    with opened:
        entries = _checked(opened.infolist(), archive.name, limits)
        left = limits.total
        for entry, name in entries:
            left -= _write(opened, entry, folder / name, archive.name, left, limits)
        return [name for _, name in entries]


def _checked(
    entries: list[zipfile.ZipInfo], archive: str, limits: Limits
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Return the entries that are files, with their names.

    Raises:
        PluginError: one of them, or all of them together, break a rule.
    """
    if len(entries) > limits.files:
        raise PluginError(
            f"{archive}: {len(entries):,} entries, more than {limits.files:,}",
            hint="leave out what the plugin doesn't need at run time",
        )
    declared = sum(entry.file_size for entry in entries)
    if declared > limits.total:
        raise PluginError(f"{archive}: {declared:,} bytes unpacked, more than {limits.total:,}")
    found: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    taken: dict[str, str] = {}
    folders: dict[str, str] = {}
    for entry in entries:
        name = _checked_name(entry, archive, limits)
        _check_kind(entry, archive)
        parents = [str(parent) for parent in name.parents if str(parent) != "."]
        parents += [str(name)] if entry.is_dir() else []
        for parent in parents:
            if folders.setdefault(_folded(parent), parent) != parent:
                raise _twins(archive, folders[_folded(parent)], parent)
        if not entry.is_dir():
            key = _folded(str(name))
            if key in taken:
                raise _twins(archive, taken[key], entry.filename)
            taken[key] = entry.filename
            found.append((entry, name))
    if both := sorted(taken.keys() & folders.keys()):
        raise PluginError(f"{archive}: {both[0]!r} is a file and a folder")
    return found


def _checked_name(entry: zipfile.ZipInfo, archive: str, limits: Limits) -> PurePosixPath:
    # Python cuts a name at a zero byte and turns backslashes on Windows: look at what was written
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    problem = ""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        problem = "is absolute"
    elif ".." in parts:
        problem = "leads out of the package"
    elif "\\" in name or not name.isprintable() or any(part in ("", ".") for part in parts):
        problem = "is no plain relative name"
    elif any(part != part.rstrip(". ") or _RESERVED.match(part) or ":" in part for part in parts):
        problem = "means something else on other systems"
    elif len(name.encode()) > limits.name or len(parts) > limits.depth:
        problem = "is too long"
    if problem:
        raise PluginError(f"{archive}: the name {name[:100]!r} {problem}")
    return PurePosixPath(*parts)


def _check_kind(entry: zipfile.ZipInfo, archive: str) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "no regular file"
        raise PluginError(f"{archive}: {entry.filename} is {what}", hint="pack the file itself")
    if entry.flag_bits & _ENCRYPTED:
        raise PluginError(f"{archive}: {entry.filename} is encrypted")
    if entry.compress_type not in _METHODS:
        raise PluginError(
            f"{archive}: {entry.filename} is packed in a way that isn't supported",
            hint="use deflate, as most programs do",
        )


def _folded(name: str) -> str:
    """Return what is the same for names that some system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _twins(archive: str, one: str, other: str) -> PluginError:
    return PluginError(
        f"{archive}: {one!r} and {other!r} are the same name where case or spelling doesn't count"
    )


def _write(
    opened: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    target: Path,
    archive: str,
    left: int,
    limits: Limits,
) -> int:
    """Unpack one file; return its size, which must not exceed ``left``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("xb") as file:
        for chunk in _chunks(opened, entry, archive):
            size += len(chunk)
            if size > left:
                raise PluginError(f"{archive}: more than {limits.total:,} bytes unpacked")
            if size > _CHUNK and size > limits.ratio * max(1, entry.compress_size):
                raise PluginError(
                    f"{archive}: {entry.filename} is more than {limits.ratio} times its packed size"
                )
            file.write(chunk)
    return size


def _chunks(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, archive: str) -> Iterator[bytes]:
    try:
        with opened.open(entry) as source:
            yield from iter(lambda: source.read(_CHUNK), b"")
    except Exception as error:  # damage can show in any way
        raise PluginError(
            f"{archive}: {entry.filename} is damaged: {error}", hint="get the file again"
        ) from error
