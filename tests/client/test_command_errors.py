"""Whatever goes wrong, a user reads one line that names it, and a program its exit status."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from client_support import Answer, RunningService, Script

import service.database
from client import cli

ROOT = Path(__file__).parents[2]
Refused = tuple[int, str]
Run = Callable[..., Refused]


@pytest.fixture
def run(
    service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """The command in this process, as the operator; gives status and standard error."""
    monkeypatch.setenv("TRUTHTUNE_URL", service.url)
    monkeypatch.setenv("TRUTHTUNE_API_KEY", service.operator_key)
    monkeypatch.setenv("TRUTHTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Refused:
        monkeypatch.setattr(sys, "argv", ["truthtune", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert said.out == ""
        own = [line for line in said.err.splitlines(True) if not line.startswith('{"')]
        return int(ended.value.code or 0), "".join(own)  # without the log of the service

    return run


def assert_one_line(refused: Refused, *words: str, status: int = 1) -> None:
    found, line = refused
    assert found == status, line
    assert line.startswith("truthtune: ")
    assert line.endswith("\n")
    assert line.count("\n") == 1
    for word in words:
        assert word in line


UNUSABLE = [
    ("http://127.0.0.1:1", "can't be reached"),
    ("http://[", "TRUTHTUNE_URL 'http://['"),
    ("http://127.0.0.1:99999", "TRUTHTUNE_URL 'http://127.0.0.1:99999'"),
    ("nonsense", "TRUTHTUNE_URL 'nonsense'"),
    ("ftp://127.0.0.1", "TRUTHTUNE_URL 'ftp://127.0.0.1'"),
    ("http://", "TRUTHTUNE_URL 'http://'"),
]


@pytest.mark.parametrize(("url", "word"), UNUSABLE)
def test_a_service_that_is_away_or_an_address_that_is_none(run: Run, url: str, word: str) -> None:
    assert_one_line(run("--url", url, "round", "list"), word)


@pytest.mark.parametrize("key", ["tt_op_wrong", "ключ", "two\nlines", "two words"])
def test_a_wrong_key(run: Run, key: str) -> None:
    status, line = run("--api-key", key, "round", "list")
    assert_one_line((status, line), "API")
    assert key not in line


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Answer(200, b"<html>a router</html>"), "answered"),
        (Answer(404, b"<html>not found</html>"), "404"),
        (Answer(200, b'{"object": "list"}'), "answered"),
        (Answer(200, b'{"data"', promised=100), "can't be reached"),
    ],
)
def test_a_server_that_is_another_program(
    run: Run, script: Script, answer: Answer, word: str
) -> None:
    script.answers = [answer] * 9
    assert_one_line(run("--url", script.url, "round", "list"), word)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "No such file"),
        (b"\xff\xfe\x00", "can't be read"),
        (b"{", "is not JSON"),
        (b'{"name": 1}', "name"),
        (b"[]", "bad.json"),
    ],
)
def test_a_bad_file(run: Run, tmp_path: Path, content: bytes | None, word: str) -> None:
    if content is not None:
        (tmp_path / "bad.json").write_bytes(content)
    assert_one_line(run("round", "create", "bad.json"), "bad.json", word)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["file", "upload", ".", "--purpose", "prompts"], ["Is a directory"]),
        (["job", "plot", "job_x", "--out", "absent/plot.svg"], ["job_x"]),
        (["group", "create", ""], ["name", "at least 1 character"]),
        (["invoice", "pay", "inv_x", "0", "--reference", ""], ["reference"]),
        (["report", "submit", "rnd_x", "--size", "1", "--spec", "absent"], ["absent"]),
        (
            ["reward-model", "create", "a", "--preferences", "x", "--method-json", "{"],
            ["--method-json is not JSON"],
        ),
        (["round", "show", "rnd_" + "0" * 26], ["rnd_" + "0" * 26]),
        (["base-model", "prepare", "no-such-model"], ["no-such-model"]),
    ],
)
def test_what_was_asked_for_cannot_be_done(
    run: Run, arguments: list[str], words: list[str]
) -> None:
    assert_one_line(run(*arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rond", "list"], ["'rond'", "'round'", "truthtune --help"]),
        (["round", "show"], ["round_id", "truthtune round show --help"]),
        (["round", "list", "--jsn"], ["--jsn", "--json"]),
        (["invoice", "pay", "inv_x", "much", "--reference", "r"], ["'amount'", "integer"]),
    ],
)
def test_what_was_typed_wrongly(run: Run, arguments: list[str], words: list[str]) -> None:
    assert_one_line(run(*arguments), *words, status=2)


def test_a_settings_file_that_is_malformed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "truthtune.env"
    file.write_text("TRUTHTUNE_API_KEY=a-secret\noops a-secret\n")
    monkeypatch.setenv("TRUTHTUNE_SETTINGS_FILE", str(file))
    for command in (["round", "list"], ["db", "check"], ["serve"]):
        status, line = run(*command)
        assert_one_line((status, line), f"{file}, line 2")
        assert "a-secret" not in line


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("TRUTHTUNE_PORT", "many", "TRUTHTUNE_PORT"),
        ("TRUTHTUNE_DATABASE_URL", "nonsense", "TRUTHTUNE_DATABASE_URL"),
        ("TRUTHTUNE_DATABASE_URL", "mysql://there/none", "postgresql+psycopg://"),
        ("TRUTHTUNE_HOME", "/dev/null/home", "/dev/null/home"),
    ],
)
def test_a_setting_that_cannot_be(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, word: str
) -> None:
    monkeypatch.setenv(name, value)
    assert_one_line(run("db", "upgrade"), word)


def test_a_seal_key_that_is_none(
    run: Run, service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUTHTUNE_DATABASE_URL", str(service.database.url))
    monkeypatch.setenv("TRUTHTUNE_SEAL_KEY", "clé")
    for command in ("serve", "coordinator"):
        assert_one_line(run(command), "TRUTHTUNE_SEAL_KEY", "openssl rand")


@pytest.mark.parametrize("content", [None, b"no database" * 1000])
def test_a_database_that_is_locked_or_is_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    engine_of = service.database.create_engine
    monkeypatch.setattr(
        service.database,
        "create_engine",
        lambda url, **options: engine_of(url, **options | {"connect_args": {"timeout": 0.01}}),
    )
    home = tmp_path / "home"
    home.mkdir()
    if content is not None:
        (home / "truthtune.db").write_bytes(content)
        assert_one_line(run("db", "upgrade"), "not a database")
        return
    with sqlite3.connect(home / "truthtune.db") as other:
        other.execute("CREATE TABLE any_table (id)")
        other.execute("BEGIN EXCLUSIVE")
        assert_one_line(run("key", "create-operator"), "database is locked")


def test_what_nobody_thought_of_is_one_line_and_a_traceback_only_if_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("client.commands.rounds.connect", broken)
    assert_one_line(run("round", "list"), "RuntimeError: first second", "--debug")
    monkeypatch.setattr(sys, "argv", ["truthtune", "--debug", "round", "list"])
    with pytest.raises(RuntimeError):
        cli.main()


def test_a_key_is_not_sent_to_the_address_of_a_file_that_happens_to_lie_here(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "truthtune.env").write_text("TRUTHTUNE_URL=http://127.0.0.1:1\n")
    monkeypatch.delenv("TRUTHTUNE_URL")
    monkeypatch.delenv("TRUTHTUNE_SETTINGS_FILE", raising=False)
    assert_one_line(run("round", "list"), "truthtune.env, line 1", "would get the key")


def test_the_service_and_the_key_may_be_in_the_settings_file(
    service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "truthtune.env"
    file.write_text(f"TRUTHTUNE_URL={service.url}\nTRUTHTUNE_API_KEY={service.operator_key}\n")
    for name in ("TRUTHTUNE_URL", "TRUTHTUNE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRUTHTUNE_SETTINGS_FILE", str(file))
    monkeypatch.setattr(sys, "argv", ["truthtune", "round", "list", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert isinstance(json.loads(capsys.readouterr().out), list)


def _start(environment: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "client.cli", *arguments]
    return subprocess.Popen(
        command,
        env=os.environ | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job is born deaf to it, and with it these tests.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_an_interrupted_command_ends_with_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with _start({"TRUTHTUNE_URL": url, "TRUTHTUNE_API_KEY": "k"}, "round", "list") as process:
            silent.accept()  # it asks, and will never be answered
            process.send_signal(signal.SIGINT)
            _, line = process.communicate(timeout=60)
    assert_one_line((process.returncode, line), "interrupted", status=130)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with _start({}, "--help") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1
