"""The commands ``headrace state …``: what rules remember in their checkpoints."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from engine.cli_plugin import Format, Output, Root, root_of
from engine.errors import EngineError

state = typer.Typer(
    name="state",
    help="Look at what rules remember over a restart (rules with qos 1 or 2), or let them forget.",
    no_args_is_help=True,
)
Rule = Annotated[str, typer.Argument(help="The rule's id.")]


@state.command("show")
def show(
    rule: Annotated[
        str, typer.Argument(help="The rule's id; without it all rules are listed.")
    ] = "",
    root: Root = None,
    output: Output = Format.TEXT,
) -> None:
    """Show what the last checkpoint of a rule holds: values and counters of plugins, windows."""
    from engine.state.dump import dump_rule
    from engine.state.stored import has_any, listed, opened

    folder = root_of(root)
    if not rule and not has_any(folder):
        _show_rules([], output)
        return
    with opened(folder) as store:
        if not rule:
            _show_rules(listed(store), output)
            return
        found = dump_rule(store, rule)
        if not found.number and not found.skipped:
            raise unknown(rule, [str(each["rule"]) for each in listed(store)])
    if output is Format.JSON:
        typer.echo(json.dumps(found.json(), indent=2, ensure_ascii=False))
    else:
        typer.echo(found.text())


def _show_rules(rules: list[dict[str, Any]], output: Format) -> None:
    if output is Format.JSON:
        typer.echo(json.dumps(rules, indent=2, ensure_ascii=False))
        return
    for each in rules:
        checkpoints = ", ".join(map(str, each["checkpoints"]))
        typer.echo(f"rule {each['rule']}: checkpoints {checkpoints}, {each['size']:,} bytes")
    if not rules:
        typer.echo("no rule has stored state; only those with qos 1 or 2 store any")


@state.command("clear")
def clear(rule: Rule, root: Root = None, output: Output = Format.TEXT) -> None:
    """Delete all checkpoints of a rule, so that it begins anew; not while it runs."""
    from engine.state.stored import listed, opened, stopped

    folder = root_of(root)
    with stopped(folder), opened(folder) as store:
        if not store.delete(rule):
            raise unknown(rule, [str(each["rule"]) for each in listed(store)])
    if output is Format.JSON:
        typer.echo(json.dumps({"rule": rule, "cleared": True}))
    else:
        typer.echo(f"rule {rule} has forgotten everything; it begins anew when it starts")


def unknown(rule: str, known: list[str]) -> EngineError:
    """Return the error for a rule of which nothing is stored."""
    from engine.suggest import did_you_mean

    hint = did_you_mean(rule, known) or (f"there is state of {', '.join(known)}" if known else "")
    hint = hint or "only rules with the option qos: 1 or 2 remember something over a restart"
    return EngineError(f"rule {rule} has no stored state", hint=hint)
