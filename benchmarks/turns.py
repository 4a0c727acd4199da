"""Programs that take turns on one machine, so that whatever else it does slows all of them alike.

Each runs in a process of its own, because a process has one peak of memory. One after another runs
for a turn while the others wait; only the time of its own turns counts as its time.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Turns:
    """A program's side: it calls `pass_on` when its turn may end, and waits there for the next."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self.seconds, self.processor_seconds = 0.0, 0.0

    def begin(self) -> None:
        """Say that everything is loaded, and wait for the first turn."""
        self._connection.send(None)
        self._wait()

    def pass_on(self) -> None:
        self._stop()
        self._connection.send(None)
        self._wait()

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """What happens in the block is no part of what is measured."""
        self._stop()
        yield
        self._start()

    def end(self, figures: dict[str, Any]) -> None:
        """Hand over the figures, with this process's time and memory."""
        self._stop()
        own = {
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
            "peak_memory_mib": peak_memory_mib(),
        }
        self._connection.send({**own, **figures})

    def _wait(self) -> None:
        self._connection.recv()
        self._start()

    def _start(self) -> None:
        self._started, self._used = time.perf_counter(), time.process_time()

    def _stop(self) -> None:
        self.seconds += time.perf_counter() - self._started
        self.processor_seconds += time.process_time() - self._used


@dataclass(frozen=True)
class Program:
    """`run(turns, *arguments)` in a process of its own; `each` turns a round."""

    run: Callable[..., None]
    arguments: tuple[Any, ...]
    each: int = 1


def take_turns(programs: Mapping[str, Program]) -> dict[str, dict[str, Any]]:
    """Run the programs by turns until all have ended; what each handed over, by its name.

    Raises EOFError if one dies: its own error is on the screen.
    """
    context = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for name, program in programs.items():
        ends[name], theirs = context.Pipe()
        process = context.Process(
            target=_play, args=(program.run, theirs, program.arguments), daemon=True
        )
        process.start()
        theirs.close()  # else its death would never be noticed
        processes.append(process)
        ends[name].recv()  # loaded: before the next one loads, and before anybody's first turn
    figures: dict[str, dict[str, Any]] = {}
    while len(figures) < len(programs):
        for name in [name for name in programs if name not in figures]:
            for _ in range(programs[name].each):
                ends[name].send(None)
                found = ends[name].recv()
                if found is not None:
                    figures[name] = found
                    break
    for process in processes:
        process.join()
    return figures


def _play(run: Callable[..., None], connection: Connection, arguments: tuple[Any, ...]) -> None:
    run(Turns(connection), *arguments)


def peak_memory_mib() -> float:
    """The most memory that this process has held (VmHWM; Linux, proc(5)), in MiB.

    Not getrusage's ru_maxrss: a new process inherits that from the one that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
