"""A coordinator that is killed at a moment that no outside process could hit: `argv[1]` says when.

The name of a stage: Ray has taken up the stage, and its result is being waited for.
`before_commit`: everything of the settlement is written, and not committed.
`after_commit`: the settlement is committed, and the coordinator doesn't know it yet.

It leaves the ids of the processes it had started in `descendants.json` of its home.
"""

import json
import os
import signal
import sys
from typing import Any

import psutil

from service import coordinator
from service.ledger import posting
from service.settings import Settings


def die(*_arguments: Any) -> None:
    settings = Settings()
    started = [child.pid for child in psutil.Process().children(recursive=True)]
    (settings.home / "descendants.json").write_text(json.dumps(started))
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_stage(stage: str) -> None:
    """Once the stage runs: the first thing its caller does is to wait for it."""
    from workers import cluster

    run_stage, wait = cluster.Cluster.run_stage, cluster.ray.wait

    def wait_and_die(works: Any, **_options: Any) -> Any:
        wait(works, timeout=0.05)
        die()

    def run_or_die(self: cluster.Cluster, name: str, *arguments: Any) -> str:
        if name == stage:
            cluster.ray.wait = wait_and_die
        return run_stage(self, name, *arguments)

    cluster.Cluster.run_stage = run_or_die


def die_before_commit() -> None:
    settle = posting.settle

    def settle_and_die(*arguments: Any, **options: Any) -> None:
        settle(*arguments, **options)
        arguments[0].flush()
        die()

    posting.settle = settle_and_die


def die_after_commit() -> None:
    from sqlalchemy import event

    settle = posting.settle

    def settle_then_die(*arguments: Any, **options: Any) -> None:
        settle(*arguments, **options)
        event.listen(arguments[0], "after_commit", die)

    posting.settle = settle_then_die


def main() -> None:
    when = sys.argv[1]
    if when == "before_commit":
        die_before_commit()
    elif when == "after_commit":
        die_after_commit()
    else:
        die_in_stage(when)
    coordinator.run(Settings())


if __name__ == "__main__":
    main()
