"""Who may do what; what never leaves the server; what it never reads for anybody."""

from __future__ import annotations

import io
import json
import ssl
import time
import zipfile
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from engine.config.fields import Size
from engine.server.settings import Tls
from tests.server.certificate import write_certificate
from tests.server.support import DEMO, Running, Start, rule

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_key() -> bytes:
    return KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def signed(key: Any = KEY, algorithm: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    usual = {"iss": "me.pub", "aud": ["eKuiper"], "iat": now, "exp": now + 60}
    return jwt.encode({**usual, **claims}, key, algorithm=algorithm)


async def called(server: Running, token: str, method: str = "GET", path: str = "/streams") -> int:
    answer = await server.client.request(method, path, headers={"Authorization": token})
    return answer.status_code


async def test_without_a_token_only_the_open_paths_answer(start: Start) -> None:
    async with start(authentication=True) as server:
        for path in ("/", "/ping", "/healthz", "/ready"):
            assert (await server.client.get(path)).status_code == 200
        for path in ("/streams", "/rules", "/metrics", "/openapi", "/tokens", "/nowhere"):
            assert (await server.refused("GET", path))[0] == 401


async def test_a_signed_token_is_the_reference_s(start: Start, tmp_path: Path) -> None:
    (tmp_path / "etc" / "mgmt").mkdir(parents=True)
    (tmp_path / "etc" / "mgmt" / "me.pub").write_bytes(public_key())
    now = int(time.time())
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    async with start(authentication=True) as server:
        assert await called(server, signed()) == 200
        assert await called(server, f"Bearer {signed()}") == 200
        refused = [
            signed(exp=now - 10),
            signed(nbf=now + 100),
            signed(aud=["other"]),
            signed(iss="you.pub"),
            signed(iss="../mgmt/me.pub"),
            signed(other),
            signed(None, "none"),
            signed("x" * 32, "HS256"),
            jwt.encode({"iss": "me.pub", "aud": "eKuiper"}, KEY, algorithm="RS256"),
            "rubbish",
        ]
    async with start(authentication=True) as server:
        for token in refused:
            assert await called(server, token) in (401, 429)


async def test_tokens_have_roles_and_are_hashed(start: Start, tmp_path: Path) -> None:
    async with start(authentication=True) as server:
        create = server.service.credentials.create
        read, write, admin = [await create(n, n) for n in ("read", "write", "admin")]  # type: ignore[arg-type]
        body = {"sql": DEMO}
        for token, status in ((read, 403), (write, 201)):
            headers = {"Authorization": token}
            answer = await server.client.post("/streams", json=body, headers=headers)
            assert answer.status_code == status
        for path in ("/tokens", "/data/export?secrets=1"):
            assert await called(server, write, path=path) == 403
            assert await called(server, admin, path=path) == 200
        assert await called(server, write, "POST", "/stop") == 403
        listed = await server.client.get("/tokens", headers={"Authorization": admin})
        assert [each["name"] for each in listed.json()] == ["admin", "read", "write"]
        assert await called(server, admin, "DELETE", "/tokens/read") == 200
        assert await called(server, read) == 401
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data" / "server").iterdir())
    for token in (read, write, admin):
        assert token.encode() not in stored
        assert token[3:].encode() not in stored


async def test_guessing_tokens_is_slow(start: Start) -> None:
    async with start(authentication=True) as server:
        token = await server.service.credentials.create("me", "admin")
        statuses = [await called(server, "hr_guess") for _ in range(15)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert await called(server, token) == 429


async def test_changes_are_audited_without_their_content(start: Start, tmp_path: Path) -> None:
    async with start() as server:
        await server.stream(
            'CREATE STREAM s () WITH (TYPE="mqtt", EXTRA="{\\"password\\":\\"hush\\"}")'
        )
        await server.json("GET", "/streams")
    text = (tmp_path / "data" / "server" / "audit.log").read_text()
    assert "hush" not in text
    (line,) = [json.loads(line) for line in text.splitlines()]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/streams", 201)


async def test_who_was_refused_is_audited(start: Start, tmp_path: Path) -> None:
    async with start(authentication=True) as server:
        token = await server.service.credentials.create("looker", "read")
        assert await called(server, token, "POST") == 403
        assert await called(server, "hr_guess") == 401
    text = (tmp_path / "data" / "server" / "audit.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["who"], line["status"]) for line in lines] == [("token looker", 403), ("", 401)]


async def test_pages_of_others_and_borrowed_names_are_refused(server: Running) -> None:
    body = {"sql": DEMO}
    evil = {"Origin": "https://evil.example"}
    assert (await server.refused("POST", "/streams", body, headers=evil))[0] == 403
    borrowed = {"Host": "evil.example"}
    assert (await server.refused("GET", "/streams", headers=borrowed))[0] == 403
    own = {"Origin": server.url}
    await server.json("POST", "/streams", body, headers=own)


async def test_bodies_and_calls_are_limited(start: Start) -> None:
    async with start(max_body=Size(2000), rate_limit=20) as server:
        assert (await server.refused("POST", "/streams", {"sql": "x" * 3000}))[0] == 413
        statuses = [(await server.client.get("/ping")).status_code for _ in range(60)]
        assert statuses[0] == 200
        assert 429 in statuses


@pytest.mark.parametrize(
    "name", ["../x", "..", "a/b", "/etc/passwd", "a\\b", "", ".hidden", "x" * 300, "con.txt", "a\0"]
)
async def test_uploads_stay_in_their_folder(server: Running, tmp_path: Path, name: str) -> None:
    assert (await server.refused("POST", "/config/uploads", {"name": name, "content": "x"}))[
        0
    ] == 400
    sent = await server.client.post("/config/uploads", files={"uploadFile": (name or "..", b"x")})
    assert sent.status_code in (201, 400)
    folder = tmp_path / "data" / "uploads"
    outside = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path.read_bytes() == b"x" and path.parent != folder
    ]
    assert not outside


async def test_files_can_be_uploaded_listed_and_deleted(server: Running, tmp_path: Path) -> None:
    path = str(tmp_path / "data" / "uploads" / "a.json")
    answer = await server.client.post("/config/uploads", json={"name": "a.json", "content": "{}"})
    assert (answer.status_code, answer.text) == (201, path)
    await server.client.post("/config/uploads", files={"uploadFile": ("b.bin", b"\0\1")})
    assert await server.json("GET", "/config/uploads") == [path, path.replace("a.json", "b.bin")]
    assert await server.json("DELETE", "/config/uploads/a.json") == "ok"
    assert (await server.refused("DELETE", "/config/uploads/a.json"))[0] == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0:{port}/",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "file://../../../etc/passwd",
        "http://",
        "http://127.0.0.1:x/",
    ],
)
async def test_files_in_private_places_are_not_fetched(server: Running, url: str) -> None:
    port = server.url.rpartition(":")[2]
    status, _, message = await server.refused(
        "POST", "/ruleset/import", {"file": url.format(port=port)}
    )
    assert status == 400
    assert "root:" not in message


