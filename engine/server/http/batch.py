"""Several requests in one, carried out one after the other."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, post
from litestar.types import ASGIApp, Message

from engine.server.http.document import OBJECTS, STRING, a_list, an_object, documented
from engine.server.http.replies import AnyRequest, body_of, json
from engine.server.problems import Problem

_MOST = 1000
_PART = an_object(["method", "path"], method=STRING, path=STRING, body=STRING)


class Part(msgspec.Struct, frozen=True):
    """One of the requests; ``body`` is text, as it would be sent."""

    method: str
    path: str
    body: str = ""


@post("/batch/req", status_code=200, operation_class=documented(a_list(_PART), reply=OBJECTS))
async def batch(request: AnyRequest) -> Response[bytes]:
    """Carry out requests in their order; each has its own answer."""
    parts = await body_of(request, list[Part])
    if len(parts) > _MOST:
        raise Problem(f"more than {_MOST} requests")
    answers = []
    for part in parts:
        if part.path.partition("?")[0].rstrip("/").startswith("/batch"):
            answers.append({"code": 400, "error": "a batch can't hold another one"})
            continue
        answers.append(await _answer(request, part))
    return json(answers)


ROUTES = [batch]


async def _answer(request: AnyRequest, part: Part) -> dict[str, Any]:
    """Send a request through the door of the server, as its sender would have."""
    door: ASGIApp = request.scope["headrace.door"]  # type: ignore[typeddict-item]
    path, _, query = part.path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": request.scope["asgi"],
        "http_version": "1.1",
        "method": part.method.upper(),
        "scheme": request.scope["scheme"],
        "path": path or "/",
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (name, value)
            for name, value in request.scope["headers"]
            if name.lower() in (b"authorization", b"host", b"origin")
        ],
        "client": request.scope["client"],
        "server": request.scope["server"],
        "state": {},
    }
    status, chunks = 500, []
    messages = [{"type": "http.request", "body": part.body.encode(), "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            chunks.append(message["body"])

    await door(scope, receive, send)  # type: ignore[arg-type]
    text = b"".join(chunks).decode(errors="replace")
    failed = status >= 400
    return {"code": status, "response": "" if failed else text, "error": text if failed else ""}
