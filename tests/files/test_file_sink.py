"""The file sink after a crash."""

from __future__ import annotations

from pathlib import Path

from engine import Engine
from tests.conftest import eventually


async def test_a_line_that_a_crash_has_torn_does_not_spoil_the_next_one(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "torn").write_text('{"n":1}\n{"n":')
    (tmp_path / "whole").write_text('{"n":1}\n')
    files = [{"file": {"path": name, "sendSingle": True}} for name in ("torn", "whole", "new")]
    rule = await engine.start({"id": "r", "sql": "SELECT n FROM demo", "actions": files})
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"n": 2}])
    await engine.stop("r")
    assert (tmp_path / "torn").read_text() == '{"n":1}\n{"n":\n{"n":2}\n'
    assert (tmp_path / "whole").read_text() == '{"n":1}\n{"n":2}\n'
    assert (tmp_path / "new").read_text() == '{"n":2}\n'
