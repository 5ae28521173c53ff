"""What tests of the server share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx

from engine.server.service import Service

DEMO = 'CREATE STREAM demo () WITH (TYPE="memory", DATASOURCE="demo", FORMAT="json")'
PACED = 'CREATE STREAM paced (n BIGINT) WITH (TYPE="simulator", CONF_KEY="paced", FORMAT="json")'


@dataclass(slots=True)
class Running:
    """A server and a client that talks to it."""

    service: Service
    client: httpx.AsyncClient
    url: str

    async def json(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Call and return what came, which must have succeeded."""
        answer = await self.client.request(method, path, json=body, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        kind = answer.headers.get("content-type", "")
        return answer.json() if kind.startswith("application/json") else answer.text

    async def refused(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Call and return status, code and message of a refusal."""
        answer = await self.client.request(method, path, json=body, **options)
        assert answer.is_error, f"{method} {path}: {answer.text}"
        error = answer.json()
        assert set(error) == {"error", "message"}
        return answer.status_code, error["error"], error["message"]

    async def stream(self, sql: str = DEMO) -> None:
        """Define a stream."""
        await self.json("POST", "/streams", {"sql": sql})

    async def paced(self) -> None:
        """Define a stream with a row every 5 ms."""
        section = {"data": [{"n": n} for n in range(10)], "interval": 5}
        await self.json("PUT", "/metadata/sources/simulator/confKeys/paced", section)
        await self.stream(PACED)

    async def state(self, rule_id: str) -> str:
        """Return the state of a rule."""
        found: str = (await self.json("GET", f"/rules/{rule_id}/status"))["status"]
        return found


Start = Callable[..., AbstractAsyncContextManager[Running]]


def rule(rule_id: str, sql: str = "SELECT * FROM demo", **more: Any) -> dict[str, Any]:
    """Return a rule that throws its results away."""
    return {"id": rule_id, "sql": sql, "actions": [{"nop": {}}], **more}
