"""A process that has imported everything once, and forks a child for each life it is asked for.

A child imports nothing, so that hundreds of processes can be born and killed in a test. It speaks
JSON lines: `{"start": "module:function", "arguments": {...}, "log": path}` answers the child's id,
`{"wait": id}` its exit status, negative for the signal that killed it.
"""

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any


class ForkServer:
    """Used from the test's process, which may have threads and must not fork itself."""

    def __init__(self, *preloaded: str):
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TRUTHTUNE_")
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *preloaded],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def start(self, function: str, log: Path, **arguments: Any) -> int:
        """Run `module:function` in a child; gives its process id."""
        return self._ask({"start": function, "arguments": arguments, "log": str(log)})

    def wait(self, pid: int) -> int:
        """The exit status; negative if a signal killed it."""
        return self._ask({"wait": pid})

    def run(self, function: str, log: Path, **arguments: Any) -> int:
        return self.wait(self.start(function, log, **arguments))

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def _ask(self, question: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the fork server died"
        return int(answer)


def _serve() -> None:
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            answer = _fork(question)
        else:
            _, status = os.waitpid(question["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        print(answer, flush=True)


def _fork(question: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = os.open(question["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    module, function = question["start"].split(":")
    try:
        getattr(importlib.import_module(module), function)(**question["arguments"])
        status = 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # not exit: what the server had registered to happen then is not the child's


if __name__ == "__main__":
    _serve()
