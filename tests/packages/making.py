"""Zip files for tests, good and bad ones."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

FUNCTION = """\
from engine.api import Function
class {symbol}(Function):
    \"\"\"Says which version it is.\"\"\"
    def exec(self, ctx, value=None):
        return "{answer}"
"""


def function(name: str = "geo", answer: str = "1") -> str:
    """Return the text of a function plugin that returns ``answer``."""
    return FUNCTION.format(symbol=name[:1].upper() + name[1:], answer=answer)


def zip_of(path: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a zip with some files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return path


def tree(root: Path) -> dict[str, bytes]:
    """Return all files below a folder, and its folders as names with a slash at their end."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        found[f"{name}/" if path.is_dir() else name] = b"" if path.is_dir() else path.read_bytes()
    return found
