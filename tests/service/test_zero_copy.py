"""Downloads over a real connection: the file's bytes, without a way through the process."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from scenes import queue_job, settle_next
from served_app import serve_app
from sqlalchemy import select
from support import add_key

from service import downloads
from service.dependencies import AppState
from service.settings import Settings
from service.tables import ModelRow

LARGE_BYTES = 16 * 2**20
"""More than the buffers of a connection hold, so that a client can lag behind."""


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """Of one database: what is tested here asks it for the file's name alone."""
    path = tmp_path / "truthtune.db"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
def served(app: FastAPI, settings: Settings) -> Iterator[tuple[int, AppState]]:
    with serve_app(app, settings) as port:
        yield port, app.state.truthtune


def _large_file(state: AppState) -> tuple[bytes, str, str]:
    """Stored as a file of a settled model: its bytes, its path in the store, and its route."""
    queue_job(state.database)
    settle_next(state)
    data = os.urandom(LARGE_BYTES)
    digest = state.artifacts.put(data)
    with state.database.write() as session:
        row = session.scalars(select(ModelRow)).one()
        file = {"name": "large.safetensors", "bytes": len(data), "sha256": digest}
        row.files = [file, *row.files]
        route = f"/v1/models/{row.id}/files/large.safetensors"
    return data, state.artifacts._path(digest), route


def _authorized(state: AppState) -> dict[str, str]:
    return {"Authorization": f"Bearer {add_key(state, 'operator', None)}"}


def _request(route: str, headers: dict[str, str]) -> bytes:
    lines = [f"GET {route} HTTP/1.1", "Host: x", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_file_its_parts_and_what_follows_come_over_one_connection(
    served: tuple[int, AppState], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, state = served
    data, _, route = _large_file(state)
    monkeypatch.delattr(downloads, "_chunks")  # no byte may come that way
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=_authorized(state)) as client:
        whole = client.get(route)
        assert whole.content == data
        assert whole.headers["Content-Length"] == str(len(data))
        assert "Transfer-Encoding" not in whole.headers
        start = len(data) - 70_001
        part = client.get(route, headers={"Range": f"bytes={start}-"})
        assert (part.status_code, part.content) == (206, data[start:])
        assert client.get(route, headers={"If-None-Match": whole.headers["ETag"]}).content == b""
        assert client.get("/healthz").json()["status"] == "ok"


def test_a_client_that_lags_gets_every_byte_and_keeps_nobody_waiting(
    served: tuple[int, AppState],
) -> None:
    port, state = served
    data, _, route = _large_file(state)
    headers = _authorized(state) | {"Connection": "close"}
    slow = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(6)]
    for connection in slow:  # more than there are threads that send
        connection.sendall(_request(route, headers))
    for connection in slow:
        assert connection.recv(1) == b"H"  # it has begun; what the buffers hold is sent
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=_authorized(state)) as client:
        assert client.get(route).content == data
    for connection in slow:
        with connection, connection.makefile("rb") as answer:
            _, _, body = answer.read().partition(b"\r\n\r\n")
        assert body == data


def test_a_client_that_leaves_is_noticed_and_its_file_closed(
    served: tuple[int, AppState],
) -> None:
    port, state = served
    _, path, route = _large_file(state)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(_request(route, _authorized(state)))
        assert connection.recv(1) == b"H"
        assert path in _open_files()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        while path in _open_files():  # pytest's timeout ends a wait for nothing
            client.get("/healthz").raise_for_status()


def test_a_file_shorter_than_its_record_breaks_off_and_never_looks_whole(
    served: tuple[int, AppState],
) -> None:
    port, state = served
    data, path, route = _large_file(state)
    with open(path, "r+b") as file:
        file.truncate(len(data) // 2)
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=_authorized(state)) as client,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.get(route)


def _open_files() -> list[str]:
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # closed meanwhile
            continue
    return found
