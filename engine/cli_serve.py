"""The commands of the server: ``serve`` and ``token``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.server.settings import ServerSettings

Root = Annotated[
    Path | None,
    typer.Option(
        envvar="HEADRACE_ROOT",
        file_okay=False,
        help="Folder with plugins/, etc/ and data/; by default the working directory.",
    ),
]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all.")] = "",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="By default 9081.")] = None,
    root: Root = None,
    drain: Annotated[str, typer.Option(help="Time for delivering when stopping.")] = "10s",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the server: rules are managed over HTTP and survive restarts.

    More settings stand in etc/server.yaml. Stopping drains the rules.
    """
    import anyio

    from engine.cli import log_to_stderr
    from engine.duration import parse_option
    from engine.parting import leave_threads

    try:
        from engine.server.serve import serve as run
        from engine.server.settings import load_settings
    except ImportError as error:
        hint = "pip install 'headrace[server]'"
        raise ConfigError(f"the server isn't installed: {error}", hint=hint) from None

    log_to_stderr(log_level)
    settings = _changed(load_settings(_root(root)), host, port)
    seconds = parse_option("--drain", drain)
    anyio.run(lambda: run(_root(root), settings, drain=seconds))
    leave_threads(0)


token = typer.Typer(
    no_args_is_help=True, help="API tokens of a server that isn't running on this root."
)


@token.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[str, typer.Option(help="read, write or admin.")] = "write",
    root: Root = None,
) -> None:
    """Make a token and print it; only its hash is kept."""
    if role not in ("read", "write", "admin"):
        raise typer.BadParameter(f"{role!r} is not one of read, write, admin")

    async def make(credentials: Any) -> None:
        typer.echo(await credentials.create(name, role))

    _with_credentials(root, make)


@token.command("list")
def list_tokens(root: Root = None) -> None:
    """Show the names and roles of all tokens."""

    async def show(credentials: Any) -> None:
        for each in credentials.tokens():
            typer.echo(f"{each['name']}  {each['role']}")

    _with_credentials(root, show)


@token.command("revoke")
def revoke_token(name: str, root: Root = None) -> None:
    """Let a token in no more."""

    async def revoke(credentials: Any) -> None:
        await credentials.revoke(name)

    _with_credentials(root, revoke)


def _with_credentials(root: Path | None, work: Any) -> None:
    import anyio

    from engine.server.credentials import Credentials
    from engine.server.definitions import Definitions

    folder = _root(root)
    definitions = Definitions(folder / "data" / "server")
    try:
        anyio.run(work, Credentials(definitions, folder / "etc" / "mgmt"))
    finally:
        definitions.close()


def _changed(settings: ServerSettings, host: str, port: int | None) -> ServerSettings:
    import msgspec

    return msgspec.structs.replace(
        settings,
        host=host or settings.host,
        port=settings.port if port is None else port,
    )


def _root(root: Path | None) -> Path:
    return (root or Path.cwd()).resolve()
