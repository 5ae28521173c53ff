"""TLS for clients: whom to trust, what to present."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.api import Config
from engine.errors import ConfigError

_VERSIONS = {
    "tls1.0": ssl.TLSVersion.TLSv1,
    "tls1.1": ssl.TLSVersion.TLSv1_1,
    "tls1.2": ssl.TLSVersion.TLSv1_2,
    "tls1.3": ssl.TLSVersion.TLSv1_3,
}
_SECRETS = frozenset({"password", "private_key_raw"})


class Discreet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A struct whose secrets never show in its representation."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name in _SECRETS and value else value) for name, value in values]


class TlsSettings(Discreet, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Certificates by path, or by their base64 twins; a path wins over its twin."""

    certification_path: str = ""
    private_key_path: str = ""
    root_ca_path: str = ""
    certification_raw: str = ""
    private_key_raw: str = ""
    root_ca_raw: str = ""
    insecure_skip_verify: bool = False
    tls_min_version: str = "tls1.2"

    def context(self) -> ssl.SSLContext:
        """Read the files and build the context; blocks on the disk.

        Raises:
            ConfigError: a file is missing, unreadable or no certificate or key.
        """
        minimum = _VERSIONS.get(self.tls_min_version)
        if minimum is None:
            raise ConfigError(
                f"tlsMinVersion {self.tls_min_version!r} is unknown",
                hint=f"one of {', '.join(_VERSIONS)}",
            )
        context = ssl.create_default_context()
        context.minimum_version = minimum
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._check_paths()
        try:
            self._trust(context)
            self._present(context)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(f"TLS can't be set up: {error}") from error
        return context

    def _check_paths(self) -> None:
        for name, path in (
            ("rootCaPath", self.root_ca_path),
            ("certificationPath", self.certification_path),
            ("privateKeyPath", self.private_key_path),
        ):
            if path and not Path(path).is_file():
                raise ConfigError(f"TLS can't be set up: {name}: there is no file {path}")

    def _trust(self, context: ssl.SSLContext) -> None:
        if self.root_ca_path:
            context.load_verify_locations(cafile=self.root_ca_path)
        elif self.root_ca_raw:
            context.load_verify_locations(cadata=_decoded("rootCARaw", self.root_ca_raw).decode())

    def _present(self, context: ssl.SSLContext) -> None:
        certificate, key = self.certification_path, self.private_key_path
        with (
            _as_file("certificationRaw", certificate, self.certification_raw) as certificate_file,
            _as_file("privateKeyRaw", key, self.private_key_raw) as key_file,
        ):
            if certificate_file:
                context.load_cert_chain(certificate_file, key_file or None)


@contextmanager
def _as_file(name: str, path: str, raw: str) -> Iterator[str]:
    """Give the path, or a short-lived private file with the raw content."""
    if path or not raw:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:  # mode 0700
        file = Path(folder) / "pem"
        file.write_bytes(_decoded(name, raw))
        yield str(file)


def _decoded(name: str, raw: str) -> bytes:
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error:
        raise ConfigError(f"{name} is not base64") from None


class TlsConfig(Config, kw_only=True):
    """The properties for TLS that plugins have in common (runtime specification, section 5.1)."""

    certification_path: str = ""
    private_key_path: str = ""
    root_ca_path: str = ""
    certification_raw: str = ""
    private_key_raw: str = ""
    root_ca_raw: str = msgspec.field(default="", name="rootCARaw")
    insecure_skip_verify: bool = False
    """Trust any certificate."""
    tls_min_version: str = "tls1.2"
    renegotiation_support: Literal["never"] = "never"
    """Accepted as in eKuiper, which can do more; TLS 1.3 has no renegotiation."""

    def tls(self, folder: Path | None = None) -> TlsSettings:
        """Return the settings; relative paths start at ``folder``, or at the working directory."""

        def at(path: str) -> str:
            return str(folder / path) if folder is not None and path else path

        return TlsSettings(
            certification_path=at(self.certification_path),
            private_key_path=at(self.private_key_path),
            root_ca_path=at(self.root_ca_path),
            certification_raw=self.certification_raw,
            private_key_raw=self.private_key_raw,
            root_ca_raw=self.root_ca_raw,
            insecure_skip_verify=self.insecure_skip_verify,
            tls_min_version=self.tls_min_version,
        )

    def check_tls(self, folder: Path | None = None) -> None:
        """Raise ``ConfigError`` if the properties that are given can't work; see `tls`."""
        settings = self.tls(folder)
        if settings != TlsSettings():  # there is nothing to find out about the defaults
            settings.context()
