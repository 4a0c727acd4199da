"""Child processes with one lifetime: when one ends, all end; when the parent ends, all end."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 15.0
"""For a coordinator to hand its job back and for the API to finish its responses."""


def run_together(
    commands: Sequence[Sequence[str]],
    prepare: Callable[[], None],
    first_is_ready: Callable[[], bool] = lambda: True,
) -> int:
    """Run all commands until one ends or SIGINT or SIGTERM comes; then end the others.

    The first is started before `prepare` runs, so that it loads its modules meanwhile, and does
    what it is for only afterwards (`wait_to_begin`). The others start when it is ready: they would
    only slow down the one that people wait for. Returns 0 after such a signal; else the status of
    the first to end, 1 if that was 0: none is meant to end by itself. Each child's standard input
    is a pipe that closes when this process dies, whatever killed it: see `end_with_parent`.
    """
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    children = [_start(commands[0])]

    def all_run() -> bool:
        return all(child.poll() is None for child in children) and not stopped.is_set()

    try:
        prepare()
        _let_begin(children[0])
        while all_run() and not first_is_ready():
            stopped.wait(_POLL_SECONDS)
        if all_run():
            children += map(_start, commands[1:])
            for child in children[1:]:
                _let_begin(child)
        while all_run():
            stopped.wait(_POLL_SECONDS)
        statuses = [child.returncode for child in children if child.returncode is not None]
    finally:
        _end(children)
    return 0 if stopped.is_set() else next((status for status in statuses if status), 1)


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there; port 0, which is any, counts as if."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        with socket.create_connection((reachable, port), timeout=_POLL_SECONDS):
            return True
    except OSError:
        return port == 0


def wait_to_begin() -> None:
    """Called in a child of `run_together` once it has loaded what it needs."""
    if not os.read(sys.stdin.fileno(), 1):
        sys.exit("the process that started this one has ended")
    end_with_parent()


def end_with_parent() -> None:
    """Called in a child of `run_together`: SIGTERM to itself once the parent is gone."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)


def _let_begin(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it has ended, which is seen in a moment
        child.stdin.write(b"\n")


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
