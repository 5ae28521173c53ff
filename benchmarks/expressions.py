"""What a compiled expression costs beside the same thing written by hand in Python.

    python benchmarks/expressions.py [--json FILE]

Both run over the same decoded rows of a batch. By hand means: as somebody would write it who knows
that every row is clean, without a thought for nulls, missing columns or wrong kinds.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.batch import Batch
from engine.codec import decoder
from engine.layout import Frame, Layout
from engine.sql.analyse import analyse
from engine.sql.compile import QueryOptions
from engine.sql.functions import builtins
from engine.sql.parse import parse_select
from engine.sql.query import Query
from engine.sql.schema import Schema
from engine.sql.source import SourceText

ROWS = 2000
By = Callable[[list[Any], Callable[[str], str]], list[Any]]


@dataclass(frozen=True)
class Case:
    """A query and the body of a Python comprehension that does the same to ``r``.

    In the body ``{name}`` stands for a column of the row.
    """

    name: str
    select: str
    by_hand: str
    target: float


CASES = [
    Case(
        "comparison",
        "SELECT a FROM demo WHERE a > 50",
        "{{'a': {a}}} for r in rows if {a} > 50",
        1.3,
    ),
    Case(
        "two comparisons",
        "SELECT a FROM demo WHERE a > 20 AND b < 80",
        "{{'a': {a}}} for r in rows if {a} > 20 and {b} < 80",
        1.3,
    ),
    Case(
        "arithmetic",
        "SELECT a * 1.8 + 32 AS f FROM demo",
        "{{'f': {a} * 1.8 + 32}} for r in rows",
        1.3,
    ),
    Case(
        "longer arithmetic",
        "SELECT (a + b) * (a - b) / 2.5 AS f, a * b AS p FROM demo",
        "{{'f': ({a} + {b}) * ({a} - {b}) / 2.5, 'p': {a} * {b}}} for r in rows",
        1.3,
    ),
    Case(
        "CASE",
        "SELECT CASE WHEN a > 66 THEN 'high' WHEN a > 33 THEN 'mid' ELSE 'low' END AS c FROM demo",
        "{{'c': 'high' if {a} > 66 else 'mid' if {a} > 33 else 'low'}} for r in rows",
        1.3,
    ),
    Case(
        "text comparison",
        "SELECT a FROM demo WHERE s = 'device-7'",
        "{{'a': {a}}} for r in rows if {s} == 'device-7'",
        1.3,
    ),
    Case("abs", "SELECT abs(a) AS r FROM demo", "{{'r': abs({a})}} for r in rows", 2.0),
    Case("sqrt", "SELECT sqrt(a) AS r FROM demo", "{{'r': math.sqrt({a})}} for r in rows", 2.0),
    Case(
        "power", "SELECT power(a, 2) AS r FROM demo", "{{'r': math.pow({a}, 2)}} for r in rows", 2.0
    ),
    Case("upper", "SELECT upper(s) AS r FROM demo", "{{'r': {s}.upper()}} for r in rows", 2.0),
    Case("length", "SELECT length(s) AS r FROM demo", "{{'r': len({s})}} for r in rows", 2.0),
    Case("concat", "SELECT concat(s, '!') AS r FROM demo", "{{'r': {s} + '!'}} for r in rows", 2.0),
    Case(
        "startswith",
        "SELECT a FROM demo WHERE startswith(s, 'device-1') = true",
        "{{'a': {a}}} for r in rows if {s}.startswith('device-1')",
        2.0,
    ),
]


def prepared(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the compiled query and the hand-written code, both ready to run over one batch."""
    plan = analyse(
        parse_select(case.select), SourceText(case.select), {"demo": Schema()}, builtins()
    )
    layout = Layout()
    layout.require(plan.scan.columns)
    query = Query(plan, layout, builtins(), QueryOptions(), lambda site: (site.spec.call, None))
    frame = _frame(layout)
    slots = {name: f"r.{layout.slot(name)}" for name in layout.names}
    text = re.sub(r"\{(\w)\}", lambda found: slots[found[1]], case.by_hand)
    text = text.replace("{{", "{").replace("}}", "}")
    namespace: dict[str, Any] = {}
    exec(f"import math\ndef by_hand(rows):\n    return [{text}]", namespace)
    by_hand = namespace["by_hand"]
    if len(query(frame)) != len(by_hand(frame.rows)):
        sys.exit(f"{case.name}: the two don't agree")
    return lambda: query(frame), lambda: by_hand(frame.rows)


def _frame(layout: Layout) -> Frame:
    payloads = [
        msgspec.json.encode({"a": n * 7 % 100 + 0.5, "b": n * 3 % 100, "s": f"device-{n % 20}"})
        for n in range(ROWS)
    ]
    frame, failures = decoder("json", layout, Schema()).decode(Batch(payloads=payloads))
    assert not failures
    return frame


def measure(case: Case) -> dict[str, Any]:
    """Return the cost of one row in nanoseconds, compiled and by hand, taken in turns."""
    compiled, by_hand = prepared(case)
    best = [float("inf"), float("inf")]
    for _ in range(15):
        for index, run in enumerate((compiled, by_hand)):
            best[index] = min(best[index], timeit.timeit(run, number=20) / 20 / ROWS * 1e9)
    return {
        "case": case.name,
        "compiled_ns": round(best[0], 1),
        "by_hand_ns": round(best[1], 1),
        "ratio": round(best[0] / best[1], 2),
        "target": case.target,
    }


def planning_ms() -> float:
    """Return the time for planning a typical query, from text to functions, in milliseconds."""
    sql = (
        "SELECT device, temperature * 1.8 + 32 AS f, upper(kind) AS kind, meta(topic) AS topic, "
        "CASE WHEN humidity > 80 THEN 'wet' ELSE 'dry' END AS state FROM demo "
        "WHERE temperature > 50 AND device LIKE 'd%' AND site IN ('a', 'b')"
    )

    def plan() -> None:
        made = analyse(parse_select(sql), SourceText(sql), {"demo": Schema()}, builtins())
        layout = Layout()
        layout.require(made.scan.columns)
        Query(made, layout, builtins(), QueryOptions(), lambda site: (site.spec.call, None))

    plan()
    return min(timeit.repeat(plan, number=5, repeat=5)) / 5 * 1000


def main() -> None:
    """Print the table, and write it as JSON if asked."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--json", metavar="FILE", help="write the figures to a file, - for stdout")
    chosen = options.parse_args()
    results = [measure(case) for case in CASES]
    planning = planning_ms()
    print(f"{'case':<20}{'compiled':>10}{'by hand':>10}{'ratio':>8}{'target':>8}   (ns a row)")
    for row in results:
        mark = "" if row["ratio"] <= row["target"] else "   short"
        print(
            f"{row['case']:<20}{row['compiled_ns']:>10}{row['by_hand_ns']:>10}"
            f"{row['ratio']:>8}{row['target']:>8}{mark}"
        )
    print(f"planning a typical query: {planning:.2f} ms (target 5)")
    if chosen.json:
        text = json.dumps({"expressions": results, "planning_ms": round(planning, 3)}, indent=1)
        if chosen.json == "-":
            print(text)
        else:
            with open(chosen.json, "w") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
