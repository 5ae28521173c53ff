"""What `state show` tells of the stored state of a rule."""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from engine.state.codec import CODEC
from engine.state.dump import dump_rule, plain
from engine.state.scope import RuleState
from engine.state.store import CheckpointStore
from tests.state.state_types import Colour, Point


def saved(folder: Path) -> CheckpointStore:
    store = CheckpointStore(folder / "c.db")
    state = RuleState()
    scope = state.scope("function[delta]", 0)
    scope.values["last"] = 20.5
    scope.values["where"] = Point(1, 2)
    scope.values["line\n2"] = "a\x1b[31m"
    scope.counters["seen"] = 1 << 70
    many = state.scope("function[many]", 3)
    for number in range(50):
        many.values[f"k{number}"] = "x" * 300
    parts = {**state.snapshot().parts(), "window": CODEC.encode([(1, 2)]), "odd": b"\xc1"}
    store.save("hot", 12, parts, {"offset": 5}, at=1_732_492_800_000)
    return store


def test_the_text_shows_operators_keys_and_values(tmp_path: Path) -> None:
    text = dump_rule(saved(tmp_path), "hot").text(items=4, width=60)
    lines = text.splitlines()
    assert lines[0].startswith("rule hot: checkpoint 12 of 2024-11-25T00:00:00Z, 4 parts, ")
    assert "offset = 5" in lines
    assert "  last = 20.5" in lines
    assert "  where = Point(x=1, y=2)" in lines
    assert f"  # seen = {1 << 70}" in lines
    assert "  state = [(1, 2)]" in lines
    assert "  … and 46 more" in lines
    assert any(line.startswith("function[many]/3 (") for line in lines)
    assert any(line.startswith("  ! the stored state is damaged") for line in lines)
    assert all(line.isprintable() for line in lines)
    assert max(len(line) for line in lines[1:] if "!" not in line) == 60


def test_json_has_everything(tmp_path: Path) -> None:
    found = json.loads(json.dumps(dump_rule(saved(tmp_path), "hot").json()))
    parts = {part["name"]: part for part in found["parts"]}
    assert (found["rule"], found["checkpoint"], found["meta"]) == ("hot", 12, {"offset": 5})
    assert parts["function[delta]/0"]["counters"] == {"seen": str(1 << 70)}
    where = parts["function[delta]/0"]["values"]["where"]
    assert where == {"type": "tests.state.state_types:Point", "value": {"x": 1, "y": 2}}
    assert len(parts["function[many]/3"]["values"]) == 50
    assert parts["window"]["values"] == {"state": [[1, 2]]}
    assert "damaged" in parts["odd"]["problem"]


def test_a_rule_without_state_says_so(tmp_path: Path) -> None:
    store = saved(tmp_path)
    assert dump_rule(store, "cold").text() == "rule cold: no stored state"
    assert store.delete("hot")
    assert dump_rule(store, "hot").json()["parts"] == []


def test_damage_is_shown(tmp_path: Path) -> None:
    store = saved(tmp_path)
    with sqlite3.connect(tmp_path / "c.db") as connection:
        connection.execute("UPDATE checkpoint SET checksum = 0")
    connection.close()
    dump = dump_rule(store, "hot")
    assert dump.text().splitlines() == [
        "rule hot: no stored state",
        "! checkpoint 12 is skipped: its manifest is damaged",
    ]
    assert dump.json()["skipped"] == [{"checkpoint": 12, "reason": "its manifest is damaged"}]


def test_every_kind_of_value_has_a_form_in_json() -> None:
    values = [
        float("nan"),
        float("-inf"),
        b"\xff",
        {1, 2},
        deque([1]),
        Colour.RED,
        datetime(2024, 1, 1, tzinfo=UTC),
        date(2024, 1, 1),
        timedelta(seconds=1.5),
        Decimal("1.10"),
        UUID(int=1),
        {(1, 2): True},
        None,
    ]
    shown = plain(CODEC.inspect(CODEC.encode(values)))
    assert json.loads(json.dumps(shown)) == [
        "nan",
        "-inf",
        "/w==",
        [1, 2],
        {"type": "deque", "value": [[1], None]},
        {"type": "tests.state.state_types:Colour", "value": "RED"},
        "2024-01-01T00:00:00+00:00",
        "2024-01-01",
        1.5,
        "1.10",
        "00000000-0000-0000-0000-000000000001",
        {"(1, 2)": True},
        None,
    ]
