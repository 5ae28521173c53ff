"""How fast the engine is, beside a loop that does the same without an engine.

    python benchmarks/throughput.py                       # all cases, best of three
    python benchmarks/throughput.py --quick --case filter-nop --json -

A stand-in broker floods one subscriber under back-pressure, so nothing is dropped. The subject is
once ``python -m engine rule.yaml``, as users run it, and once the bare loop in ``bare.py``, in
turns, on the same bytes and measured the same way (see ``measure.py``). The figure that counts is
the ratio of messages per CPU second; it hardly depends on the machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure import BenchmarkError, Run, Subject, measure
from report import Figures, Outcome, console, machine, print_table, to_json
from rich.console import Console
from workload import CASES, PAYLOADS, Case, Payload

SUBJECTS: list[Subject] = ["engine", "bare"]


def main() -> int:
    options = _parser().parse_args()
    to_standard_output = options.json == Path("-")
    out = console(to_stderr=to_standard_output)
    out.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    outcomes = []
    try:
        for case, payload in _pairs(options.case, options.payload):
            count = payload.quick_count if options.quick else payload.count
            outcomes.append(_compare(case, payload, count, options.repeat, out))
    except BenchmarkError as error:
        out.print(f"failed: {error}", markup=False, soft_wrap=True)
        return 2
    print_table(outcomes, out)
    if to_standard_output:
        sys.stdout.buffer.write(to_json(outcomes))
    elif options.json:
        options.json.write_bytes(to_json(outcomes))
    return int(options.check and any(each.short for each in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--case", choices=CASES, action="append", help="only this case; may be given again")
    add("--payload", choices=PAYLOADS, action="append", help="only this payload")
    add("--repeat", type=int, default=3, metavar="N", help="take the best of N runs (default: 3)")
    add("--quick", action="store_true", help="a tenth of the messages: does it work at all?")
    add("--json", type=Path, metavar="FILE", help="write all figures to a file, or to - (stdout)")
    add("--check", action="store_true", help="exit with 1 when a target is missed")
    return parser


def _pairs(
    cases: Sequence[str] | None, payloads: Sequence[str] | None
) -> Iterator[tuple[Case, Payload]]:
    for payload in PAYLOADS.values():
        for case in CASES.values():
            if case.name in (cases or CASES) and payload.name in (payloads or PAYLOADS):
                yield case, payload


def _compare(case: Case, payload: Payload, count: int, repeat: int, out: Console) -> Outcome:
    runs: dict[Subject, list[Run]] = {subject: [] for subject in SUBJECTS}
    with out.status("") as status:
        for number in range(repeat):
            for subject in SUBJECTS:
                status.update(f"{case.name}, {payload.name}: {subject} {number + 1}/{repeat}")
                try:
                    runs[subject].append(measure(subject, case, payload, count))
                except BenchmarkError as error:
                    raise BenchmarkError(
                        f"{case.name}, {payload.name}, {subject}: {error}"
                    ) from None
    engine, bare = Figures.of(runs["engine"]), Figures.of(runs["bare"])
    return Outcome.of(case.name, payload.name, engine, bare)


if __name__ == "__main__":
    sys.exit(main())
