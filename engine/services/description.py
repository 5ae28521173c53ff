"""What a service is: a JSON file with its interfaces, as the reference has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.addresses import flaw_of_address, shown_address
from engine.config.convert import config_from
from engine.config.document import parse
from engine.config.fields import Duration
from engine.errors import ConfigError

Protocol = Literal["rest", "grpc", "msgpack-rpc"]


class RestOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How an interface is called."""

    headers: dict[str, str] = {}
    insecure_skip_verify: bool = False
    """Believe any certificate."""
    retry_count: int = 1
    """How often a call is tried that finds nobody, or loses the connection; at least once."""
    retry_interval: Duration = Duration(0)
    timeout: Duration = Duration(5)
    """The longest time for one try."""


class FunctionDef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A function and what the service calls it."""

    name: str
    service_name: str
    description: Any = None


class InterfaceDef(msgspec.Struct, frozen=True, rename="camel"):
    """One address of a service and the functions there."""

    address: str
    protocol: Protocol
    description: Any = None
    schema_type: str = ""
    schema_file: str = ""
    schemaless: bool = False
    functions: tuple[FunctionDef, ...] = ()
    options: RestOptions = RestOptions()


class ServiceDef(msgspec.Struct, frozen=True):
    """All interfaces of a service."""

    interfaces: dict[str, InterfaceDef]
    about: dict[str, Any] = {}


def read_service(path: Path) -> ServiceDef:
    """Return the service that a file describes.

    Raises:
        ConfigError: it can't be read, or describes what this engine can't call.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from None
    value = parse(text, is_json=True, file=str(path)).value
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected an object with 'interfaces'")
    found = config_from(value, ServiceDef, where=path.name)
    for name, interface in found.interfaces.items():
        _check(interface, f"{path}: interface {name}")
    return found


def _check(interface: InterfaceDef, where: str) -> None:
    if interface.protocol != "rest":
        raise ConfigError(
            f"{where}: protocol {interface.protocol} isn't supported",
            hint="offer the service over REST, or call it from a function plugin",
        )
    if flaw := flaw_of_address(interface.address):
        shown = shown_address(interface.address)[:80]
        raise ConfigError(f"{where}: {shown!r} is no http or https address", hint=flaw)
    if not (interface.schemaless or interface.schema_file):
        raise ConfigError(
            f"{where}: nothing says what its functions are",
            hint='name the file with its rpcs as schemaFile, or say "schemaless": true',
        )
    if interface.schema_file and interface.schema_type not in ("", "protobuf"):
        raise ConfigError(f"{where}: unknown schemaType {interface.schema_type!r}")
