"""`truthtune up` as a first-time user starts it: a process of its own, in an empty folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from pages import ROOT

COMMANDS = Path(sys.executable).parent
_START_SECONDS = 120
"""Of a machine that runs all other tests meanwhile."""


@contextmanager
def running_service(folder: Path, settings: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """API and coordinator; the environment of a shell that uses them, with the operator's key."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not _of_a_service(name)}
    environment = kept | {
        "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}",
        "TRUTHTUNE_HOME": str(folder / "home"),
        "TRUTHTUNE_PORT": str(port),
        "TRUTHTUNE_URL": f"http://127.0.0.1:{port}",
        "TRUTHTUNE_POLL_SECONDS": "0.2",
        **settings,
    }
    log = folder / "service.log"
    with log.open("wb") as written:
        command = [COMMANDS / "truthtune", "up"]
        process = subprocess.Popen(command, env=environment, stdout=written, stderr=written)
    try:
        _wait_until_ready(environment["TRUTHTUNE_URL"], process, log)
        key = shell("truthtune key create-operator --name first", environment, ROOT)
        yield environment | {"TRUTHTUNE_API_KEY": key.strip()}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def shell(script: str, environment: Mapping[str, str], folder: Path) -> str:
    """What a script printed; fails the test, with all of that, if a command of it fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _of_a_service(name: str) -> bool:
    return name.startswith("TRUTHTUNE_") and name != "TRUTHTUNE_MODEL_CACHE"


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the service ended:\n{log.read_text()}"
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"not ready within {_START_SECONDS} s:\n{log.read_text()}")
