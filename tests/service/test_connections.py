"""What a connection may do to a real server before its request is whole."""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fastapi import FastAPI
from served_app import serve_app
from support import add_key

from service import limits, server
from service.app import create_app
from service.server import HEADER_BYTES
from service.settings import Settings

WAIT_SECONDS = 20.0


@contextmanager
def _connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as connection:
        yield connection


def _read_all(connection: socket.socket) -> bytes:
    """Until the server closes; a reset is a close too."""
    read = b""
    try:
        while chunk := connection.recv(1 << 16):
            read += chunk
    except ConnectionResetError:
        pass
    return read


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path) -> Settings:
    """Of one database: what is tested here asks it nothing."""
    database = shutil.copy(sqlite_template, tmp_path / "truthtune.db")
    return Settings(home=tmp_path, database_url=f"sqlite:///{database}")


def test_an_answer_does_not_name_its_server(app: FastAPI, settings: Settings) -> None:
    with serve_app(app, settings) as port, _connection(port) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = _read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nserver:" not in answer.lower()


@pytest.mark.parametrize("header", ["one long", "many short", "the path"])
def test_headers_beyond_their_limit_are_refused(
    app: FastAPI, settings: Settings, header: str
) -> None:
    lines = {
        "one long": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2 * HEADER_BYTES,
        "many short": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * HEADER_BYTES,
        "the path": b"GET /" + b"a" * 2 * HEADER_BYTES,
    }[header]
    with serve_app(app, settings) as port, _connection(port) as connection:
        with suppress(ConnectionError):
            connection.sendall(lines)
        assert not _read_all(connection).startswith(b"HTTP/1.1 200")
        with _connection(port) as another:
            another.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert _read_all(another).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: "])
def test_a_request_that_never_comes_is_not_waited_for(
    app: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    with serve_app(app, settings) as port, _connection(port) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        assert _read_all(connection) == b""
        assert time.monotonic() - started < WAIT_SECONDS / 2


def test_a_second_request_on_a_connection_has_to_come_too(
    app: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.5)
    with serve_app(app, settings) as port, _connection(port) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HT")
        answers = _read_all(connection)
    assert answers.count(b"HTTP/1.1 200") == 1


def test_a_body_that_trickles_is_answered_with_408(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.3)
    slow_app = create_app(settings)
    with serve_app(slow_app, settings) as port, _connection(port) as connection:
        key = add_key(slow_app.state.truthtune, "operator", None)
        connection.sendall(
            b"POST /v1/groups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + key.encode() + b"\r\nContent-Length: 20\r\n\r\n{"
        )
        answer = _read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer.replace(b'": "', b'":"')
    assert b"connection: close" in answer.lower()


def test_connections_beyond_the_limit_get_503_and_the_service_lives(
    app: FastAPI, settings: Settings
) -> None:
    few = settings.model_copy(update={"max_connections": 3})
    with serve_app(app, few) as port:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for connection in idle:
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        try:
            with _connection(port) as one_more:
                one_more.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert _read_all(one_more).startswith(b"HTTP/1.1 503")
        finally:
            for connection in idle:
                connection.close()
        assert _answers_within(port, WAIT_SECONDS)


def _answers_within(port: int, seconds: float) -> bool:
    """The server sees that connections were closed when it next looks."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with _connection(port) as later:
            later.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if _read_all(later).startswith(b"HTTP/1.1 200"):
                return True
    return False
