"""What a client was told: an answer is in here before the client does anything else."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Journal:
    """Acknowledged answers by the step that asked for them; survives the process that wrote it."""

    def __init__(self, path: Path):
        self._path = path
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
        self._answers: dict[str, Any] = {entry["step"]: entry["answer"] for entry in whole}

    def __getitem__(self, step: str) -> Any:
        return self._answers[step]

    def once(self, step: str, ask: Callable[[], Any]) -> Any:
        """The answer to the step: the one acknowledged before, or what `ask` gets now."""
        if step not in self._answers:
            answer = ask()
            with self._path.open("ab") as file:
                file.write(json.dumps({"step": step, "answer": answer}).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._answers[step] = answer
        return self._answers[step]
