"""Commits, counted: a process can be made to die by SIGKILL before or after the k-th of its own."""

import itertools
import os
import signal
import threading
from typing import Any, Literal

from sqlalchemy.engine.default import DefaultDialect

Side = Literal["before", "after"]


def die_at_commit(number: int, side: Side) -> None:
    """From now on, count this process's commits and die at commit `number`, counted from 1.

    `before`: everything was written in the transaction and the database never heard of its end.
    `after`: the database has committed, and nobody in this process knows.
    """
    counter, lock = itertools.count(1), threading.Lock()
    commit = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, connection: Any) -> None:
        with lock:
            due = next(counter) == number
        if due and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        commit(self, connection)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
