"""How the server listens, whom it lets in and how much it takes: ``etc/server.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from engine.config.convert import config_from, expected
from engine.config.document import read
from engine.config.fields import Duration, Size
from engine.config.interpolate import interpolate
from engine.config.zone import named_zone
from engine.errors import ConfigError
from engine.server.metrics_dump import MetricsDumpOptions
from engine.tracing.spans import CAPACITY, SERVICE, Collector

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files with the certificate of the server, in PEM form."""

    certfile: str
    keyfile: str


class OpenTelemetry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """What becomes of traces; where they are sent to can be changed by clients."""

    service_name: str = SERVICE
    enable_remote_collector: bool = False
    remote_endpoint: str = "127.0.0.1:4318"
    local_trace_capacity: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = CAPACITY

    @property
    def collector(self) -> Collector | None:
        """Where traces are sent to."""
        if not self.enable_remote_collector:
            return None
        return Collector(self.remote_endpoint, self.service_name)


class ServerSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """The settings of a server; every one has a default."""

    host: str = "127.0.0.1"
    port: Port = 9081
    """0 takes any free one."""
    tls: Tls | None = None
    authentication: bool = False
    """Every call but ``/``, ``/ping``, ``/healthz`` and ``/ready`` needs a token."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the server may be called, beside its own address."""
    origins: tuple[str, ...] = ()
    """Web pages that may call the server; ``*`` means any."""
    private_hosts: tuple[str, ...] = ()
    """Hosts and networks in private address space that files and rules may ask by HTTP."""
    file_folders: tuple[str, ...] = ("data",)
    """Folders, from the root on, in which rules may read and write files."""
    max_body: Size = Size(10 << 20)
    max_upload: Size = Size(64 << 20)
    rate_limit: Annotated[int, msgspec.Meta(ge=0)] = 2000
    """Calls in a second for each client; 0: any number."""
    audit_log: bool = True
    """Write who changed what into ``data/server/audit.log``."""
    open_telemetry: OpenTelemetry = OpenTelemetry()
    metrics_dump: MetricsDumpOptions = MetricsDumpOptions()
    check_connections: Duration = Duration(15)
    """Time between two checks of named connections; 0: they are checked when somebody asks."""
    timezone: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("127.0.0.1", "::1", "localhost")


def load_settings(root: Path) -> ServerSettings:
    """Return the settings in ``etc/server.yaml`` below a root, the defaults if there is none.

    Raises:
        ConfigError: something in it is wrong.
    """
    import os

    path = root / "etc" / "server.yaml"
    if not path.is_file():
        return ServerSettings()
    document = interpolate(read(path), os.environ)
    if document.value is None:
        return ServerSettings()
    if not isinstance(document.value, dict):
        raise expected("a mapping of settings", document.value, str(path), document.positions)
    settings = config_from(
        document.value, ServerSettings, where="server", positions=document.positions
    )
    if settings.timezone:
        _check_zone(settings.timezone)
    return settings


def _check_zone(name: str) -> None:
    try:
        named_zone(name)
    except ConfigError as error:
        error.message = f"server.timezone: {error.message}"
        raise
