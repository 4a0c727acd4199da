"""Kills processes of a running service at random, sees that they come back, and how fast."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import httpx
import psutil
from fork_server import ForkServer
from servers import free_port, wait_until_ready
from sqlalchemy import select

from service.database import Database
from service.tables import JobRow

Victim = Literal["api", "coordinator", "worker"]
LEASE_SECONDS = 2.0
COORDINATORS = 2
_ENOUGH_SECONDS = 120.0


class Launcher(Protocol):
    """Starts a process of the service, and ends one by SIGKILL. All write to one log."""

    log: Path

    def start(self, role: Literal["api", "coordinator"], settings: dict[str, Any]) -> int: ...

    def kill(self, pid: int) -> list[psutil.Process]:
        """Returns what it had started, and left behind."""


class Forked:
    """Processes that are born in a moment; their coordinators pretend to work."""

    def __init__(self, fork_server: ForkServer, log: Path):
        self._fork_server, self.log = fork_server, log

    def start(self, role: Literal["api", "coordinator"], settings: dict[str, Any]) -> int:
        if role == "coordinator":
            return self._fork_server.start(
                "coordinators:coordinate", self.log, settings=settings, name=role
            )
        port = settings["port"]
        return self._fork_server.start("servers:serve", self.log, settings=settings, port=port)

    def kill(self, pid: int) -> list[psutil.Process]:
        os.kill(pid, signal.SIGKILL)
        self._fork_server.wait(pid)
        return []


class Real:
    """`truthtune serve`, and `truthtune coordinator` with a Ray of its own."""

    def __init__(self, log: Path):
        self.log = log
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, role: Literal["api", "coordinator"], settings: dict[str, Any]) -> int:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TRUTHTUNE_")
        } | {f"TRUTHTUNE_{name.upper()}": str(value) for name, value in settings.items()}
        command = "serve" if role == "api" else "coordinator"
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "client.cli", command],
                env=environment,
                stdout=log,
                stderr=log,
            )
        self._processes[process.pid] = process
        return process.pid

    def kill(self, pid: int) -> list[psutil.Process]:
        orphans = psutil.Process(pid).children(recursive=True)
        self._processes[pid].send_signal(signal.SIGKILL)
        self._processes.pop(pid).wait(30)
        return orphans


def _bury(orphans: list[psutil.Process]) -> None:
    """What is left of a Ray would only take the next one's memory until it notices."""
    psutil.wait_procs(orphans, timeout=15)
    for orphan in orphans:
        if orphan.is_running():
            orphan.kill()


class RunningService:
    def __init__(self, launcher: Launcher, home: Path, database_url: str, seed: int):
        self.database = Database(database_url)
        self.killed: Counter[Victim] = Counter()
        self.slowest: dict[Victim, float] = {"api": 0.0, "coordinator": 0.0}
        self.takeovers = 0
        self._launcher, self._random = launcher, random.Random(seed)
        self._settings = {
            "home": str(home),
            "database_url": database_url,
            "port": free_port(),
            "lease_seconds": LEASE_SECONDS,
            "heartbeat_seconds": LEASE_SECONDS / 5,
            "poll_seconds": 0.1,
            "max_attempts": 10_000,
            "rate_limit_per_minute": 0,
        }
        self.url = f"http://127.0.0.1:{self._settings['port']}"
        self._api = launcher.start("api", self._settings)
        self._coordinators = [
            launcher.start("coordinator", self._settings) for _ in range(COORDINATORS)
        ]
        wait_until_ready(int(self._settings["port"]))

    @property
    def home(self) -> Path:
        return Path(self._settings["home"])

    def stop(self) -> None:
        for pid in [self._api, *self._coordinators]:
            _bury(self._launcher.kill(pid))
        self.database.dispose()

    def kill_one(self, victims: Sequence[Victim], pause_seconds: float) -> None:
        """One process, at a random moment of the next `pause_seconds`."""
        time.sleep(self._random.uniform(0, pause_seconds))
        victim = self._random.choice(victims)
        if victim == "api":
            self._kill_the_api()
        elif victim == "coordinator":
            self._kill_the_holder()
        elif not self._kill_a_worker():
            return
        self.killed[victim] += 1

    def _kill_the_api(self) -> None:
        _bury(self._launcher.kill(self._api))
        since = time.monotonic()
        self._api = self._launcher.start("api", self._settings)
        self._until(self._answers, "the API answers")
        self.slowest["api"] = max(self.slowest["api"], time.monotonic() - since)

    def _kill_the_holder(self) -> None:
        """The one that holds a job, else any; another takes the job over.

        What it holds is read once it is dead: an attempt that failed a moment before has given its
        job back, to be tried again after a pause that no lease decides.
        """
        self._until(lambda: all(map(self._has_started, self._coordinators)), "all coordinators run")
        holders = set(self._held().values())
        holding = [pid for pid in self._coordinators if pid in holders]
        pid = holding[0] if holding else self._random.choice(self._coordinators)
        orphans = self._launcher.kill(pid)
        since = time.monotonic()
        left = [job_id for job_id, holder in self._held().items() if holder == pid]
        self._coordinators.remove(pid)
        self._coordinators.append(self._launcher.start("coordinator", self._settings))
        for job_id in left:
            self._until(lambda job_id=job_id: self._is_taken_up(job_id, pid), "a takeover")
            took = time.monotonic() - since
            self.slowest["coordinator"] = max(self.slowest["coordinator"], took)
            self.takeovers += 1
        _bury(orphans)

    def _kill_a_worker(self) -> bool:
        """A process of the Ray that a coordinator has started; False if there is none."""
        found = [
            child
            for pid in self._coordinators
            for child in psutil.Process(pid).children(recursive=True)
            if child.name().startswith("ray::") or child.name() == "raylet"
        ]
        if not found:
            return False
        self._random.choice(found).kill()
        return True

    def _has_started(self, pid: int) -> bool:
        lines = self._launcher.log.read_text().splitlines()
        return any("coordinator_started" in line and f":{pid}:" in line for line in lines)

    def _held(self) -> dict[str, int]:
        """The process that holds each job, by the job's id."""
        with self.database.read() as session:
            held = select(JobRow.id, JobRow.lease_owner).where(JobRow.lease_owner.is_not(None))
            return {id_: int(owner.split(":")[1]) for id_, owner in session.execute(held)}

    def _is_taken_up(self, job_id: str, pid: int) -> bool:
        with self.database.read() as session:
            row = session.get_one(JobRow, job_id)
        if row.lease_owner is None:
            return row.status not in ("queued", "running")
        return int(row.lease_owner.split(":")[1]) != pid

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _ENOUGH_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{what}: not within {_ENOUGH_SECONDS} s"
            time.sleep(0.02)
