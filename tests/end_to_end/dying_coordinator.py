"""A coordinator that is killed at a moment that no outside process could hit: `argv[1]` says when.

`before_commit`: everything of the settlement is written, and not committed.
`after_commit`: the settlement is committed, and the coordinator doesn't know it yet.
"""

import os
import signal
import sys
from typing import Any

from service import coordinator
from service.ledger import posting
from service.settings import Settings


def die(*_arguments: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    settle = posting.settle
    if sys.argv[1] == "before_commit":

        def settle_and_die(*arguments: Any, **options: Any) -> None:
            settle(*arguments, **options)
            arguments[0].flush()
            die()

        posting.settle = settle_and_die
    else:
        from sqlalchemy import event

        def settle_then_die(*arguments: Any, **options: Any) -> None:
            settle(*arguments, **options)
            event.listen(arguments[0], "after_commit", die)

        posting.settle = settle_then_die
    coordinator.run(Settings())


if __name__ == "__main__":
    main()
