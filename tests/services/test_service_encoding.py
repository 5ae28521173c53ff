"""Descriptions of services and their schemas are UTF-8, whatever the machine's own encoding is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]

_PROGRAM = r"""
from pathlib import Path
from engine.server.staging import text_of, write_texts
from engine.services.description import read_service

write_texts(Path("schemas"), {"a.proto": "// Gr\u00fc\u00dfe\r\n"}, ".proto")
assert text_of(Path("schemas/a.proto")).startswith("// Gr\u00fc\u00dfe")
assert read_service(Path("svc.json")).about == {"author": "J\u00f6rg"}
"""


def test_files_of_services_are_utf8_on_every_machine(tmp_path: Path) -> None:
    given = {"about": {"author": "Jörg"}, "interfaces": {}}
    text = json.dumps(given, ensure_ascii=False)
    (tmp_path / "svc.json").write_text(text, encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=tmp_path,
        env={**os.environ, **ascii_only, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "schemas" / "a.proto").read_bytes() == "// Grüße\r\n".encode()
