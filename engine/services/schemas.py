"""Which schemas a service needs: the files that it names, and those that they import."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.services.description import ServiceDef

SCHEMAS = "schemas"
"""The folder with the schemas of services, beside their descriptions."""
_COMMENT = re.compile(rb"/\*.*?\*/|//[^\n]*", re.DOTALL)
_IMPORT = re.compile(rb"""\bimport\s+(?:public\s+|weak\s+)?["']([^"'\n]+)["']\s*;""")


def schemas_of(service: ServiceDef, folder: Path) -> set[str]:
    """Return the paths, below the folder of schemas, of all that a service needs and has there."""
    top = folder.resolve()
    found: set[str] = set()
    for interface in service.interfaces.values():
        if interface.schema_file:
            _collect(top, (top / interface.schema_file).resolve(), found)
    return found


def _collect(top: Path, file: Path, found: set[str]) -> None:
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if not path.is_relative_to(top) or not path.is_file():
            continue
        relative = path.relative_to(top).as_posix()
        if relative not in found:
            found.add(relative)
            # the compiler looks beside the file that was named, then in the folder of schemas
            for name in _imports(path):
                waiting += [(beside / name).resolve() for beside in (file.parent, top)]


def _imports(path: Path) -> Iterator[str]:
    for name in _IMPORT.findall(_COMMENT.sub(b" ", path.read_bytes())):
        yield name.decode("utf-8", "replace")
