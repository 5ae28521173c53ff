"""The command line as a client: ``headrace server VERB …`` talks to a running server.

Verbs and texts are those of the REST interface; ``show``, ``describe``, ``create``, ``drop`` and
the verbs of rules take the same words as eKuiper's own command line.
"""

from __future__ import annotations

import json
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import ConfigError, EngineError

app = typer.Typer(no_args_is_help=True, help="Manage a running server.")


class What(StrEnum):
    """What a server has."""

    STREAMS = "streams"
    TABLES = "tables"
    RULES = "rules"
    CONNECTIONS = "connections"
    UPLOADS = "uploads"
    SCHEMAS = "schemas"
    CUSTOM_SCHEMAS = "custom-schemas"
    SCRIPTS = "scripts"
    SERVICES = "services"
    FUNCTIONS = "functions"
    SOURCES = "sources"
    SINKS = "sinks"


class One(StrEnum):
    """One of what a server has."""

    STREAM = "stream"
    TABLE = "table"
    RULE = "rule"
    CONNECTION = "connection"
    UPLOAD = "upload"
    SCHEMA = "schema"
    CUSTOM_SCHEMA = "custom-schema"
    SCRIPT = "script"
    SERVICE = "service"


class Verb(StrEnum):
    """What can be done with a rule."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    STATUS = "status"
    TOPO = "topo"
    EXPLAIN = "explain"


class TraceVerb(StrEnum):
    """What can be done with traces: the first three take a rule, the last the id of a trace."""

    START = "start"
    STOP = "stop"
    LIST = "list"
    SHOW = "show"


_PLACES = {
    One.UPLOAD: "/config/uploads",
    One.SCHEMA: "/schemas/protobuf",
    One.CUSTOM_SCHEMA: "/schemas/custom",
    One.SCRIPT: "/udf/javascript",
}
_LISTS = {
    What.UPLOADS: _PLACES[One.UPLOAD],
    What.SCHEMAS: _PLACES[One.SCHEMA],
    What.CUSTOM_SCHEMAS: _PLACES[One.CUSTOM_SCHEMA],
    What.SCRIPTS: _PLACES[One.SCRIPT],
    What.FUNCTIONS: "/metadata/functions",
    What.SOURCES: "/metadata/sources",
    What.SINKS: "/metadata/sinks",
}

Server = Annotated[
    str,
    typer.Option("--server", envvar="HEADRACE_SERVER", help="Address of the server."),
]
Token = Annotated[
    str, typer.Option(envvar="HEADRACE_TOKEN", help="Token, where the server asks for one.")
]
_LOCAL = "http://127.0.0.1:9081"


class Client:
    """Calls a server and says what went wrong in its words."""

    def __init__(self, url: str, token: str) -> None:
        try:
            import httpx
        except ImportError:
            hint = "pip install 'headrace[server]'"
            raise ConfigError("the client isn't installed", hint=hint) from None

        headers = {"Authorization": token} if token else {}
        self._errors = (httpx.HTTPError, httpx.InvalidURL)
        self._connect = partial(httpx.Client, base_url=url, headers=headers, timeout=60)
        self._url = url

    def call(self, method: str, path: str, body: Any = None) -> str:
        """Return the text of an answer.

        Raises:
            EngineError: the server isn't there, or refuses.
        """
        try:
            with self._connect() as client:
                answer = client.request(method, path, json=body)
        except self._errors as error:
            raise EngineError(
                f"can't reach {self._url}: {error}", hint="is it running? see --server"
            ) from None
        if answer.is_success:
            return answer.text
        try:
            message = answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.text
        raise EngineError(f"{answer.status_code}: {message}")


@app.command("show")
def show(what: What, server: Server = _LOCAL, token: Token = "") -> None:
    """List what a server has."""
    _print(Client(server, token).call("GET", _LISTS.get(what, f"/{what}")))


@app.command("describe")
def describe(one: str, name: str, server: Server = _LOCAL, token: Token = "") -> None:
    """Show one thing by its name; of plugins: describe source|sink|function NAME."""
    if one in ("source", "sink", "function"):
        path = f"/plugins/{one}s/{name}"
    else:
        path = f"{_place(_one(one))}/{name}"
    _print(Client(server, token).call("GET", path))


@app.command("create")
def create(
    one: One,
    definition: Annotated[
        str, typer.Argument(help="A CREATE statement, JSON, or @FILE that holds it.")
    ],
    server: Server = _LOCAL,
    token: Token = "",
) -> None:
    """Define a stream or table by its statement, anything else by its JSON."""
    text = _text(definition)
    body = {"sql": text} if one in (One.STREAM, One.TABLE) else _json(text)
    _print(Client(server, token).call("POST", _place(one), body))


@app.command("update")
def update(
    one: One, name: str, definition: str, server: Server = _LOCAL, token: Token = ""
) -> None:
    """Replace a definition, given as for create."""
    text = _text(definition)
    body = {"sql": text} if one in (One.STREAM, One.TABLE) else _json(text)
    _print(Client(server, token).call("PUT", f"{_place(one)}/{name}", body))


@app.command("drop")
def drop(one: One, name: str, server: Server = _LOCAL, token: Token = "") -> None:
    """Delete something."""
    _print(Client(server, token).call("DELETE", f"{_place(one)}/{name}"))


@app.command("rule")
def rule(verb: Verb, rule_id: str, server: Server = _LOCAL, token: Token = "") -> None:
    """Start, stop or restart a rule, or look at it."""
    method = "POST" if verb in (Verb.START, Verb.STOP, Verb.RESTART) else "GET"
    _print(Client(server, token).call(method, f"/rules/{rule_id}/{verb}"))


@app.command("trace")
def trace(
    verb: TraceVerb,
    name: Annotated[str, typer.Argument(help="A rule; for show, the id of a trace.")],
    strategy: Annotated[str, typer.Option(help="always, or head: what comes traced.")] = "always",
    rate: Annotated[int, typer.Option(help="Rows a second, at most.")] = 10,
    server: Server = _LOCAL,
    token: Token = "",
) -> None:
    """Trace rows of a rule, list its last traces, or show one."""
    client = Client(server, token)
    if verb is TraceVerb.START:
        body = {"strategy": strategy, "rate": rate}
        _print(client.call("POST", f"/rules/{name}/trace/start", body))
    elif verb is TraceVerb.STOP:
        _print(client.call("POST", f"/rules/{name}/trace/stop"))
    else:
        path = f"/trace/rule/{name}" if verb is TraceVerb.LIST else f"/trace/{name}"
        _print(client.call("GET", path))


@app.command("check")
def check(connection: str, server: Server = _LOCAL, token: Token = "") -> None:
    """Look how a named connection is doing now."""
    _print(Client(server, token).call("POST", f"/connections/{connection}/check"))


@app.command("validate")
def validate(definition: str, server: Server = _LOCAL, token: Token = "") -> None:
    """Try a rule, given as JSON or @FILE."""
    _print(Client(server, token).call("POST", "/rules/validate", _json(_text(definition))))


@app.command("export")
def export(file: Path, server: Server = _LOCAL, token: Token = "") -> None:
    """Write everything that is defined into a file; names ending in .yaml get YAML."""
    path = "/v2/data/export" if file.suffix in (".yaml", ".yml") else "/data/export"
    text = Client(server, token).call("GET", path)
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"can't write {file}: {error.strerror}") from None


@app.command("import")
def import_(
    file: Path,
    partial: Annotated[bool, typer.Option(help="Keep what the file doesn't name.")] = True,
    server: Server = _LOCAL,
    token: Token = "",
) -> None:
    """Take in a file that export has written; --no-partial deletes everything else first."""
    path = "/v2/data/import" if file.suffix in (".yaml", ".yml") else "/data/import"
    body = {"content": _text(f"@{file}")}
    _print(Client(server, token).call("POST", f"{path}?partial={int(partial)}", body))


def _place(one: One) -> str:
    return _PLACES.get(one, f"/{one}s")


def _one(word: str) -> One:
    if word not in list(One):
        raise typer.BadParameter(f"{word!r} is not one of {', '.join(One)}")
    return One(word)


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't read {given[1:]}: {error}") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"this isn't JSON: {error}") from None


def _print(text: str) -> None:
    try:
        value = json.loads(text)
    except ValueError:
        typer.echo(text.rstrip("\n"))
    else:
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
