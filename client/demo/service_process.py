"""The service as a child process: on a free port, in a folder of its own."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from api_schemas.errors import TruthtuneError

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.1
_LOG_LINES_SHOWN = 20
_KEPT_VARIABLES = frozenset({"TRUTHTUNE_MODEL_CACHE", "TRUTHTUNE_BASE_MODELS"})
"""The demo always runs on SQLite and a local Ray, whatever else the environment says."""


class ServiceFailed(TruthtuneError):
    """A command of the service failed, or the service ended or did not start in time."""

    code = "service_failed"


class DemoService:
    """`truthtune up` with its state in `home`; entering waits until it answers."""

    def __init__(self, home: Path):
        self.home = home
        self.log = home / "service.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> str:
        """Run a `truthtune` command to its end; returns what it printed."""
        done = subprocess.run(
            _command(*arguments), env=self._environment(), capture_output=True, text=True
        )
        if done.returncode != 0:
            raise ServiceFailed(f"truthtune {' '.join(arguments)} failed:\n{done.stderr.strip()}")
        return done.stdout.strip()

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                _command("up"), env=self._environment(), stdout=log, stderr=log
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def wait(self) -> None:
        """Until the service ends or Ctrl-C comes."""
        assert self._process is not None
        self._process.wait()

    def last_log_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServiceFailed(f"the service ended at once:\n{self.last_log_lines()}")
            try:
                if httpx.get(f"{self.url}/readyz").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(_POLL_SECONDS)
        raise ServiceFailed(
            f"the service was not ready after {_START_SECONDS:.0f} s:\n{self.last_log_lines()}"
        )

    def _stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TRUTHTUNE_") or name in _KEPT_VARIABLES
        }
        return inherited | {
            "TRUTHTUNE_HOME": str(self.home),
            "TRUTHTUNE_PORT": str(self.port),
            "TRUTHTUNE_SETTINGS_FILE": os.devnull,  # not the one of a service of this folder
        }


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "client.cli", *arguments]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
