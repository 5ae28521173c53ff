"""Reference texts that come from the declarations themselves: the functions of SQL."""

from __future__ import annotations

from itertools import groupby

from engine.errors import ConfigError
from engine.sql.functions import FunctionRegistry, FunctionSpec
from engine.sql.kinds import Kind
from engine.suggest import did_you_mean

_INTRODUCTION = """\
# Functions

Made by `python -m engine.reference` from the declarations; `headrace functions [NAME]` shows the
same.

Names are case-insensitive. A null argument gives null unless the text says otherwise; a value of
the wrong kind is an error of its row. Arguments in brackets may be left out. *number* is any
number, *bigint* a whole one, *any* takes everything.

Aggregate functions work on the rows of a group and take `FILTER (WHERE …)`; *for x = …* in an
example gives x in each of them. Analytic and incremental functions look back at earlier rows and
take `OVER (PARTITION BY … WHEN …)`; their examples give the value for each row. See
[sql.md](sql.md).
"""


def function_table(functions: FunctionRegistry) -> str:
    """Return one line for each function: its signature and first sentence."""
    specs = list(functions)
    width = min(44, max(len(spec.signature) for spec in specs))
    return "\n".join(f"{spec.signature:<{width}}  {_summary(spec)}" for spec in specs)


def function_page(functions: FunctionRegistry, name: str) -> str:
    """Return all that is known of one function.

    Raises:
        ConfigError: there is no such function.
    """
    spec = functions.get(name)
    if spec is None:
        hint = did_you_mean(name, functions.names())
        raise ConfigError(f"there is no function {name}", hint=hint)
    lines = [f"{spec.signature} → {_result(spec)}", "", spec.doc]
    if spec.aliases:
        lines.append(f"\nalso called {', '.join(spec.aliases)}")
    lines.append(f"\nwith a null argument: {spec.nulls.value}" if spec.kind == "scalar" else "")
    if spec.example:
        lines.append(f"example: {spec.example}")
    return "\n".join(lines)


def functions_document(functions: FunctionRegistry) -> str:
    """Return the reference page of all functions, in Markdown."""
    parts = [_INTRODUCTION]
    specs = sorted(functions, key=lambda spec: (spec.category, spec.name))
    for category, members in groupby(specs, key=lambda spec: spec.category):
        parts.append(f"## {category.replace('_', ' ').capitalize()}\n")
        parts += [_entry(spec) for spec in members]
    return "\n".join(parts)


def _entry(spec: FunctionSpec) -> str:
    lines = [f"### {spec.name}\n", f"`{spec.signature}` → {_result(spec)}\n", f"{spec.doc}\n"]
    details = []
    if spec.aliases:
        details.append(f"Also called {', '.join(f'`{alias}`' for alias in spec.aliases)}.")
    if spec.kind == "scalar" and spec.nulls.name != "PROPAGATE":
        details.append(f"With a null argument {spec.nulls.value}.")
    if spec.example:
        details.append(f"Example: `{spec.example}`")
    return "\n".join([*lines, " ".join(details), ""])


def _summary(spec: FunctionSpec) -> str:
    return spec.doc.partition("\n")[0]


def _result(spec: FunctionSpec) -> str:
    return spec.result if isinstance(spec.result, Kind) else "as its arguments"


if __name__ == "__main__":
    import sys

    from engine.sql.functions import builtins

    sys.stdout.write(functions_document(builtins()))
