"""The command line: ``headrace``, or ``python -m engine``."""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from engine import __version__, cli_client, cli_serve
from engine.cli_plugin import plugins
from engine.cli_state import state
from engine.errors import EngineError

DONE, FAILED, BAD_USAGE = 0, 1, 2
"""Exit codes: all went well; a rule failed while running; nothing could be started."""

app = typer.Typer(
    name="headrace",
    help="Run streaming SQL rules: sources → SQL → sinks. `headrace RULE.yaml` is short for "
    "`headrace run RULE.yaml`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(plugins)
app.add_typer(state)

Root = Annotated[
    Path | None,
    typer.Option(
        envvar="HEADRACE_ROOT",
        file_okay=False,
        exists=True,
        help="Folder with plugins/ and etc/; by default the working directory.",
    ),
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command; a rule file as first argument means ``run``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and _is_rule_file(given):
        given.insert(0, "run")
    try:
        sys.exit(app(given, prog_name="headrace", standalone_mode=True))
    except EngineError as error:
        _fail(error)


def _is_rule_file(given: list[str]) -> bool:
    """Tell whether the command was left out."""
    known = {command.name for command in app.registered_commands}
    known |= {
        group.name or group.typer_instance.info.name
        for group in app.registered_groups
        if group.typer_instance
    }
    first = next((word for word in given if not word.startswith("-")), None)
    return first is not None and first not in known


def _fail(error: EngineError) -> NoReturn:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(BAD_USAGE)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


@app.callback()
def headrace(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Streaming SQL for MQTT and other sources, in one small process."""


@app.command("run")
def run(
    files: Annotated[
        list[Path], typer.Argument(help="Rule files (YAML or JSON) or folders of them.")
    ],
    root: Root = None,
    duration: Annotated[str, typer.Option(help="Stop after this time, such as 30s or 10m.")] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many results of all rules.")
    ] = None,
    drain: Annotated[
        str, typer.Option(help="Time for delivering what is inside when stopping.")
    ] = "10s",
    watch: Annotated[
        bool, typer.Option("--watch", help="Apply the files again whenever they change.")
    ] = False,
    log_level: LogLevel = "info",
) -> None:
    """Run rules until Ctrl-C, SIGTERM, the end of all sources, --duration or --limit.

    Stopping drains the rules and prints where every row went; a second signal stops at once. SIGHUP
    applies the files again. Exit code: 0 done, 1 a rule failed, 2 bad usage or configuration.
    """
    from functools import partial

    import anyio

    gc.disable()  # until the rules run: what is made up to then is nearly all there to stay
    from engine.command import Limits, run_rules
    from engine.duration import parse_option
    from engine.parting import leave_threads

    log_to_stderr(log_level)
    limits = Limits(
        seconds=parse_option("--duration", duration) if duration else None,
        results=limit,
        drain=parse_option("--drain", drain),
    )
    failed = anyio.run(partial(run_rules, watch=watch), files, root, limits)
    code = FAILED if failed else DONE
    leave_threads(code)
    raise typer.Exit(code)


app.command("serve")(cli_serve.serve)
app.add_typer(cli_serve.token, name="token")
app.add_typer(cli_client.app, name="server")


@app.command("demo")
def demo(
    seconds: Annotated[float, typer.Option(min=0.5, help="How long to run.")] = 10,
    broker: Annotated[
        str, typer.Option(help="Use this broker (tcp://host:port) instead of the embedded one.")
    ] = "",
    devices: Annotated[int, typer.Option(min=1, help="Size of the simulated fleet.")] = 5,
    log_level: LogLevel = "info",
) -> None:
    """Run the main job: a simulated fleet over MQTT, a rule, its alerts back over MQTT."""
    import anyio

    from engine.demo import run_demo

    log_to_stderr(log_level)
    failed = anyio.run(run_demo, seconds, broker, devices)
    raise typer.Exit(FAILED if failed else DONE)


@app.command("explain")
def explain(
    files: Annotated[list[Path], typer.Argument(help="Rule files or folders of them.")],
    root: Root = None,
    code: Annotated[bool, typer.Option("--code", help="Show the generated Python too.")] = False,
) -> None:
    """Show how the rules of some files will be run, without running them."""
    from engine.engine import Engine

    engine = Engine(root)
    for rule in engine.load(*files).rules.values():
        typer.echo(f"rule {rule.id}")
        typer.echo(engine.explain(rule.sql))
        if code:
            typer.echo(f"\n{engine.explain(rule.sql, code=True)}\n")


@app.command("functions")
def functions(
    name: Annotated[str, typer.Argument(help="Show this function in full.")] = "",
    root: Root = None,
) -> None:
    """List the functions of SQL, or explain one: built-in ones and those of plugins."""
    from engine.engine import Engine
    from engine.reference import function_page, function_table

    known = Engine(root).functions
    if name:
        typer.echo(function_page(known, name))
    else:
        typer.echo(function_table(known))


def log_to_stderr(level: str) -> None:
    """Send the log to standard error from a level on."""
    if level.lower() not in _LEVELS:
        raise typer.BadParameter(f"{level!r} is not one of {', '.join(_LEVELS)}")
    handlers: list[Any] = [logging.StreamHandler(sys.stderr)]
    logging.basicConfig(
        level=_LEVELS[level.lower()],
        format="%(asctime)s %(levelname)-7s %(name)s %(message)s",
        handlers=handlers,
    )
