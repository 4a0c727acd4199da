"""The service as real processes: one API, and coordinators that can be killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import psutil

_FAULTY = Path(__file__).with_name("dying_coordinator.py")


def eventually(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until `holds()`; fails the test, saying what was awaited, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


class Processes:
    """`truthtune serve` and `truthtune coordinator` over one home folder, on SQLite, sending traces
    to `collector` if one is given."""

    def __init__(self, home: Path, collector: str | None = None):
        self.home, self.log = home, home / "service.log"
        home.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TRUTHTUNE_")
        } | {
            "TRUTHTUNE_HOME": str(home),
            "TRUTHTUNE_PORT": str(port),
            "TRUTHTUNE_LEASE_SECONDS": "2",
            "TRUTHTUNE_HEARTBEAT_SECONDS": "0.5",
            "TRUTHTUNE_POLL_SECONDS": "0.2",
            "TRUTHTUNE_MAX_ATTEMPTS": "20",
        }
        cache = os.environ.get("TRUTHTUNE_MODEL_CACHE")
        self._environment |= {"TRUTHTUNE_MODEL_CACHE": cache} if cache else {}
        self._environment |= {"TRUTHTUNE_OTLP_ENDPOINT": collector} if collector else {}
        self._running: list[subprocess.Popen[bytes]] = []

    def command(self, *arguments: str) -> str:
        """Run a `truthtune` command to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "client.cli", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def serve(self) -> None:
        self._start([sys.executable, "-m", "client.cli", "serve"])

        def ready() -> bool:
            try:
                return httpx.get(f"{self.url}/readyz").is_success
            except httpx.TransportError:
                return False

        eventually(ready, 60, "the API answers")

    def coordinator(self, dies_in: str | None = None) -> subprocess.Popen[bytes]:
        """Start one; `dies_in` names a fault of `dying_coordinator.py`."""
        if dies_in is None:
            return self._start([sys.executable, "-m", "client.cli", "coordinator"])
        return self._start([sys.executable, str(_FAULTY), dies_in])

    def descendants(self) -> list[psutil.Process]:
        """What the coordinator that died last had started, as far as it is alive."""
        pids = json.loads((self.home / "descendants.json").read_text())
        return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.terminate()
        for process in self._running:
            process.wait(30)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        self._running.append(process)
        return process


def kill(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """SIGKILL the process alone; returns what it had started, which nobody told to end."""
    orphans = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    return orphans
