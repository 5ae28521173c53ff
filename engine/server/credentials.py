"""Who is calling: API tokens, of which only hashes are kept, and eKuiper's signed tokens."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.server.definitions import Change, Definitions, Kind
from engine.server.names import checked_name
from engine.server.problems import Problem, missing

RoleName = Literal["read", "write", "admin"]
_PREFIX = "hr_"
_KEY_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_AUDIENCE = "eKuiper"
_LONGEST = 8192


class Role(IntEnum):
    """What a caller may do; each includes those before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is calling."""

    name: str
    role: Role
    is_known: bool = True
    """False: anybody on a server without authentication."""


class _Stored(msgspec.Struct, frozen=True):
    digest: str
    role: RoleName
    created: int


class Credentials:
    """The tokens that are let in."""

    def __init__(self, definitions: Definitions, keys: Path) -> None:
        """``keys`` is the folder with the public keys of those who sign tokens."""
        self._definitions = definitions
        self._keys = keys

    def caller(self, header: str) -> Caller | None:
        """Return who sent an ``Authorization`` header, None if it is nobody who is let in.

        The token stands alone, as eKuiper has it, or after ``Bearer``.
        """
        token = header.strip()
        if token[:7].lower() == "bearer ":
            token = token[7:].strip()
        if not token or len(token) > _LONGEST:
            return None
        return self._own(token) if token.startswith(_PREFIX) else self._signed(token)

    # -- API tokens ----------------------------------------------------------------------------

    async def create(self, name: str, role: RoleName) -> str:
        """Make a token and return it; it can't be read again.

        Raises:
            Problem: there is one of that name.
        """
        checked_name(name, "name of a token")
        if self._definitions.get(Kind.TOKEN, name) is not None:
            raise Problem(f"token {name} is there already", hint="revoke it first")
        token = _PREFIX + secrets.token_urlsafe(32)
        stored = _Stored(_digest(token), role, int(time.time()))
        text = msgspec.json.encode(stored).decode()
        await self._definitions.apply(Change(Kind.TOKEN, name, text))
        return token

    async def revoke(self, name: str) -> None:
        """Let a token in no more.

        Raises:
            Problem: there is none of that name.
        """
        if self._definitions.get(Kind.TOKEN, name) is None:
            raise missing(f"token {name}")
        await self._definitions.apply(Change(Kind.TOKEN, name, None))

    def tokens(self) -> list[dict[str, Any]]:
        """Return the names of all tokens with their roles and times of creation (Unix time)."""
        return [
            {"name": name, "role": stored.role, "created": stored.created}
            for name, stored in sorted(self._stored())
        ]

    def _own(self, token: str) -> Caller | None:
        digest = _digest(token)
        found = None
        for name, stored in self._stored():
            if hmac.compare_digest(stored.digest, digest):
                found = Caller(f"token {name}", Role[stored.role.upper()])
        return found

    def _stored(self) -> list[tuple[str, _Stored]]:
        return [
            (name, msgspec.json.decode(text, type=_Stored))
            for name, text in self._definitions.all(Kind.TOKEN).items()
        ]

    # -- signed tokens -------------------------------------------------------------------------

    def _signed(self, token: str) -> Caller | None:
        """Check a JWT: RS256, ``iss`` names the file of the key, ``aud`` holds eKuiper."""
        import jwt

        try:
            claims = jwt.decode(token, options={"verify_signature": False})
            issuer = claims.get("iss")
            if not isinstance(issuer, str) or not _KEY_FILE.fullmatch(issuer):
                return None
            claims = jwt.decode(
                token,
                (self._keys / issuer).read_bytes(),
                algorithms=["RS256"],
                audience=_AUDIENCE,
                issuer=issuer,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, OSError, ValueError, TypeError):
            return None
        role = str(claims.get("role", "admin")).upper()
        if role not in Role.__members__:
            return None
        return Caller(f"{issuer} {claims.get('sub', '')}".strip(), Role[role])


def _digest(token: str) -> str:
    # the token is random and long, so that nothing slower is needed
    return hashlib.sha256(token.encode()).hexdigest()
