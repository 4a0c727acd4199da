"""The README's commands work as they stand there."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client import Truthtune

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TARGETS = ("setup", "demo", "serve", "test", "test-slow", "lint", "bench", "incentives")
COMMANDS = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def lines_with(start: str) -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith(start)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running API, and the variables that the README tells its readers to set."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    variables = {key: value for key, value in os.environ.items() if "TRUTHTUNE_API" not in key} | {
        "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}",
        "TRUTHTUNE_HOME": str(tmp_path_factory.mktemp("readme")),
        "TRUTHTUNE_PORT": str(port),
        "TRUTHTUNE_URL": url,
    }
    run("truthtune db upgrade", variables)
    (key_command,) = lines_with("truthtune key create-operator")
    variables["TRUTHTUNE_API_KEY"] = run(key_command, variables).strip()
    with subprocess.Popen([COMMANDS / "truthtune", "serve"], env=variables, cwd=ROOT) as server:
        try:
            wait_until_ready(url, server)
            yield variables
        finally:
            server.terminate()


def run(command: str, variables: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the service ended while it was starting"
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the service was not ready within a minute")


def test_the_two_commands_come_first_and_are_targets_of_make() -> None:
    assert blocks("sh")[0].split("\n") == ["make demo", "make test", ""]


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_readme_names_no_target_that_make_does_not_know() -> None:
    named = re.findall(r"(?:^|`)make ([a-z-]+)(?:`|$)", README, re.MULTILINE)
    assert set(named) == set(TARGETS)


def test_the_command_lines_work(environment: dict[str, str]) -> None:
    commands = lines_with("truthtune ")
    assert len(commands) >= 4
    for command in commands:
        assert run(command, environment).strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_line_gets_a_list(environment: dict[str, str]) -> None:
    (command,) = lines_with("curl ")
    assert '"object":"list"' in run(command, environment)


def test_the_python_example_submits_a_report(environment: dict[str, str]) -> None:
    example = blocks("python")[0]
    done = subprocess.run(
        [sys.executable, "-c", example], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "maximum=1.0" in done.stdout or "maximum=0.0" in done.stdout


def test_the_second_python_example_uses_names_that_exist() -> None:
    """It needs a coordinator, and runs in the demo; here its calls are looked up."""
    client = Truthtune("http://127.0.0.1:1", "tt_op_unused")
    calls = re.findall(r"(?:operator|group)\.(\w+)\.(\w+)\(", "\n".join(blocks("python")))
    assert len(calls) >= 10
    for resource, method in calls:
        assert callable(getattr(getattr(client, resource), method))
