"""What the system tests have in common: engines as processes, and the accounts they print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
_ACCOUNT = re.compile(r"^rule (\S+): (in .+)$", re.MULTILINE)
_INCOMING = frozenset({"in", "made", "recovered"})


def start_engine(path: Path, root: Path) -> subprocess.Popen[bytes]:
    """Run a rule file; what the process says is appended to ``engine.log`` in the root."""
    with (root / "engine.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "engine", str(path), "--root", str(root)],
            stdout=log,
            stderr=log,
            cwd=CHECKOUT,
        )


def account(root: Path, rule: str) -> dict[str, int]:
    """Return the last account of a rule in ``engine.log``, once it is seen to balance."""
    text = (root / "engine.log").read_text()
    assert "does not balance" not in text
    lines = [line for name, line in _ACCOUNT.findall(text) if name == rule]
    assert lines, text[-3000:]
    found = {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", lines[-1])}
    outgoing = sum(count for name, count in found.items() if name not in _INCOMING)
    assert sum(found.get(name, 0) for name in _INCOMING) == outgoing, lines[-1]
    return found