async def test_a_named_private_host_can_be_fetched_from(start: Start) -> None:
    async with start(private_hosts=("127.0.0.0/8",)) as server:
        url = f"{server.url}/"
        await server.json("POST", "/config/uploads", {"name": "info.json", "file": url})
        found = await server.service.uploads.find("info.json")
        assert found is not None
        assert b"upTimeSeconds" in found


@pytest.mark.parametrize("allowed", [(), ("127.0.0.1",)])
async def test_rules_ask_private_hosts_only_if_they_are_named(
    start: Start, allowed: tuple[str, ...]
) -> None:
    async with start(private_hosts=allowed) as server:
        await server.stream()
        sink = {"rest": {"url": f"{server.url}/"}}
        await server.json("POST", "/rules", rule("r", actions=[sink]))
        expected = "running" if allowed else "stopped by error"
        with anyio.fail_after(10):
            while await server.state("r") != expected:
                await anyio.sleep(0.005)
        status = await server.json("GET", "/rules/r/status")
        assert ("in a private network" in status["message"]) is not bool(allowed)


async def test_plugins_cannot_be_changed_by_anybody(server: Running) -> None:
    assert (await server.refused("POST", "/plugins/functions", {"name": "x"}))[0] == 403


async def test_a_known_administrator_installs_a_plugin(start: Start) -> None:
    source = (
        "from engine.api import Function\n\n\nclass Twice(Function):\n"
        '    """twice(value): two of it."""\n\n'
        "    def exec(self, ctx, value):\n        return value * 2\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("twice@v1.2.0.py", source)
    async with start(authentication=True) as server:
        token = await server.service.credentials.create("me", "admin")
        server.client.headers["Authorization"] = token
        await server.client.post(
            "/config/uploads", files={"uploadFile": ("t.zip", packed.getvalue())}
        )
        body = {"name": "twice", "file": "file://t.zip"}
        answer = await server.client.post("/plugins/functions", json=body)
        assert (answer.status_code, answer.text) == (201, "function plugin twice is created")
        assert (await server.json("GET", "/plugins/functions/twice"))["version"] == "1.2.0"
        assert await server.json("GET", "/plugins/functions") == ["twice"]
        register = "/plugins/functions/twice/register"
        await server.json("POST", register, {"functions": ["twice"]})
        status, _, message = await server.refused("POST", register, {"functions": ["twise"]})
        assert status == 400
        assert "did you mean 'twice'?" in message
        assert await server.json("GET", "/plugins/functions/prebuild") == {}
        await server.stream()
        sql = "SELECT twice(n) AS t FROM demo"
        await server.json("POST", "/rules/validate", rule("a", sql))
        assert await server.json("DELETE", "/plugins/functions/twice") == (
            "function plugin twice is deleted"
        )
        assert (await server.refused("GET", "/plugins/functions/twice"))[0] == 404


async def test_no_traceback_reaches_a_client(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("a"))

    def broken(_: str) -> None:
        raise RuntimeError("internal detail")

    server.service.rules.definition = broken  # type: ignore[method-assign,assignment]
    status, code, message = await server.refused("GET", "/rules/a/explain")
    assert (status, code) == (500, 1000)
    assert "internal detail" not in message


async def test_tls_is_spoken(start: Start, tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    async with start(tls=Tls(str(cert), str(key))) as server:
        url = server.url.replace("http:", "https:")
        context = ssl.create_default_context(cafile=str(cert))
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            assert (await client.get(f"{url}/ping")).status_code == 200
