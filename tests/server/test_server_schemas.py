"""Schemas over HTTP: versions, imports, what is refused, and what survives."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.server.support import Running, Start

BOOK = 'syntax = "proto3"; message Book { string title = 1; repeated int64 pages = 2; }'
USES = 'syntax = "proto3"; import "inner.proto"; message Shelf { Book book = 1; }'
STREAM = 'CREATE STREAM books () WITH (TYPE="memory", DATASOURCE="b", FORMAT="{}", SCHEMAID="{}")'


def packed(**files: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_proto", ".proto"), text)
    return data.getvalue()


def upload(data: bytes, version: str = "", name: str = "x.zip") -> dict[str, Any]:
    return {"files": {"file": (name, data)}, "data": {"version": version}}


async def test_a_schema_lives_from_its_creation_to_its_deletion(start: Start) -> None:
    async with start() as server:
        body = {"name": "books", "content": BOOK}
        created = await server.client.post("/schemas/protobuf", json=body)
        assert (created.status_code, created.text) == (201, "protobuf schema books is created")
        assert (await server.refused("POST", "/schemas/protobuf", body))[0] == 400
    async with start() as server:
        assert await server.json("GET", "/schemas/protobuf") == ["books"]
        shown = await server.json("GET", "/schemas/protobuf/books")
        assert shown["content"] == BOOK
        assert (shown["type"], shown["name"], shown["version"]) == ("protobuf", "books", "")
        await server.stream(STREAM.format("protobuf", "books.Book"))
        assert await server.json("GET", "/streams/books/schema") == {
            "title": {"type": "string"},
            "pages": {"type": "array", "items": {"type": "bigint"}},
        }
        await server.json("DELETE", "/schemas/protobuf/books")
        assert await server.json("GET", "/schemas/protobuf") == []
        assert (await server.refused("GET", "/schemas/protobuf/books"))[:2] == (404, 1002)
        assert (await server.refused("DELETE", "/schemas/protobuf/books"))[0] == 404
        assert (await server.refused("GET", "/streams/books/schema"))[0] == 400


async def test_an_update_needs_a_greater_version_and_replaces_the_file(
    server: Running, tmp_path: Path
) -> None:
    path = "/schemas/protobuf/books"
    await server.json("PUT", path, {"content": BOOK})
    await server.json("PUT", path, {"content": BOOK, "version": "2"})
    for version in ("1", "2", ""):
        status, _, message = await server.refused(
            "PUT", path, {"content": BOOK, "version": version}
        )
        assert status == 400
        assert "version '2'" in message
    etag = (await server.client.get(path)).headers["etag"]
    body = {"content": BOOK + " ", "version": "3"}
    await server.json("PUT", path, body, headers={"If-Match": etag})
    body["version"] = "4"
    assert (await server.refused("PUT", path, body, headers={"If-Match": etag}))[0] == 412
    assert (await server.refused("DELETE", path, headers={"If-Match": etag}))[0] == 412
    sent = {**upload(BOOK.encode(), "4"), "headers": {"If-Match": etag}}
    assert (await server.client.put(f"{path}/upload", **sent)).status_code == 412
    files = sorted(p.name for p in (tmp_path / "data" / "schemas" / "protobuf").iterdir())
    assert files == ["books@3.proto"]


async def test_a_zip_brings_what_a_schema_imports(server: Running) -> None:
    path = "/schemas/protobuf/shelf"
    good = packed(shelf_proto=USES, shelf__inner_proto=BOOK)
    answer = await server.client.put(f"{path}/upload", **upload(good, "1"))
    assert answer.text == "protobuf schema shelf is updated"
    await server.stream(STREAM.format("protobuf", "shelf.Shelf"))
    assert "book" in await server.json("GET", "/streams/books/schema")
    for data, why in (
        (packed(other_proto=USES), "other.proto has no place"),
        (packed(shelf__inner_proto=BOOK), "the zip has no shelf.proto"),
        (packed(shelf_proto=USES, **{"..__x_proto": BOOK}), "leads out of the package"),
        (packed(shelf_proto=USES.replace("inner", "none")), "none.proto: File not found"),
        (good[:60], "no zip file"),
    ):
        answer = await server.client.put(f"{path}/upload", **upload(data, "2"))
        assert answer.status_code == 400
        assert why in answer.json()["message"]
    assert (await server.json("GET", path))["version"] == "1"
    assert (await server.refused("PUT", f"{path}/upload", {"a": 1}))[0] == 415
    answer = await server.client.put(f"{path}/upload", files={"other": ("a", b"")})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("/schemas/avro", {"name": "a", "content": "x"}, 404, "schemas of type avro"),
        ("/schemas/protobuf", {"name": "a", "content": "message"}, 400, "a.proto:1:"),
        ("/schemas/protobuf", {"name": "a"}, 400, "give either 'content' or 'file'"),
        ("/schemas/protobuf", {"name": "../a", "content": BOOK}, 400, "can't be the name"),
        ("/schemas/protobuf", {"name": "a", "content": BOOK, "version": "/"}, 400, "version"),
        ("/schemas/protobuf", {"name": "a", "file": "file://none.proto"}, 400, "no uploaded file"),
        ("/schemas/protobuf", {"name": "a", "content": BOOK, "soFile": "x"}, 400, "soFile"),
        (
            "/schemas/custom",
            {"name": "a", "content": "class A: pass"},
            403,
            "callers who are known",
        ),
    ],
)
async def test_what_cannot_be_a_schema_is_refused_and_leaves_nothing(
    server: Running, tmp_path: Path, path: str, body: Any, status: int, why: str
) -> None:
    found, _, message = await server.refused("POST", path, body)
    assert found == status
    assert why in message
    assert str(tmp_path) not in message
    assert [p for p in (tmp_path / "data").rglob("*") if "schemas" in str(p) and p.is_file()] == []


async def test_a_schema_in_a_file_of_the_root_is_shown_and_kept(
    server: Running, tmp_path: Path
) -> None:
    folder = tmp_path / "etc" / "schemas" / "protobuf"
    folder.mkdir(parents=True)
    (folder / "given.proto").write_text(BOOK)
    assert await server.json("GET", "/schemas/protobuf") == ["given"]
    status, _, message = await server.refused("DELETE", "/schemas/protobuf/given")
    assert status == 400
    assert "given.proto" in message
    await server.json("PUT", "/schemas/protobuf/given", {"content": BOOK, "version": "1"})
    await server.json("DELETE", "/schemas/protobuf/given")
    assert (await server.json("GET", "/schemas/protobuf/given"))["version"] == ""


async def test_exported_schemas_can_be_imported_with_what_they_import(server: Running) -> None:
    good = packed(shelf_proto=USES, shelf__inner_proto=BOOK)
    await server.client.put("/schemas/protobuf/shelf/upload", **upload(good, "1"))
    exported = (await server.client.get("/data/export")).json()
    entry = json.loads(exported["Schema"]["protobuf_shelf"])
    assert entry["content"] == USES
    await server.json("POST", "/data/import", {"content": "{}"})
    assert await server.json("GET", "/schemas/protobuf") == []
    await server.json("POST", "/data/import", {"content": json.dumps(exported)})
    assert (await server.json("GET", "/schemas/protobuf/shelf"))["version"] == "1"
    code = {"Schema": {"custom_a": {"name": "a", "content": "class A: pass"}}}
    answer = await server.client.post("/data/import?partial=1", json={"content": json.dumps(code)})
    assert answer.status_code == 400
    assert "known administrator" in answer.json()["ConfigResponse"]["Schema"]["custom_a"]
