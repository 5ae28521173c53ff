"""What comes out of a benchmark: figures, targets, a table and JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from measure import Run
from rich.console import Console
from rich.table import Table

LEAST_RATIO = 0.5
MOST_START_UP = 0.6
MOST_RSS = 75e6
_WIDTH = 112
TARGETS = f"ratio ≥ {LEAST_RATIO:g}, start-up < {MOST_START_UP:g} s, RSS < {MOST_RSS / 1e6:g} MB"


class Figures(msgspec.Struct, frozen=True):
    """The best of some runs; of peak memory the worst."""

    per_cpu_second: float
    per_second: float
    start_up: float
    peak_rss: int
    runs: list[Run]

    @classmethod
    def of(cls, runs: list[Run]) -> Figures:
        return cls(
            per_cpu_second=max(run.messages / run.cpu for run in runs),
            per_second=max(run.messages / run.elapsed for run in runs),
            start_up=min(run.start_up for run in runs),
            peak_rss=max(run.peak_rss for run in runs),
            runs=runs,
        )


class Outcome(msgspec.Struct, frozen=True):
    """A case: the engine beside the bare loop."""

    case: str
    payload: str
    engine: Figures
    bare: Figures
    ratio: float
    """Engine ÷ bare loop, of messages per CPU second."""
    wall_ratio: float
    short: list[str]
    """The targets that were missed."""

    @classmethod
    def of(cls, case: str, payload: str, engine: Figures, bare: Figures) -> Outcome:
        ratio = engine.per_cpu_second / bare.per_cpu_second
        misses = {
            "ratio": ratio < LEAST_RATIO,
            "start-up": engine.start_up >= MOST_START_UP,
            "RSS": engine.peak_rss >= MOST_RSS,
        }
        return cls(
            case=case,
            payload=payload,
            engine=engine,
            bare=bare,
            ratio=ratio,
            wall_ratio=engine.per_second / bare.per_second,
            short=[name for name, is_missed in misses.items() if is_missed],
        )


def console(*, to_stderr: bool) -> Console:
    """Return where to print; wide enough for the table also in a file or a narrow window."""
    found = Console(stderr=to_stderr)
    return found if found.width >= _WIDTH else Console(stderr=to_stderr, width=_WIDTH)


def print_table(outcomes: Sequence[Outcome], out: Console) -> None:
    table = Table(title="messages a second, in thousands", caption=f"target: {TARGETS}")
    table.add_column("case", no_wrap=True)
    table.add_column("payload")
    for heading in ["engine\n/CPU s", "bare\n/CPU s", "ratio", "engine\n/s", "bare\n/s", "ratio"]:
        table.add_column(heading, justify="right")
    table.add_column("peak RSS\nMB", justify="right")
    table.add_column("start-up\ns", justify="right")
    table.add_column("target")
    for each in outcomes:
        engine, bare = each.engine, each.bare
        table.add_row(
            each.case,
            each.payload,
            f"{engine.per_cpu_second / 1e3:.0f}",
            f"{bare.per_cpu_second / 1e3:.0f}",
            f"{each.ratio:.2f}",
            f"{engine.per_second / 1e3:.0f}",
            f"{bare.per_second / 1e3:.0f}",
            f"{each.wall_ratio:.2f}",
            f"{engine.peak_rss / 1e6:.0f}",
            f"{engine.start_up:.2f}",
            f"short: {', '.join(each.short)}" if each.short else "ok",
        )
    out.print(table)


def to_json(outcomes: Sequence[Outcome]) -> bytes:
    document = {"machine": machine(), "target": TARGETS, "outcomes": outcomes}
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
