"""The command of the control plane: schema, keys, and real processes that live and die together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

import migrations
from service.app import create_app
from service.cli import app
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0


def test_the_schema_is_made_once_and_then_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUTHTUNE_HOME", str(tmp_path / "home"))
    refused = CliRunner().invoke(app, ["db", "check"])
    assert refused.exit_code == 1
    assert "truthtune db upgrade" in refused.stderr
    made = CliRunner().invoke(app, ["db", "upgrade"])
    assert (made.exit_code, f"none → {migrations.head_revision()}" in made.stdout) == (0, True)
    assert "already" in CliRunner().invoke(app, ["db", "upgrade"]).stdout
    assert CliRunner().invoke(app, ["db", "check"]).exit_code == 0


def test_the_first_operators_key_is_printed_alone_and_works(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUTHTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUTHTUNE_DATABASE_URL", database_url)
    made = CliRunner().invoke(app, ["key", "create-operator", "--name", "first"])
    assert made.exit_code == 0
    header = {"Authorization": f"Bearer {made.stdout.strip()}"}
    with TestClient(create_app(Settings())) as client:
        keys = client.get("/v1/keys", headers=header).json()["data"]
    assert [(key["scope"], key["name"]) for key in keys] == [("operator", "first")]


@pytest.mark.parametrize("command", ["serve", "coordinator"])
def test_nothing_starts_on_a_schema_that_is_not_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TRUTHTUNE_HOME", str(tmp_path / "home"))
    refused = CliRunner().invoke(app, [command])
    assert refused.exit_code == 1
    assert "truthtune db upgrade" in refused.stderr


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("TRUTHTUNE_PORT", "many", "TRUTHTUNE_PORT: Input should be a valid integer"),
        ("TRUTHTUNE_KEY_SECRET", "short", "TRUTHTUNE_KEY_SECRET: String should have at least 32"),
        (
            "TRUTHTUNE_HEARTBEAT_SECONDS",
            "30",
            "TRUTHTUNE_HEARTBEAT_SECONDS: 30 is not less than TRUTHTUNE_LEASE_SECONDS, 30",
        ),
        (
            "TRUTHTUNE_LEASE_SECONDS",
            "3",
            "TRUTHTUNE_HEARTBEAT_SECONDS: 5 is not less than TRUTHTUNE_LEASE_SECONDS, 3",
        ),
        (
            "TRUTHTUNE_DATABASE_URL",
            "postgresql+psycopg://me:a-password@127.0.0.1:1/none",
            "127.0.0.1:1/none does not answer",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv("TRUTHTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(name, value)
    for command in (["db", "upgrade"], ["serve"]):
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code == 1
        assert reason in refused.stderr
        assert "Traceback" not in refused.stderr
        assert "a-password" not in refused.stderr


def test_serve_answers_on_its_port_until_sigterm(tmp_path: Path) -> None:
    environment, url = _environment(tmp_path)
    upgrade = [sys.executable, "-m", "service.cli", "db", "upgrade"]
    subprocess.run(upgrade, env=environment, cwd=ROOT, check=True, capture_output=True)
    with _process(["-m", "service.cli", "serve"], environment) as server:
        _until(lambda: _answers(f"{url}/healthz"))
        assert httpx2.get(f"{url}/readyz").json() == {"object": "health", "status": "ok"}
        assert "swagger" in httpx2.get(f"{url}/docs").text
        server.terminate()
        assert server.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM)
    assert not _answers(f"{url}/healthz")


def test_up_makes_the_schema_runs_all_processes_and_ends_them(tmp_path: Path) -> None:
    environment, url = _environment(tmp_path)
    with _process(["-m", "service.cli", "up"], environment) as parent:
        _until(lambda: _answers(f"{url}/readyz"))
        _until(lambda: len(_children(parent.pid)) == 3)
        children = _children(parent.pid)
        names = sorted(_command(child)[3] for child in children)
        assert names == ["coordinator", "inference", "serve"]
        parent.terminate()
        assert parent.wait(PATIENCE_SECONDS) == 0
    assert not any(map(_lives, children))


SLEEPERS = """
import sys
from service.supervisor import run_together
sleeper = [sys.executable, "-c", {code!r}]
sys.exit(run_together([sleeper, sleeper], prepare=lambda: None))
"""
TIED = "import service.supervisor, time; service.supervisor.end_with_parent(); time.sleep(600)"

WAITING = "import service.supervisor; service.supervisor.wait_to_begin(); raise SystemExit(5)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_children_and_is_no_failure(number: signal.Signals) -> None:
    with _process(["-c", SLEEPERS.format(code="import time; time.sleep(600)")]) as parent:
        _until(lambda: len(_children(parent.pid)) == 2)
        children = _children(parent.pid)
        parent.send_signal(number)
        assert parent.wait(PATIENCE_SECONDS) == 0
    assert not any(map(_lives, children))


def test_a_child_that_ends_by_itself_ends_the_rest_with_a_failure() -> None:
    code = "import sys; from service.supervisor import run_together\n"
    code += "sys.exit(run_together([['sleep', '600'], ['true']], prepare=lambda: None))"
    with _process(["-c", code]) as parent:
        assert parent.wait(PATIENCE_SECONDS) == 1


def test_a_child_that_is_killed_ends_the_rest_with_a_failure() -> None:
    with _process(["-c", SLEEPERS.format(code="import time; time.sleep(600)")]) as parent:
        _until(lambda: len(_children(parent.pid)) == 2)
        children = _children(parent.pid)
        os.kill(children[1], signal.SIGKILL)
        assert parent.wait(PATIENCE_SECONDS) != 0
    assert not any(map(_lives, children))


def test_children_that_wait_to_begin_end_when_the_preparation_fails() -> None:
    code = "import sys; from service.supervisor import run_together\n"
    code += f"child = [sys.executable, '-c', {WAITING!r}]\n"
    code += "run_together([child, child], prepare=lambda: sys.exit(3))"
    with _process(["-c", code]) as parent:
        assert parent.wait(PATIENCE_SECONDS) == 3


def test_the_others_start_only_once_the_first_is_ready(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = "import sys; from pathlib import Path; from service.supervisor import run_together\n"
    code += "children = [['sleep', '600'], ['sleep', '600']]\n"
    code += f"run_together(children, lambda: None, Path({str(ready)!r}).exists)"
    with _process(["-c", code]) as parent:
        _until(lambda: len(_children(parent.pid)) == 1)
        first = _children(parent.pid)
        ready.touch()
        _until(lambda: len(_children(parent.pid)) == 2)
        assert first[0] in _children(parent.pid)
        parent.terminate()
        assert parent.wait(PATIENCE_SECONDS) == 0


def test_what_never_gets_ready_and_ends_ends_the_whole() -> None:
    code = "import sys; from service.supervisor import run_together\n"
    code += "sys.exit(run_together([['false'], ['sleep', '600']], lambda: None, lambda: False))"
    with _process(["-c", code]) as parent:
        assert parent.wait(PATIENCE_SECONDS) == 1


def test_children_end_when_their_parent_is_killed() -> None:
    with _process(["-c", SLEEPERS.format(code=TIED)]) as parent:
        _until(lambda: len(_children(parent.pid)) == 2)
        children = _children(parent.pid)
        _until(lambda: all(_threads(child) == 2 for child in children))
        parent.kill()
        _until(lambda: not any(map(_lives, children)))


def _environment(home: Path) -> tuple[dict[str, str], str]:
    """Settings of a service of its own on a free port, and its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"TRUTHTUNE_HOME": str(home / "home"), "TRUTHTUNE_PORT": str(port)}
    return os.environ | own, f"http://127.0.0.1:{port}"


@contextmanager
def _process(
    arguments: list[str], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _lives(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not asked for its status does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
